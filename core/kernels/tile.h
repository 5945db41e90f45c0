// Room: core/kernels. The matrix product: 16 weight rows against a tile of up to 16 tokens.
// Included by every instruction set inside its own namespace.
//
// Activations of a tile, per block of 32 elements:
//   int8 codes[tile][32]; float scale[tile]; float scaled_sum[tile];
//   int32 minus_sum[tile], minus_low[tile], minus_high[tile]
// The order of the float operations of one (row, token) is the same for every tile size:
// block after block, one multiply-add each; the integer sums inside a block are exact.

template <int M>
struct ActBlock {
    int8_t codes[M][kBlock];
    float scale[M], scaled_sum[M];
    int32_t minus_sum[M], minus_low[M], minus_high[M];
};

template <class S, class Format, int M>
void tile_quantized(const uint8_t* group, int64_t cols, const uint8_t* act, float* out) {
    using F = typename S::F;
    constexpr int kSubs = Format::elements / kBlock;
    constexpr bool kSigned = Format::wide && !S::exact_bytes;  // codes come as signed bytes
    constexpr int kOffset = kSigned ? -1 : Format::offset;
    static_assert(sizeof(ActBlock<M>) == M * kActBytes);
    for (int part = 0; part < kGroupRows / S::lanes; ++part) {
        const uint8_t* p = group;
        const auto* a = reinterpret_cast<const ActBlock<M>*>(act);
        F acc[M];
        for (int m = 0; m < M; ++m) acc[m] = S::zero();
        for (int64_t b = 0; b < cols / Format::elements; ++b) {
            const uint8_t* head = p;
            p += kGroupRows * Format::header;
            for (int sub = 0; sub < kSubs; ++sub, p += plane_bytes(Format::planes), ++a) {
                typename S::B w[8];
                load_codes<S, Format>(p, part, w);
                Scales<S> scales;
                Format::scales(head, sub, part * S::lanes, scales);
                const auto dot = [&](auto i, int m, int j) {
                    const auto value = S::repeat4(a->codes[m] + 4 * j);
                    return kSigned ? S::dot_signed(i, w[j], value) : S::dot(i, w[j], value);
                };
#pragma GCC unroll 16
                for (int m = 0; m < M; ++m) {
                    if constexpr (Format::halves) {
                        auto low = S::set_int(0), high = S::set_int(0);
                        if constexpr (kOffset >= 0) {
                            low = S::template shift_left<kOffset>(S::set_int(a->minus_low[m]));
                            high = S::template shift_left<kOffset>(S::set_int(a->minus_high[m]));
                        }
                        for (int j = 0; j < 4; ++j) low = dot(low, m, j);
                        for (int j = 4; j < 8; ++j) high = dot(high, m, j);
                        F t = S::mul(S::to_float(low), scales.low);
                        t = S::fma(S::to_float(high), scales.high, t);
                        if constexpr (Format::minimum) {
                            t = S::fnma(S::set(static_cast<float>(a->minus_low[m])),
                                        scales.min_low, t);
                            t = S::fnma(S::set(static_cast<float>(a->minus_high[m])),
                                        scales.min_high, t);
                        }
                        acc[m] = S::fma(t, S::set(a->scale[m]), acc[m]);
                    } else {
                        auto sum = S::set_int(0);
                        if constexpr (kOffset >= 0)
                            sum = S::template shift_left<kOffset>(S::set_int(a->minus_sum[m]));
#pragma GCC unroll 8
                        for (int j = 0; j < 8; ++j) sum = dot(sum, m, j);
                        const F scale = S::mul(scales.low, S::set(a->scale[m]));
                        if constexpr (Format::minimum)
                            acc[m] = S::fma(scales.min_low, S::set(a->scaled_sum[m]), acc[m]);
                        acc[m] = S::fma(S::to_float(sum), scale, acc[m]);
                    }
                }
            }
        }
        for (int m = 0; m < M; ++m) S::store(out + 16 * m + part * S::lanes, acc[m]);
    }
}

