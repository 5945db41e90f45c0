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
          minus(reinterpret_cast<const int32_t*>(scales + 3 * tile)),
          pairs(minus + 3 * tile) {}
    const int8_t* codes;         // [tile][32]
    const float* scales;         // [2][tile]: of the first sixteen codes, of the others
    const float* scaled_sums;    // [tile]
    const int32_t* minus;        // [3][tile], of both halves together the last
    const int32_t* pairs;        // [2][tile]
};

// What waits between the halves of a block.
template <class S, bool Whole>
struct Held {
    typename S::F value;
};
template <class S>
struct Held<S, true> {
    typename S::I value;
};
template <class S, class Format>
using HeldOf = Held<S, together<S, Format>()>;

// Brings a half's sums with token m to where they wait, as tile.h does.
template <class S, class Format, int Half>
inline __attribute__((always_inline)) void settle_half(typename S::I sums, const Scales<S>& scales,
                                                       const ManyBlock& a, int tile, int m,
                                                       HeldOf<S, Format>& held, float* acc) {
    using F = typename S::F;
    if constexpr (Format::halves) {
        F t = S::fma(S::to_float(sums), Half == 0 ? scales.low : scales.high, S::load(acc));
        if constexpr (Format::minimum && Half == 1) {
            t = S::fnma(scales.min_low, S::set(a.scales[m] * sum_of<S>(a.minus[m])), t);
            t = S::fnma(scales.min_high, S::set(a.scales[tile + m] * sum_of<S>(a.minus[tile + m])), t);
        }
        S::store(acc, t);
    } else if constexpr (Half == 0) {
        if constexpr (together<S, Format>()) held.value = sums;
        else held.value = S::mul(S::to_float(sums), S::set(a.scales[m]));
    } else {
        F t = S::load(acc);
        if constexpr (Format::minimum) t = S::fma(scales.min_low, S::set(a.scaled_sums[m]), t);
        F whole = S::to_float(sums);
        if constexpr (!together<S, Format>()) whole = S::fma(whole, S::set(a.scales[tile + m]), held.value);
        S::store(acc, S::fma(whole, scales.low, t));
    }
}

// One half of a block of 32 columns against every token; `held` is [tile][16] of whole numbers where
// halves meet in them, else of floats, and so is `acc`, always of floats.
template <class S, class Format, int Half>
void many_half(const uint8_t* planes, const Scales<S> (&scales)[2], const ManyBlock a, int tile,
               HeldOf<S, Format>* __restrict held, float* __restrict acc) {
    typename S::B w[2][4];
    for (int part = 0; part < 2; ++part) load_half<S, Format, Half>(planes, part, w[part]);
    const int8_t* __restrict codes = a.codes + Half * kActScale;
    const int32_t* __restrict pairs = a.pairs + Half * tile;
    const int32_t* __restrict minus = a.minus + Half * tile;
#pragma GCC unroll 1
    for (int m = 0; m < tile; ++m) {
        typename S::I sums[2] = {S::set_int(0), S::set_int(0)};
        if constexpr (together<S, Format>()) {
            if constexpr (Half == 1) sums[0] = held[2 * m].value, sums[1] = held[2 * m + 1].value;
            else if constexpr (Format::offset >= 0)
                sums[0] = sums[1] = S::template shift_left<Format::offset>(S::set_int(a.minus[2 * tile + m]));
            S::template dot4<-1>(sums, w, codes + m * kBlock, pairs[m], 0);
        } else if constexpr (weighed<S, Format>()) {
            S::template dot4<Format::offset>(sums, w, codes + m * kBlock, pairs[m], minus[m]);
        } else {
            for (int j = 0; j < 4; ++j) {
                const auto v = S::repeat4(codes + m * kBlock + 4 * j);
                for (int part = 0; part < 2; ++part)
                    sums[part] = S::dot_signed(sums[part], w[part][j], v);
            }
        }
        for (int part = 0; part < 2; ++part)
            settle_half<S, Format, Half>(sums[part], scales[part], a, tile, m, held[2 * m + part],
                                         acc + m * kGroupRows + part * S::lanes);
    }
}

template <class S, class Format>
void tile_many(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
               Soon* soon) {
    constexpr int kSubs = Format::elements / kBlock;
    constexpr int kSubBytes = plane_bytes(Format::planes) + kGroupRows * Format::header / kSubs;
    static_assert(kGroupRows == 2 * S::lanes);
    const uint8_t* p = group + Format::row_floats * kGroupRows * sizeof(float);
    const uint8_t* next = group + cols / kBlock * kSubBytes;
    if (soon != nullptr) soon->spread(cols / kBlock);
    HeldOf<S, Format> held[2 * kMaxTile];
    for (int i = 0; i < tile * kGroupRows; i += S::lanes) S::store(out + i, S::zero());
    for (int64_t b = 0; b < cols / Format::elements; ++b) {
        const uint8_t* head = p;
        p += kGroupRows * Format::header;
        for (int sub = 0; sub < kSubs; ++sub, p += plane_bytes(Format::planes)) {
            for (int line = 0; line < kSubBytes; line += 64)
                __builtin_prefetch(next + line, 0, 2);
            next += kSubBytes;
            if (soon != nullptr) soon->ask();
            Scales<S> scales[2];
            for (int part = 0; part < 2; ++part)
                Format::scales(head, sub, part * S::lanes, scales[part]);
            const ManyBlock a(act, tile);
            many_half<S, Format, 0>(p, scales, a, tile, held, out);
            many_half<S, Format, 1>(p, scales, a, tile, held, out);
            act += tile * kActBytes;
        }
    }
    const float* own = reinterpret_cast<const float*>(group);
    for (int i = 0; i < tile * kGroupRows; i += S::lanes) {
        const float scale = reinterpret_cast<const float*>(act)[i / kGroupRows];
        const auto factor = row_factor<S, Format>(own + i % kGroupRows, scale);
        S::store(out + i, S::mul(S::load(out + i), factor));
    }
}
