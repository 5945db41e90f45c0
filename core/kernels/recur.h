// Room: core/kernels. What recurrent layers need: a short convolution over tokens, the gated delta
// rule, and gates. Included by every instruction set inside its own namespace.

template <class S>
inline typename S::F sigmoid(typename S::F x) {
    const auto one = S::set(1.0f);
    return S::div(one, S::add(one, exponential<S>(S::sub(S::zero(), x))));
}

// out[i] = silu(sum over j of taps[j][i] weight[j * stride + i]), the oldest tap first.
template <class S>
void convolve(const float* const* taps, int count, const float* weight, int64_t stride, int64_t n,
              float* out) {
    for_vectors<S>(n, [&](int64_t i, int lanes) {
        auto sum = S::zero();
        for (int j = 0; j < count; ++j)
            sum = S::fma(S::load_part(taps[j] + i, lanes),
                         S::load_part(weight + j * stride + i, lanes), sum);
        S::store_part(out + i, S::mul(sum, sigmoid<S>(sum)), lanes);
    });
}

template <class S>
void sigmoid_multiply(const float* gate, int64_t n, float* x) {
    for_vectors<S>(n, [&](int64_t i, int lanes) {
        const auto opened = sigmoid<S>(S::load_part(gate + i, lanes));
        S::store_part(x + i, S::mul(S::load_part(x + i, lanes), opened), lanes);
    });
}

template <class S>
float dot(const float* a, const float* b, int64_t n) {
    auto sum = S::zero();
    for_vectors<S>(n, [&](int64_t i, int lanes) {
        sum = S::fma(S::load_part(a + i, lanes), S::load_part(b + i, lanes), sum);
    });
    return S::sum(sum);
}

// One pass over the rows of a state (K, kDeltaColumns): it takes in the token before, if kTakes,
// and answers the next one's key and query with what they find, if kAnswers. A row is touched once,
// so a chunk costs one read and one write of the state for each token.
template <class S, bool kTakes, bool kAnswers>
inline void delta_pass(float* state, int rows, float fade, const float* before,
                       const typename S::F* change, const float* key, const float* query,
                       typename S::F* by_key, typename S::F* by_query) {
    constexpr int kVectors = kDeltaColumns / S::lanes;
    const auto faded = S::set(fade);
    typename S::F k[kVectors], q[kVectors];
    for (int j = 0; j < kVectors; ++j) k[j] = q[j] = S::zero();
    for (int i = 0; i < rows; ++i) {
        float* row = state + static_cast<int64_t>(i) * kDeltaColumns;
        const auto brought = S::set(kTakes ? before[i] : 0.0f);
        const auto asked = S::set(kAnswers ? key[i] : 0.0f);
        const auto read = S::set(kAnswers ? query[i] : 0.0f);
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) {
            auto s = S::load(row + j * S::lanes);
            if constexpr (kTakes) {
                s = S::fma(brought, change[j], S::mul(faded, s));
                S::store(row + j * S::lanes, s);
            }
            if constexpr (kAnswers) {
                k[j] = S::fma(asked, s, k[j]);
                q[j] = S::fma(read, s, q[j]);
            }
        }
    }
    if constexpr (kAnswers)
        for (int j = 0; j < kVectors; ++j) {
            by_key[j] = k[j];
            by_query[j] = q[j];
        }
}

// With S the state, each token does: S <- fade S; u = beta (v - k^T S); S <- S + k u; out = S^T q.
// The sums over rows go from the first to the last, whatever the chunk; fade factors out of them,
// and S^T q is taken as fade (S^T q) + (q . k) u.
template <class S>
void delta_run(const DeltaRun& run, float* state) {
    constexpr int kVectors = kDeltaColumns / S::lanes;
    typename S::F change[kVectors], by_key[kVectors], by_query[kVectors];
    for (auto& c : change) c = S::zero();
    for (int t = 0; t < run.tokens; ++t) {
        const float* key = run.key + t * run.stride;
        const float* query = run.query + t * run.stride;
        if (t == 0)
            delta_pass<S, false, true>(state, run.width, 0.0f, nullptr, nullptr, key, query, by_key,
                                       by_query);
        else
            delta_pass<S, true, true>(state, run.width, run.gates[(t - 1) * run.gate_stride].fade,
                                      key - run.stride, change, key, query, by_key, by_query);
        const DeltaGate& gate = run.gates[t * run.gate_stride];
        const auto fade = S::set(gate.fade), beta = S::set(gate.beta);
        const auto match = S::set(run.matches[t * run.match_stride]);
        for (int j = 0; j < kVectors; ++j) {
            const int left = run.columns - j * S::lanes;
            const int lanes = left < 0 ? 0 : left < S::lanes ? left : S::lanes;
            const float* value = run.value + t * run.stride + j * S::lanes;
            const auto v = lanes > 0 ? S::load_part(value, lanes) : S::zero();
            change[j] = S::mul(beta, S::fnma(fade, by_key[j], v));
            const auto found = S::fma(match, change[j], S::mul(fade, by_query[j]));
            if (lanes > 0)
                S::store_part(run.out + t * run.out_stride + j * S::lanes, found, lanes);
        }
    }
    const int last = run.tokens - 1;
    delta_pass<S, true, false>(state, run.width, run.gates[last * run.gate_stride].fade,
                               run.key + last * run.stride, change, nullptr, nullptr, nullptr,
                               nullptr);
}