template <class S>
struct FormatF32 {
    using Unit = float;
    static auto load(const float* p) { return S::load(p); }
};
template <class S>
struct FormatF16 {
    using Unit = uint16_t;
    static auto load(const uint16_t* p) { return S::load_half(p); }
};
template <class S>
struct FormatBF16 {
    using Unit = uint16_t;
    static auto load(const uint16_t* p) { return S::load_bfloat(p); }
};

// Float weights: one multiply-add an element, in element order; activations float32 [col][tile].
template <class S, class Format, int M>
void tile_float(const uint8_t* group, int64_t cols, const uint8_t* act, float* out) {
    using F = typename S::F;
    for (int part = 0; part < kGroupRows / S::lanes; ++part) {
        const auto* w = reinterpret_cast<const typename Format::Unit*>(group) + part * S::lanes;
        const auto* x = reinterpret_cast<const float*>(act);
        F acc[M];
        for (int m = 0; m < M; ++m) acc[m] = S::zero();
        for (int64_t k = 0; k < cols; ++k, w += kGroupRows, x += M) {
            const F weight = Format::load(w);
#pragma GCC unroll 16
            for (int m = 0; m < M; ++m) acc[m] = S::fma(weight, S::set(x[m]), acc[m]);
        }
        for (int m = 0; m < M; ++m) S::store(out + 16 * m + part * S::lanes, acc[m]);
    }
}

template <class S, template <class> class Format>
void tile_q(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out) {
    if (tile == 1) return tile_quantized<S, Format<S>, 1>(group, cols, act, out);
    if (tile == 2) return tile_quantized<S, Format<S>, 2>(group, cols, act, out);
    if (tile == 4) return tile_quantized<S, Format<S>, 4>(group, cols, act, out);
    if constexpr (S::max_tile > 4) {
        if (tile == 8) return tile_quantized<S, Format<S>, 8>(group, cols, act, out);
        return tile_quantized<S, Format<S>, 16>(group, cols, act, out);
    }
}

template <class S, template <class> class Format>
void tile_f(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out) {
    if (tile == 1) return tile_float<S, Format<S>, 1>(group, cols, act, out);
    if (tile == 2) return tile_float<S, Format<S>, 2>(group, cols, act, out);
    if (tile == 4) return tile_float<S, Format<S>, 4>(group, cols, act, out);
    if constexpr (S::max_tile > 4) {
        if (tile == 8) return tile_float<S, Format<S>, 8>(group, cols, act, out);
        return tile_float<S, Format<S>, 16>(group, cols, act, out);
    }
}

// Rounds one token to int8 blocks: scale = largest / 127, to nearest even.
template <class S>
void quantize_row(const float* x, int64_t cols, uint8_t* act, int m, int tile) {
    using F = typename S::F;
    constexpr int kVectors = kBlock / S::lanes;
    for (int64_t b = 0; b < cols / kBlock; ++b, x += kBlock, act += tile * kActBytes) {
        F v[kVectors];
        F largest = S::zero();
        for (int i = 0; i < kVectors; ++i) {
            v[i] = S::load(x + i * S::lanes);
            largest = S::max(S::abs(v[i]), largest);
        }
        const float top = S::largest(largest);
        const float scale = top / 127.0f;
        const float inverse = scale > 0.0f ? 127.0f / top : 0.0f;
        auto* codes = reinterpret_cast<int8_t*>(act) + m * kBlock;
        int32_t sums[2] = {0, 0};
        for (int i = 0; i < kVectors; ++i) {
            const auto q = S::to_int(S::mul(v[i], S::set(inverse)));
            S::store_bytes(codes + i * S::lanes, q);
            sums[i >= kVectors / 2] += S::sum(q);
        }
        auto* numbers = reinterpret_cast<float*>(act + tile * kBlock);
        auto* minus = reinterpret_cast<int32_t*>(numbers + 2 * tile);
        numbers[m] = scale;
        numbers[tile + m] = scale * static_cast<float>(sums[0] + sums[1]);
        minus[m] = -(sums[0] + sums[1]);
        minus[tile + m] = -sums[0];
        minus[2 * tile + m] = -sums[1];
    }
}

inline void panel_row(const float* x, int64_t cols, uint8_t* act, int m, int tile) {
    auto* panel = reinterpret_cast<float*>(act) + m;
    for (int64_t k = 0; k < cols; ++k) panel[k * tile] = x[k];
}
