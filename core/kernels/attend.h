// Room: core/kernels. Attention over pages: an online softmax, one segment of 256 keys at a
// time. Included by every instruction set inside its own namespace.
//
// Keys of a page lie (A, P), so one vector holds sixteen keys and a score needs no horizontal
// sum; values lie (P, A). A row's result depends on its own query and keys only: rows of a
// tile share loads, never sums.

// The order in which a segment reads: key pages, value pages, then the next segment's keys.
// Pages lie apart, and the processor's own prefetcher starts anew at each, so every step of a
// page asks for 128 bytes of the one `kAhead` places later.
struct ReadOrder {
    static constexpr int kAhead = 1;
    const uint16_t* pages[2 * kSegmentPages + kAhead];

    ReadOrder(const PageView& view, int segment, int used) {
        const int first = segment * kSegmentPages;
        for (int i = 0; i < used; ++i) {
            pages[i] = view.keys[first + i];
            pages[used + i] = view.values[first + i];
        }
        for (int i = 0; i < kAhead; ++i) {
            const int later = first + kSegmentPages + i;
            pages[2 * used + i] = view.keys[later < view.count ? later : first];
        }
    }
    void prefetch(int place, int step) const {
        const uint16_t* p = pages[place + kAhead] + 64 * step;
        __builtin_prefetch(p);
        __builtin_prefetch(p + 32);
    }
};

// scores[r][k] = scale * q_r . key_k for the keys of one page, R rows at a time.
template <class S, int R>
inline void score_page(const PageView& view, const ReadOrder& order, int place,
                       const QueryRow* rows, int count, float (*scores)[kSegmentTokens]) {
    const uint16_t* keys = order.pages[place];
    constexpr int kVectors = S::attend_vectors;
    for (int k = 0; k < count; k += kVectors * S::lanes) {
        typename S::F acc[R][kVectors];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v) acc[r][v] = S::zero();
        for (int a = 0; a < view.head_width; ++a) {
            if (k == 0) order.prefetch(place, a);
            typename S::F key[kVectors];
            for (int v = 0; v < kVectors; ++v)
                key[v] = S::load_half(keys + a * kPageTokens + k + v * S::lanes);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const auto q = S::set(rows[r].q[a]);
                for (int v = 0; v < kVectors; ++v) acc[r][v] = S::fma(q, key[v], acc[r][v]);
            }
        }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v)
                S::store(scores[r] + k + v * S::lanes, S::mul(acc[r][v], S::set(view.scale)));
    }
}

// Scores of `keys` visible keys -> exponentials, zero up to `padded`.
template <class S>
inline RowState soften(float* scores, int keys, int padded) {
    const auto lowest = S::set(-INFINITY);
    auto top = lowest;
    for_vectors<S>(keys, [&](int64_t i, int n) {
        top = S::max(top, S::keep_first(S::load(scores + i), n, lowest));
    });
    const float largest = S::largest(top);
    auto sum = S::zero();
    for (int i = 0; i < padded; i += S::lanes) {
        const int n = keys - i < 0 ? 0 : keys - i > S::lanes ? S::lanes : keys - i;
        auto e = exponential<S>(S::sub(S::load(scores + i), S::set(largest)));
        e = S::keep_first(e, n, S::zero());
        S::store(scores + i, e);
        sum = S::add(sum, e);
    }
    return {largest, S::sum(sum)};
}

