// Room: core/kernels. The matrix product: 16 weight rows against a tile of up to 16 tokens.
// Included by every instruction set inside its own namespace.
//
// Activations of a tile, per block of 32 elements:
//   int8 codes[tile][32]; float low[tile], high[tile], scaled_sum[tile];
//   int32 minus_low[tile], minus_high[tile]
// `low` scales the first sixteen codes, `high` the others. The order of the float operations of
// one (row, token) is the same for every tile size, block after block; the integer sums inside
// a block are exact.

template <int M>
struct ActBlock {
    int8_t codes[M][kBlock];
    float low[M], high[M], scaled_sum[M];
    int32_t minus_low[M], minus_high[M];
};

template <class S, class Format, int M>
void tile_quantized(const uint8_t* group, int64_t cols, const uint8_t* act, float* out) {
    using F = typename S::F;
    constexpr int kSubs = Format::elements / kBlock;
    constexpr bool kSigned = Format::wide && !S::exact_bytes;  // codes come as signed bytes
    constexpr int kOffset = kSigned ? -1 : Format::offset;
    constexpr int kSubBytes = plane_bytes(Format::planes) + kGroupRows * Format::header / kSubs;
    static_assert(sizeof(ActBlock<M>) == M * kActBytes);
    // While several tokens keep the units busy, the next group comes in from memory, each part of
    // the lanes asking for its share. Sets of two parts need that for few tokens too: their second
    // part meets no memory.
    constexpr int kParts = kGroupRows / S::lanes;
    [[maybe_unused]] const int64_t ahead = cols / kBlock * kSubBytes;
    for (int part = 0; part < kGroupRows / S::lanes; ++part) {
        const uint8_t* p = group + Format::row_floats * kGroupRows * sizeof(float);
        [[maybe_unused]] const uint8_t* next = group + ahead + part * (ahead / kParts);
        const auto* a = reinterpret_cast<const ActBlock<M>*>(act);
        F acc[M];
        for (int m = 0; m < M; ++m) acc[m] = S::zero();
        for (int64_t b = 0; b < cols / Format::elements; ++b) {
            const uint8_t* head = p;
            p += kGroupRows * Format::header;
            for (int sub = 0; sub < kSubs; ++sub, p += plane_bytes(Format::planes), ++a) {
                if constexpr (M >= 8 || kParts == 2) {
                    for (int line = 0; line < kSubBytes / kParts + 63; line += 64)
                        __builtin_prefetch(next + line, 0, 2);
                    next += kSubBytes / kParts;
                }
                typename S::B w[8];
                load_codes<S, Format>(p, part, w);
                Scales<S> scales;
                Format::scales(head, sub, part * S::lanes, scales);
                const auto dot4 = [&](auto i, int m, int j) {
                    const int8_t* values = a->codes[m] + 4 * j;
                    if constexpr (!kSigned)
                        return S::template dot4<code_bits<Format>()>(i, w + j, values);
                    for (int k = 0; k < 4; ++k)
                        i = S::dot_signed(i, w[j + k], S::repeat4(values + 4 * k));
                    return i;
                };
#pragma GCC unroll 16
                for (int m = 0; m < M; ++m) {
                    auto first = S::set_int(0), second = S::set_int(0);
                    if constexpr (kOffset >= 0) {
                        first = S::template shift_left<kOffset>(S::set_int(a->minus_low[m]));
                        second = S::template shift_left<kOffset>(S::set_int(a->minus_high[m]));
                    }
                    first = dot4(first, m, 0);
                    second = dot4(second, m, 4);
                    const F low = S::set(a->low[m]), high = S::set(a->high[m]);
                    if constexpr (Format::halves) {
                        acc[m] = S::fma(S::to_float(first), S::mul(scales.low, low), acc[m]);
                        acc[m] = S::fma(S::to_float(second), S::mul(scales.high, high), acc[m]);
                        if constexpr (Format::minimum) {
                            const float sums[2] = {a->low[m] * static_cast<float>(a->minus_low[m]),
                                                   a->high[m] * static_cast<float>(a->minus_high[m])};
                            acc[m] = S::fnma(scales.min_low, S::set(sums[0]), acc[m]);
                            acc[m] = S::fnma(scales.min_high, S::set(sums[1]), acc[m]);
                        }
                    } else {
                        if constexpr (Format::minimum)
                            acc[m] = S::fma(scales.min_low, S::set(a->scaled_sum[m]), acc[m]);
                        F t = S::mul(S::to_float(first), low);
                        t = S::fma(S::to_float(second), high, t);
                        acc[m] = S::fma(t, scales.low, acc[m]);
                    }
                }
            }
        }
        if constexpr (Format::row_floats > 0) {
            const float* own = reinterpret_cast<const float*>(group) + part * S::lanes;
            F factor = S::load(own);
            if constexpr (Format::row_floats > 1) factor = S::div(factor, S::load(own + kGroupRows));
            for (int m = 0; m < M; ++m) acc[m] = S::mul(acc[m], factor);
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

// Float weights: one multiply-add an element, in element order; activations float32 [col][tile],
// of which M tokens are taken.
template <class S, class Format, int M>
void tile_float(const uint8_t* group, int64_t cols, const float* act, int tile, float* out) {
    using F = typename S::F;
    for (int part = 0; part < kGroupRows / S::lanes; ++part) {
        const auto* w = reinterpret_cast<const typename Format::Unit*>(group) + part * S::lanes;
        const float* x = act;
        F acc[M];
        for (int m = 0; m < M; ++m) acc[m] = S::zero();
        for (int64_t k = 0; k < cols; ++k, w += kGroupRows, x += tile) {
            const F weight = Format::load(w);
#pragma GCC unroll 16
            for (int m = 0; m < M; ++m) acc[m] = S::fma(weight, S::set(x[m]), acc[m]);
        }
        for (int m = 0; m < M; ++m) S::store(out + 16 * m + part * S::lanes, acc[m]);
    }
}

// 8-bit floats with a float32 scale for each block of `Elements` columns.
template <class S, int Elements, int M>
void tile_mini(const uint8_t* group, int64_t cols, const float* act, int tile, float* out) {
    using F = typename S::F;
    for (int part = 0; part < kGroupRows / S::lanes; ++part) {
        const uint8_t* p = group;
        const float* x = act;
        F acc[M];
        for (int m = 0; m < M; ++m) acc[m] = S::zero();
        for (int64_t b = 0; b < cols / Elements; ++b) {
            const F scale = S::load(reinterpret_cast<const float*>(p) + part * S::lanes);
            p += kGroupRows * sizeof(float);
            for (int k = 0; k < Elements; ++k, p += kGroupRows, x += tile) {
                const F weight = S::mul(S::load_e4m3(p + part * S::lanes), scale);
#pragma GCC unroll 16
                for (int m = 0; m < M; ++m) acc[m] = S::fma(weight, S::set(x[m]), acc[m]);
            }
        }
        for (int m = 0; m < M; ++m) S::store(out + 16 * m + part * S::lanes, acc[m]);
    }
}

// A constant M times until every token of a tile has had its turn, largest first: body(M, first).
template <class S, class Body>
inline void in_constant_tiles(int tile, Body&& body) {
    constexpr int kLargest = S::any_tile ? 4 : S::max_tile;  // what the registers hold
    int m = 0;
    const auto take = [&](auto count) {
        if constexpr (count() <= kLargest)
            for (; tile - m >= count(); m += count()) body(count, m);
    };
    take(std::integral_constant<int, 16>{});
    take(std::integral_constant<int, 8>{});
    take(std::integral_constant<int, 4>{});
    take(std::integral_constant<int, 2>{});
    take(std::integral_constant<int, 1>{});
}

template <class S, template <class> class Format>
void tile_q(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
            [[maybe_unused]] Soon soon) {
    if (tile == 1) return tile_quantized<S, Format<S>, 1>(group, cols, act, out);
    if constexpr (S::any_tile) {
        tile_many<S, Format<S>>(group, cols, act, tile, out, soon);
    } else {
        if (tile == 2) return tile_quantized<S, Format<S>, 2>(group, cols, act, out);
        if (tile == 4) return tile_quantized<S, Format<S>, 4>(group, cols, act, out);
        if constexpr (S::max_tile > 4) {
            if (tile == 8) return tile_quantized<S, Format<S>, 8>(group, cols, act, out);
            return tile_quantized<S, Format<S>, 16>(group, cols, act, out);
        }
    }
}

template <class S, template <class> class Format>
void tile_f(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
            Soon) {
    in_constant_tiles<S>(tile, [&](auto count, int m) {
        const float* x = reinterpret_cast<const float*>(act) + m;
        tile_float<S, Format<S>, count()>(group, cols, x, tile, out + kGroupRows * m);
    });
}

template <class S, int Elements>
void tile_m(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
            Soon) {
    in_constant_tiles<S>(tile, [&](auto count, int m) {
        const float* x = reinterpret_cast<const float*>(act) + m;
        tile_mini<S, Elements, count()>(group, cols, x, tile, out + kGroupRows * m);
    });
}

// Rounds one token to int8: per sixteen elements, scale = largest / 127, to nearest even.
template <class S>
void quantize_row(const float* x, int64_t cols, uint8_t* act, int m, int tile) {
    using F = typename S::F;
    constexpr int kVectors = kActScale / S::lanes;
    for (int64_t b = 0; b < cols / kBlock; ++b, x += kBlock, act += tile * kActBytes) {
        auto* codes = reinterpret_cast<int8_t*>(act) + m * kBlock;
        float scales[2];
        int32_t sums[2] = {0, 0};
        for (int half = 0; half < 2; ++half) {
            F v[kVectors];
            F largest = S::zero();
            for (int i = 0; i < kVectors; ++i) {
                v[i] = S::load(x + half * kActScale + i * S::lanes);
                largest = S::max(S::abs(v[i]), largest);
            }
            const float top = S::largest(largest);
            scales[half] = top / 127.0f;
            const F inverse = S::set(top > 1e-30f ? 127.0f / top : 0.0f);  // no overflow
            for (int i = 0; i < kVectors; ++i) {
                const auto q = S::to_int(S::mul(v[i], inverse));
                S::store_bytes(codes + half * kActScale + i * S::lanes, q);
                sums[half] += S::sum(q);
            }
        }
        auto* numbers = reinterpret_cast<float*>(act + tile * kBlock);
        auto* minus = reinterpret_cast<int32_t*>(numbers + 3 * tile);
        numbers[m] = scales[0];
        numbers[tile + m] = scales[1];
        numbers[2 * tile + m] =
            scales[0] * static_cast<float>(sums[0]) + scales[1] * static_cast<float>(sums[1]);
        minus[m] = -sums[0];
        minus[tile + m] = -sums[1];
    }
}

inline void panel_row(const float* x, int64_t cols, uint8_t* act, int m, int tile) {
    auto* panel = reinterpret_cast<float*>(act) + m;
    for (int64_t k = 0; k < cols; ++k) panel[k * tile] = x[k];
}
