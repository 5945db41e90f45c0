// Room: core/kernels. The matrix product of 16 rows with many tokens, for sets whose vectors hold
// half of a group's rows. Included by every instruction set inside its own namespace.
//
// Codes are unpacked once for all tokens of the tile: those of 16 columns and all 16 rows fill half
// the registers, and every broadcast of activations meets two of them. What a (row, token) sums and
// in which order is as in tile.h; between its columns it waits in the first cache.

// Pointers to what one block of activations holds for `tile` tokens; see ActBlock.
struct ManyBlock {
    ManyBlock(const uint8_t* act, int tile)
        : codes(reinterpret_cast<const int8_t*>(act)),
          scales(reinterpret_cast<const float*>(act + tile * kBlock)),
          scaled_sums(scales + 2 * tile),
          minus(reinterpret_cast<const int32_t*>(scales + 3 * tile)) {}
    const int8_t* codes;         // [tile][32]
    const float* scales;         // [2][tile]: of the first sixteen codes, of the others
    const float* scaled_sums;    // [tile]
    const int32_t* minus;        // [2][tile]
};

// Sums of sixteen columns and all 16 rows, exact whole numbers; w[part] holds four columns each.
template <class S, class Format>
inline __attribute__((always_inline)) void many_dots(const typename S::B (&w)[2][4],
                                                     const int8_t* values,
                                                     typename S::I (&sums)[2]) {
    if constexpr (Format::wide && !S::exact_bytes) {
        for (int j = 0; j < 4; ++j) {
            const auto v = S::repeat4(values + 4 * j);
            for (int part = 0; part < 2; ++part)
                sums[part] = S::dot_signed(sums[part], w[part][j], v);
        }
    } else {
        S::template dot4<code_bits<Format>()>(sums, w, values);
    }
}

// One half of a block of 32 columns against every token; `held` and `acc` are [tile][16].
template <class S, class Format, int Half>
void many_half(const uint8_t* planes, const Scales<S> (&scales)[2], const ManyBlock a, int tile,
               float* __restrict held, float* __restrict acc) {
    using F = typename S::F;
    constexpr bool kSigned = Format::wide && !S::exact_bytes;
    typename S::B w[2][4];
    for (int part = 0; part < 2; ++part) load_half<S, Format, Half>(planes, part, w[part]);
    const int8_t* __restrict codes = a.codes + Half * kActScale;
    const float* __restrict factors = a.scales + Half * tile;
    const float* __restrict weighed = a.scaled_sums;
    [[maybe_unused]] const int32_t* __restrict minus = a.minus + Half * tile;
    const F low[2] = {scales[0].low, scales[1].low};
#pragma GCC unroll 1
    for (int m = 0; m < tile; ++m) {
        typename S::I sums[2] = {S::set_int(0), S::set_int(0)};
        if constexpr (!kSigned && Format::offset >= 0)
            sums[0] = sums[1] = S::template shift_left<Format::offset>(S::set_int(minus[m]));
        many_dots<S, Format>(w, codes + m * kBlock, sums);
        const F by = S::set(factors[m]);
        for (int part = 0; part < 2; ++part) {
            const int at = m * kGroupRows + part * S::lanes;
            const F whole = S::to_float(sums[part]);
            if constexpr (Format::halves) {
                const F both = S::mul(Half == 0 ? low[part] : scales[part].high, by);
                F t = S::fma(whole, both, S::load(acc + at));
                if constexpr (Format::minimum && Half == 1) {
                    for (int h = 0; h < 2; ++h) {
                        const float sum = a.scales[h * tile + m] * static_cast<float>(a.minus[h * tile + m]);
                        t = S::fnma(h == 0 ? scales[part].min_low : scales[part].min_high, S::set(sum), t);
                    }
                }
                S::store(acc + at, t);
            } else if constexpr (Half == 0) {
                S::store(held + at, S::mul(whole, by));
            } else {
                F t = S::load(acc + at);
                if constexpr (Format::minimum)
                    t = S::fma(scales[part].min_low, S::set(weighed[m]), t);
                S::store(acc + at, S::fma(S::fma(whole, by, S::load(held + at)), low[part], t));
            }
        }
    }
}

template <class S, class Format>
void tile_many(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
               Soon soon) {
    constexpr int kSubs = Format::elements / kBlock;
    constexpr int kSubBytes = plane_bytes(Format::planes) + kGroupRows * Format::header / kSubs;
    static_assert(kGroupRows == 2 * S::lanes);
    const uint8_t* p = group + Format::row_floats * kGroupRows * sizeof(float);
    const uint8_t* next = group + cols / kBlock * kSubBytes;
    const int64_t share = (soon.lines + cols / kBlock - 1) / (cols / kBlock);  // of a block
    alignas(64) float held[kMaxTile * kGroupRows];
    for (int i = 0; i < tile * kGroupRows; i += S::lanes) S::store(out + i, S::zero());
    for (int64_t b = 0; b < cols / Format::elements; ++b) {
        const uint8_t* head = p;
        p += kGroupRows * Format::header;
        for (int sub = 0; sub < kSubs; ++sub, p += plane_bytes(Format::planes)) {
            for (int line = 0; line < kSubBytes; line += 64)
                __builtin_prefetch(next + line, 0, 2);
            next += kSubBytes;
            for (int64_t i = 0; i < share && soon.lines > 0; ++i, --soon.lines, soon.at += 64)
                __builtin_prefetch(soon.at, 0, 2);
            Scales<S> scales[2];
            for (int part = 0; part < 2; ++part)
                Format::scales(head, sub, part * S::lanes, scales[part]);
            const ManyBlock a(act, tile);
            many_half<S, Format, 0>(p, scales, a, tile, held, out);
            many_half<S, Format, 1>(p, scales, a, tile, held, out);
            act += tile * kActBytes;
        }
    }
    if constexpr (Format::row_floats > 0) {
        const float* own = reinterpret_cast<const float*>(group);
        for (int i = 0; i < tile * kGroupRows; i += S::lanes) {
            auto factor = S::load(own + i % kGroupRows);
            if constexpr (Format::row_floats > 1)
                factor = S::div(factor, S::load(own + kGroupRows + i % kGroupRows));
            S::store(out + i, S::mul(S::load(out + i), factor));
        }
    }
}
