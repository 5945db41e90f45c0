// Room: core/kernels. Work on single rows: norm, rotation, activation, KV stores.
// Included by every instruction set inside its own namespace.

template <class S, class Body>
inline void for_vectors(int64_t n, Body&& body) {  // body(index, lanes used)
    int64_t i = 0;
    for (; i + S::lanes <= n; i += S::lanes) body(i, S::lanes);
    if (i < n) body(i, static_cast<int>(n - i));
}

// Added to a number below 2^21, it rounds that to a whole one, which the sum's last bits hold.
constexpr float kRounds = 0x1.8p23f;

// 2^x to about 3 units in the last place for x <= 0; no less than 2^-125. A polynomial of degree 5,
// whose relative error over half a power either way is at most 9.2e-8, and none at 0.
template <class S>
inline typename S::F power_of_two(typename S::F x) {
    x = S::max(S::set(-125.0f), x);  // a NaN stays one
    const auto whole = S::add(x, S::set(kRounds));
    const auto r = S::sub(x, S::sub(whole, S::set(kRounds)));
    auto p = S::set(1.32647273e-3f);
    p = S::fma(p, r, S::set(9.67151299e-3f));
    p = S::fma(p, r, S::set(5.55073358e-2f));
    p = S::fma(p, r, S::set(2.40222424e-1f));
    p = S::fma(p, r, S::set(6.93147004e-1f));
    p = S::fma(p, r, S::set(1.0f));
    return S::raise(p, whole);
}

// e^x to about 3 units in the last place for x from -87 to 88, and no more or less beyond.
// Source: Cody and Waite reduction by ln 2 in two parts, then a polynomial of degree 5 as above,
// within 1.1e-7.
template <class S>
inline typename S::F exponential(typename S::F x) {
    x = S::max(x, S::set(-87.0f));
    x = S::min(x, S::set(88.0f));
    const auto whole = S::fma(x, S::set(1.44269504f), S::set(kRounds));
    const auto n = S::sub(whole, S::set(kRounds));
    auto r = S::fnma(n, S::set(0.693359375f), x);
    r = S::fnma(n, S::set(-2.12194440e-4f), r);
    auto p = S::set(8.31252523e-3f);
    p = S::fma(p, r, S::set(4.18901145e-2f));
    p = S::fma(p, r, S::set(1.66671142e-1f));
    p = S::fma(p, r, S::set(4.99992311e-1f));
    p = S::fma(p, r, S::set(1.0f));
    p = S::fma(p, r, S::set(1.0f));
    return S::raise(p, whole);
}

template <class S>
void rms_norm(const float* x, const float* weight, float eps, int64_t cols, float* out) {
    auto squares = S::zero();
    for_vectors<S>(cols, [&](int64_t i, int n) {
        const auto v = n == S::lanes ? S::load(x + i) : S::load_part(x + i, n);
        squares = S::fma(v, v, squares);
    });
    const float mean = S::sum(squares) / static_cast<float>(cols);
    const auto scale = S::set(1.0f / std::sqrt(mean + eps));
    for_vectors<S>(cols, [&](int64_t i, int n) {
        const auto v = S::mul(S::load_part(x + i, n), scale);
        S::store_part(out + i, S::mul(v, S::load_part(weight + i, n)), n);
    });
}

template <class S>
void add_rows(float* x, const float* y, int64_t count) {
    for_vectors<S>(count, [&](int64_t i, int n) {
        S::store_part(x + i, S::add(S::load_part(x + i, n), S::load_part(y + i, n)), n);
    });
}

template <class S>
void add_scaled(float* x, const float* y, float factor, int64_t count) {
    const auto by = S::set(factor);
    for_vectors<S>(count, [&](int64_t i, int n) {
        S::store_part(x + i, S::fma(by, S::load_part(y + i, n), S::load_part(x + i, n)), n);
    });
}

template <class S>
void silu_multiply(const float* gate, const float* up, int64_t count, float* out) {
    const auto one = S::set(1.0f);
    for_vectors<S>(count, [&](int64_t i, int n) {
        const auto g = S::load_part(gate + i, n);
        const auto e = exponential<S>(S::sub(S::zero(), g));
        const auto silu = S::div(g, S::add(one, e));
        S::store_part(out + i, S::mul(silu, S::load_part(up + i, n)), n);
    });
}