// values[r] (+)= sum over the segment's keys of weight . value row.
template <class S, int R>
inline void weigh_values(const PageView& view, const ReadOrder& order, int count,
                         const float (*weights)[kSegmentTokens], float* values) {
    constexpr int kVectors = S::attend_vectors;
    for (int a = 0; a < view.head_padded; a += kVectors * S::lanes) {
        const int left = (view.head_padded - a) / S::lanes;
        const auto run = [&](auto vectors) {
            constexpr int N = decltype(vectors)::value;
            typename S::F acc[R][N];
            for (int r = 0; r < R; ++r)
                for (int v = 0; v < N; ++v) acc[r][v] = S::zero();
            for (int first = 0; first < count; first += kPageTokens) {
                const int place = (count + kPageTokens - 1) / kPageTokens + first / kPageTokens;
                const uint16_t* page = order.pages[place];
                const int keys = count - first < kPageTokens ? count - first : kPageTokens;
                for (int k = 0; k < keys; ++k) {
                    order.prefetch(place, a + k);
                    typename S::F value[N];
                    for (int v = 0; v < N; ++v)
                        value[v] = S::load_half(page + k * view.head_padded + a + v * S::lanes);
#pragma GCC unroll 8
                    for (int r = 0; r < R; ++r) {
                        const auto w = S::set(weights[r][first + k]);
                        for (int v = 0; v < N; ++v) acc[r][v] = S::fma(w, value[v], acc[r][v]);
                    }
                }
            }
            for (int r = 0; r < R; ++r)
                for (int v = 0; v < N; ++v)
                    S::store(values + r * view.head_padded + a + v * S::lanes, acc[r][v]);
        };
        if (left >= kVectors) run(std::integral_constant<int, kVectors>{});
        else if (left == 3) run(std::integral_constant<int, 3>{});
        else if (left == 2) run(std::integral_constant<int, 2>{});
        else run(std::integral_constant<int, 1>{});
    }
}

template <class S, int R>
void attend_rows(const PageView& view, int segment, const QueryRow* rows, RowState* state,
                 float* values) {
    alignas(64) float scores[R][kSegmentTokens];
    const int start = segment * kSegmentTokens;
    int most = 0, visible[R];
    for (int r = 0; r < R; ++r) {
        const int left = rows[r].keys - start;
        visible[r] = left > kSegmentTokens ? kSegmentTokens : left < 0 ? 0 : left;
        most = visible[r] > most ? visible[r] : most;
    }
    const ReadOrder order(view, segment, (most + kPageTokens - 1) / kPageTokens);
    for (int first = 0; first < most; first += kPageTokens) {
        const int count = most - first < kPageTokens ? most - first : kPageTokens;
        float(*page_scores)[kSegmentTokens] =
            reinterpret_cast<float(*)[kSegmentTokens]>(&scores[0][first]);
        score_page<S, R>(view, order, first / kPageTokens, rows, count, page_scores);
    }
    const int padded = (most + S::lanes - 1) / S::lanes * S::lanes;
    for (int r = 0; r < R; ++r) state[r] = soften<S>(scores[r], visible[r], padded);
    weigh_values<S, R>(view, order, most, scores, values);
}

template <class S>
void attend_segment(const PageView& view, int segment, const QueryRow* rows, int count,
                    RowState* state, float* values) {
    if (count == 1) return attend_rows<S, 1>(view, segment, rows, state, values);
    if (count == 2) return attend_rows<S, 2>(view, segment, rows, state, values);
    if (count == 3) return attend_rows<S, 3>(view, segment, rows, state, values);
    if constexpr (S::attend_rows > 3) {
        if (count == 4) return attend_rows<S, 4>(view, segment, rows, state, values);
        if (count == 5) return attend_rows<S, 5>(view, segment, rows, state, values);
        return attend_rows<S, 6>(view, segment, rows, state, values);
    }
}

template <class S>
void merge_states(RowState& into, float* values, const RowState& from, const float* more, int n) {
    const float largest = into.largest > from.largest ? into.largest : from.largest;
    const float keep = std::exp(into.largest - largest), take = std::exp(from.largest - largest);
    into.sum = into.sum * keep + from.sum * take;
    into.largest = largest;
    const auto k = S::set(keep), t = S::set(take);
    for (int i = 0; i < n; i += S::lanes)
        S::store(values + i, S::fma(S::load(more + i), t, S::mul(S::load(values + i), k)));
}

template <class S>
void finish_row(const RowState& state, const float* values, int width, float* out) {
    const auto inverse = S::set(1.0f / state.sum);
    for_vectors<S>(width, [&](int64_t i, int n) {
        S::store_part(out + i, S::mul(S::load(values + i), inverse), n);
    });
}
