// Room: core/kernels. The matrix product: 16 weight rows against a tile of up to 16 tokens.
// Included by every instruction set inside its own namespace.
//
// Activations of a tile, per block of 32 elements:
//   int8 codes[tile][32]; float low[tile], high[tile], scaled_sum[tile];
//   int32 minus_low[tile], minus_high[tile], minus[tile], pairs[2][tile]
// and after all blocks, float scale[tile]. `low` scales the first sixteen codes, `high` the others:
// whole numbers below 2^14, in units of the token's scale. minus_low and minus_high are minus the
// sums of either's codes, times 2^kJoinedOffset where halves are joined, `minus` is -scaled_sum; pairs
// are of int16, both scales and minus both sums.
// Where bytes are not exact they differ: minus_low and minus_high are pairs, minus the sums of codes
// 0 and 1 of every four and of 2 and 3, and `pairs` hold low twice and high twice.
// The order of the float operations of one (row, token) is the same for every tile size, block
// after block; the integer sums inside a block are exact.

template <int M>
struct ActBlock {
    int8_t codes[M][kBlock];
    float low[M], high[M], scaled_sum[M];
    int32_t minus_low[M], minus_high[M], minus[M], pairs[2][M];
};

// acc += a block's codes . token m.
template <class S, class Format, class Block>
inline __attribute__((always_inline)) void meet(const typename S::B (&w)[8], const Scales<S>& scales,
                                                const Block& a, int m, typename S::F& acc) {
    using F = typename S::F;
    const int8_t *low = a.codes[m], *high = low + kActScale;
    typename S::I first = S::set_int(0), second = S::set_int(0);
    if constexpr (Format::wide && !S::exact_bytes) {  // codes come as signed bytes
        for (int k = 0; k < 4; ++k) {
            first = S::dot_signed(first, w[k], S::repeat4(low + 4 * k));
            second = S::dot_signed(second, w[4 + k], S::repeat4(high + 4 * k));
        }
    } else {
        if constexpr (Format::offset >= 0) {
            first = times_offset<S, Format::offset>(a.minus_low[m]);
            second = times_offset<S, Format::offset>(a.minus_high[m]);
        }
        first = S::dot4(first, w, low);
        second = S::dot4(second, w + 4, high);
    }
    const F by_low = S::set(a.low[m]), by_high = S::set(a.high[m]);
    if constexpr (Format::halves) {
        acc = S::fma(S::to_float(first), S::mul(scales.low, by_low), acc);
        acc = S::fma(S::to_float(second), S::mul(scales.high, by_high), acc);
    } else {
        if constexpr (Format::minimum) acc = S::fma(scales.min_low, S::set(a.scaled_sum[m]), acc);
        acc = S::fma(S::fma(S::to_float(second), by_high, S::mul(S::to_float(first), by_low)), scales.low, acc);
    }
}

// The same where both sums fit 16 bits: one multiply-add brings them together.
template <class S, class Format, int M>
inline __attribute__((always_inline)) void meet_joined(const typename S::B (&w)[8],
                                                       const Scales<S>& scales, const ActBlock<M>& a,
                                                       int m, typename S::F& acc) {
    const auto none = S::set_int(0);
    constexpr bool taken = Format::offset == kJoinedOffset;
    const auto first = S::dot4(taken ? S::set_int(a.minus_low[m]) : none, w, a.codes[m]);
    const auto second = S::dot4(taken ? S::set_int(a.minus_high[m]) : none, w + 4, a.codes[m] + kActScale);
    auto sums = S::join(first, second);
    if constexpr (Format::offset >= 0 && !taken)
        sums = S::add_shorts(sums, S::template left<Format::offset>(S::set_int(a.pairs[1][m])));
    const auto whole = S::to_float(S::dot_pairs(none, sums, S::set_int(a.pairs[0][m])));
    if constexpr (Format::minimum) acc = S::fma(scales.min_low, S::set(a.scaled_sum[m]), acc);
    acc = S::fma(whole, scales.low, acc);
}

// The same where scales weigh whole numbers.
template <class S, class Format, int M>
inline __attribute__((always_inline)) void meet_weighed(const typename S::B (&w)[8],
                                                        const Scales<S>& scales, const ActBlock<M>& a,
                                                        int m, typename S::F& acc) {
    static_assert(fits_weighed<S, Format>());
    const int8_t *low = a.codes[m], *high = low + kActScale;
    auto sum = S::set_int(0);
    if constexpr (Format::halves) {
        constexpr int offset = Format::offset;
        const auto first = S::template dot4<offset>(sum, w, low, a.pairs[0][m], a.minus_low[m]);
        const auto second = S::template dot4<offset>(sum, w + 4, high, a.pairs[1][m], a.minus_high[m]);
        acc = S::fma(S::to_float(first), scales.low, acc);
        acc = S::fma(S::to_float(second), scales.high, acc);
    } else {
        if constexpr (Format::offset >= 0)
            sum = S::template shift_left<Format::offset>(S::set_int(a.minus[m]));
        sum = S::template dot4<-1>(sum, w, low, a.pairs[0][m], 0);
        sum = S::template dot4<-1>(sum, w + 4, high, a.pairs[1][m], 0);
        if constexpr (Format::minimum) acc = S::fma(scales.min_low, S::set(a.scaled_sum[m]), acc);
        acc = S::fma(S::to_float(sum), scales.low, acc);
    }
}