template <class S>
void rotate(float* head, const float* cosine, const float* sine, int half) {
    for_vectors<S>(half, [&](int64_t i, int n) {
        const auto a = S::load_part(head + i, n), b = S::load_part(head + half + i, n);
        const auto c = S::load_part(cosine + i, n), s = S::load_part(sine + i, n);
        S::store_part(head + i, S::fnma(b, s, S::mul(a, c)), n);
        S::store_part(head + half + i, S::fma(a, s, S::mul(b, c)), n);
    });
}

// Keeps a number inside float16: an infinity in the cache would meet weights of zero and turn the
// sums of earlier tokens into NaN. A NaN stays one.
template <class S>
inline typename S::F within_half(typename S::F v) {
    return S::max(S::set(-65504.0f), S::min(S::set(65504.0f), v));
}

template <class S>
void store_key(uint16_t* page, int slot, const float* k, int width, int) {
    uint16_t part[S::lanes];
    for_vectors<S>(width, [&](int64_t i, int n) {
        S::store_half(part, within_half<S>(S::load_part(k + i, n)), n);
        for (int j = 0; j < n; ++j) page[(i + j) * kPageTokens + slot] = part[j];
    });
}

template <class S>
void store_value(uint16_t* page, int slot, const float* v, int width, int padded) {
    uint16_t* row = page + static_cast<int64_t>(slot) * padded;
    for_vectors<S>(width, [&](int64_t i, int n) {
        S::store_half(row + i, within_half<S>(S::load_part(v + i, n)), n);
    });
    for (int i = width; i < padded; ++i) row[i] = 0;
}

// Rounds up to kKvGroup numbers to int8 with one float16 scale; codes past `count` are 0.
template <class S>
inline uint16_t round_group(const float* x, int count, int8_t* codes) {
    auto largest = S::zero();
    for_vectors<S>(count, [&](int64_t i, int n) {
        largest = S::max(S::abs(within_half<S>(S::load_part(x + i, n))), largest);
    });
    uint16_t halves[S::lanes] = {};
    S::store_half(halves, S::set(S::largest(largest) / 127.0f), S::lanes);
    const float scale = S::first(S::load_half(halves));
    const auto inverse = S::set(scale > 0.0f ? 1.0f / scale : 0.0f);
    // A scale too small for float16 to hold well would give codes past 127.
    const auto most = S::set(127.0f), least = S::set(-127.0f);
    for (int i = 0; i < kKvGroup; i += S::lanes) {
        const int n = count - i < 0 ? 0 : count - i > S::lanes ? S::lanes : count - i;
        const auto v = n > 0 ? S::mul(within_half<S>(S::load_part(x + i, n)), inverse) : S::zero();
        S::store_bytes(codes + i, S::to_int(S::max(least, S::min(most, v))));
    }
    return halves[0];
}

template <class S>
void store_key_bytes(uint16_t* page, int slot, const float* k, int width, int padded) {
    auto* codes = reinterpret_cast<int8_t*>(page);
    uint16_t* scales = page + kPageTokens * padded / 2;
    for (int a = 0; a < width; a += kKvGroup) {
        alignas(64) int8_t part[kKvGroup];
        const int n = std::min(kKvGroup, width - a);
        scales[a / kKvGroup * kPageTokens + slot] = round_group<S>(k + a, n, part);
        for (int j = 0; j < n; ++j) codes[(a + j) * kPageTokens + slot] = part[j];
    }
}

template <class S>
void store_value_bytes(uint16_t* page, int slot, const float* v, int width, int padded) {
    auto* codes = reinterpret_cast<int8_t*>(page) + static_cast<int64_t>(slot) * padded;
    uint16_t* scales = page + kPageTokens * padded / 2;
    for (int a = 0; a < padded; a += kKvGroup) {
        alignas(64) int8_t part[kKvGroup];
        const int n = std::min(kKvGroup, width - a);
        scales[a / kKvGroup * kPageTokens + slot] = round_group<S>(v + a, n, part);
        std::copy(part, part + std::min(kKvGroup, padded - a), codes + a);
    }
}

template <class S>
float read_all(const float* p, int64_t count) {
    typename S::F sums[8];
    for (auto& s : sums) s = S::zero();
    for (int64_t i = 0; i + 8 * S::lanes <= count; i += 8 * S::lanes)
        for (int j = 0; j < 8; ++j) sums[j] = S::add(sums[j], S::load(p + i + j * S::lanes));
    for (int j = 1; j < 8; ++j) sums[0] = S::add(sums[0], sums[j]);
    return S::sum(sums[0]);
}