// What the minima of both halves of a block take away from token m.
template <class S, int M>
inline typename S::F less_minima(const Scales<S>& scales, const ActBlock<M>& a, int m, typename S::F acc) {
    acc = S::fnma(scales.min_low, S::set(a.low[m] * sum_of<S>(a.minus_low[m])), acc);
    return S::fnma(scales.min_high, S::set(a.high[m] * sum_of<S>(a.minus_high[m])), acc);
}

template <class S, class Format, int M>
void tile_quantized(const uint8_t* group, int64_t cols, const uint8_t* act, float* out, Soon* soon) {
    using F = typename S::F;
    constexpr int kSubs = Format::elements / kBlock;
    constexpr int kSubBytes = plane_bytes(Format::planes) + kGroupRows * Format::header / kSubs;
    static_assert(sizeof(ActBlock<M>) == M * kActBytes);
    // While several tokens keep the units busy, the next group comes in from memory, each part of
    // the lanes asking for its share. Sets of two parts need that for few tokens too, as their second
    // part meets no memory, and so do formats that the processor foresees badly itself: those of
    // several planes, or of long blocks.
    constexpr int kParts = kGroupRows / S::lanes;
    constexpr bool foreseen =
        Format::elements == kBlock && (Format::planes == kNibble || Format::planes == kByte);
    [[maybe_unused]] const int64_t ahead = cols / kBlock * kSubBytes;
    constexpr bool spread = M >= 4 || kParts == 2 || !foreseen;
    if (soon != nullptr) soon->spread(spread ? cols / kBlock * kParts : 1);
    if (!spread && soon != nullptr) soon->ask();
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
                if constexpr (spread) {
                    for (int line = 0; line < kSubBytes / kParts + 63; line += 64)
                        __builtin_prefetch(next + line, 0, 2);
                    next += kSubBytes / kParts;
                    if (soon != nullptr) soon->ask();
                }
                typename S::B w[8];
                load_codes<S, Format>(p, part, w);
                if constexpr (M > 1) S::hold(w);
                Scales<S> scales;
                Format::scales(head, sub, part * S::lanes, scales);
#pragma GCC unroll 16
                for (int m = 0; m < M; ++m) {
                    if constexpr (joined<S, Format>()) meet_joined<S, Format>(w, scales, *a, m, acc[m]);
                    else if constexpr (weighed<S, Format>()) meet_weighed<S, Format>(w, scales, *a, m, acc[m]);
                    else meet<S, Format>(w, scales, *a, m, acc[m]);
                    if constexpr (Format::halves && Format::minimum)
                        acc[m] = less_minima<S>(scales, *a, m, acc[m]);
                }
            }
        }
        const float* own = reinterpret_cast<const float*>(group) + part * S::lanes;
        for (int m = 0; m < M; ++m) {
            const float scale = reinterpret_cast<const float*>(a)[m];
            S::store(out + 16 * m + part * S::lanes, S::mul(acc[m], row_factor<S, Format>(own, scale)));
        }
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
            Soon* soon) {
    if (tile == 1) return tile_quantized<S, Format<S>, 1>(group, cols, act, out, soon);
    if constexpr (S::any_tile) {
        tile_many<S, Format<S>>(group, cols, act, tile, out, soon);
    } else {
        if (tile == 2) return tile_quantized<S, Format<S>, 2>(group, cols, act, out, soon);
        if (tile == 4) return tile_quantized<S, Format<S>, 4>(group, cols, act, out, soon);
        if constexpr (S::max_tile > 4) {
            if (tile == 8) return tile_quantized<S, Format<S>, 8>(group, cols, act, out, soon);
            return tile_quantized<S, Format<S>, 16>(group, cols, act, out, soon);
        }
    }
}

template <class S, template <class> class Format>
void tile_f(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
            Soon*) {
    in_constant_tiles<S>(tile, [&](auto count, int m) {
        const float* x = reinterpret_cast<const float*>(act) + m;
        tile_float<S, Format<S>, count()>(group, cols, x, tile, out + kGroupRows * m);
    });
}

template <class S, int Elements>
void tile_m(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
            Soon*) {
    in_constant_tiles<S>(tile, [&](auto count, int m) {
        const float* x = reinterpret_cast<const float*>(act) + m;
        tile_mini<S, Elements, count()>(group, cols, x, tile, out + kGroupRows * m);
    });
}

inline void panel_row(const float* x, int64_t cols, uint8_t* act, int m, int tile) {
    auto* panel = reinterpret_cast<float*>(act) + m;
    for (int64_t k = 0; k < cols; ++k) panel[k * tile] = x[k];
}
