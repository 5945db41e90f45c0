// Room: core/kernels. Activations of a tile rounded to int8, into the blocks that tile.h describes.
// Included by every instruction set inside its own namespace.
//
// A token's scale is its largest element / 127 / kScaleUnits, and that of sixteen elements, a run,
// the least whole multiple that keeps them within 127; to nearest even. What belongs to a run is
// computed for as many runs at once as a vector has lanes: those of several tokens, or blocks of
// few. No lane knows of another, so how they are taken together changes no result.

constexpr int kScaleUnits = 16383;  // four of the widest sums of codes below 32, so weighed, fit 31 bits

// Where runs lie: lane `block * Tokens + token` is that block and token from the first ones on.
template <class S, int Tokens>
struct Runs {
    static constexpr int kBlocks = S::lanes / Tokens;  // at once
    const float* rows[Tokens];
    uint8_t* act;  // of the tile's first block, see ActBlock
    int first;     // of the tokens among the tile's
    int tile;

    uint8_t* block(int64_t b) const { return act + b * tile * kActBytes; }
    int8_t* codes(int64_t b, int token, int half) const {
        return reinterpret_cast<int8_t*>(block(b)) + (first + token) * kBlock + half * kActScale;
    }
    // One of the block's eight numbers a token.
    int32_t* number(int64_t b, int index) const {
        return reinterpret_cast<int32_t*>(block(b) + tile * kBlock) + index * tile + first;
    }
    // body(lane, block, token) for those of the first `blocks` blocks.
    template <class Body>
    static inline __attribute__((always_inline)) void each(int blocks, Body&& body) {
#pragma GCC unroll 16
        for (int j = 0; j < kBlocks; ++j) {
            if (j >= blocks) return;
#pragma GCC unroll 16
            for (int t = 0; t < Tokens; ++t) body(j * Tokens + t, j, t);
        }
    }
};

// The whole multiple, at least 1, of a token's scale by which each lane's largest element is within
// 127; `units` is kScaleUnits / the token's largest.
template <class S>
inline typename S::F run_scales(typename S::F largest, typename S::F units) {
    const auto share = S::min(S::set(static_cast<float>(kScaleUnits)), S::mul(largest, units));
    const auto near = S::to_float(S::to_int(share));
    const auto up = S::pick_less(near, share, S::add(near, S::set(1.0f)), near);
    return S::max(up, S::set(1.0f));
}

template <class S, int Tokens>
inline typename S::F largest_of_half(const Runs<S, Tokens>& runs, int64_t b, int blocks, int half) {
    typename S::F tops[S::lanes];
    for (auto& top : tops) top = S::zero();
    runs.each(blocks, [&](int lane, int j, int t) {
        const float* x = runs.rows[t] + (b + j) * kBlock + half * kActScale;
        tops[lane] = S::abs(S::load(x));
        for (int i = S::lanes; i < kActScale; i += S::lanes)
            tops[lane] = S::max(S::abs(S::load(x + i)), tops[lane]);
    });
    return S::largest_each(tops);
}

// Rounds the runs of one half of `blocks` blocks, of scales / `by` each; returns minus the sums of
// their codes.
template <class S, int Tokens>
inline typename S::I round_half(const Runs<S, Tokens>& runs, int64_t b, int blocks, int half,
                                const float (&by)[S::lanes]) {
    typename S::I sums[S::lanes];
    for (auto& sum : sums) sum = S::set_int(0);
    runs.each(blocks, [&](int lane, int j, int t) {
        const float* x = runs.rows[t] + (b + j) * kBlock + half * kActScale;
        int8_t* codes = runs.codes(b + j, t, half);
        for (int i = 0; i < kActScale; i += S::lanes) {
            const auto q = S::to_int(S::mul(S::load(x + i), S::set(by[lane])));
            S::store_bytes(codes + i, q);
            sums[lane] = i == 0 ? q : S::add(sums[lane], q);
        }
        if constexpr (!S::exact_bytes) sums[lane] = S::raise_pairs(sums[lane]);
    });
    return S::subtract(S::set_int(0), S::sum_each(sums));
}

// The numbers of `blocks` blocks from lanes to where they lie.
template <class S, int Tokens>
inline void put_numbers(const Runs<S, Tokens>& runs, int64_t b, int blocks,
                        const typename S::I (&numbers)[8]) {
#pragma GCC unroll 8
    for (int index = 0; index < 8; ++index) {
        if constexpr (Tokens == S::lanes) {
            S::store_ints(runs.number(b, index), numbers[index]);
        } else {
            alignas(64) int32_t lanes[S::lanes];
            S::store_ints(lanes, numbers[index]);
#pragma GCC unroll 16
            for (int j = 0; j < runs.kBlocks; ++j)
                if (j < blocks)
                    __builtin_memcpy(runs.number(b + j, index), lanes + j * Tokens, Tokens * sizeof(int32_t));
        }
    }
}

template <class S, int Tokens>
inline void round_blocks(const Runs<S, Tokens>& runs, int64_t b, int blocks, typename S::F units) {
    typename S::F scales[2];
    typename S::I whole[2], minus[2], numbers[8];
    for (int half = 0; half < 2; ++half) {
        scales[half] = run_scales<S>(largest_of_half(runs, b, blocks, half), units);
        alignas(64) float by[S::lanes];
        S::store(by, S::div(S::mul(units, S::set(127.0f)), scales[half]));
        minus[half] = round_half(runs, b, blocks, half, by);
        whole[half] = S::to_int(scales[half]);
        numbers[half] = S::bits(scales[half]);
        numbers[3 + half] = minus[half];
    }
    if constexpr (S::exact_bytes) {
        numbers[6] = S::join(whole[0], whole[1]);
        numbers[7] = S::join(minus[0], minus[1]);
        numbers[5] = S::dot_pairs(S::set_int(0), numbers[6], numbers[7]);
        if constexpr (S::joins)
            for (int half = 0; half < 2; ++half)
                numbers[3 + half] = S::template shift_left<kJoinedOffset>(minus[half]);
    } else {
        for (int half = 0; half < 2; ++half) {
            // Sums of two columns of every four and 2^16 those of the others -> pairs, and both.
            const auto low = S::low_halves(minus[half]), rest = S::subtract(minus[half], low);
            numbers[3 + half] = S::join(low, S::high_halves(rest));
            numbers[6 + half] = S::join(whole[half], whole[half]);
            minus[half] = S::add(low, S::high_halves(rest));
        }
        numbers[5] = S::dot_pairs(S::set_int(0), S::join(whole[0], whole[1]), S::join(minus[0], minus[1]));
    }
    numbers[2] = S::bits(S::to_float(S::subtract(S::set_int(0), numbers[5])));
    put_numbers(runs, b, blocks, numbers);
}

// The largest magnitude of n floats, n a multiple of kBlock.
template <class S>
inline float largest_of(const float* x, int64_t n) {
    typename S::F largest[kBlock / S::lanes];  // side by side, so that none waits for another
    for (auto& each : largest) each = S::zero();
    for (int64_t i = 0; i < n; i += kBlock)
        for (int v = 0; v < kBlock / S::lanes; ++v)
            largest[v] = S::max(S::abs(S::load(x + i + v * S::lanes)), largest[v]);
    for (int v = 1; v < kBlock / S::lanes; ++v) largest[0] = S::max(largest[v], largest[0]);
    return S::largest(largest[0]);
}

template <class S, int Tokens>
void round_tokens(const Runs<S, Tokens>& runs, int64_t cols) {
    const int64_t count = cols / kBlock;
    alignas(64) float units[S::lanes] = {};
    for (int t = 0; t < Tokens; ++t) {
        const float top = largest_of<S>(runs.rows[t], cols);
        const bool some = top > 1e-30f;  // no overflow
        for (int j = 0; some && j < runs.kBlocks; ++j)
            units[j * Tokens + t] = static_cast<float>(kScaleUnits) / top;
        reinterpret_cast<float*>(runs.block(count))[runs.first + t] =
            some ? top / (127.0f * kScaleUnits) : 0.0f;
    }
    const auto of_lanes = S::load(units);
    for (int64_t b = 0; b < count; b += runs.kBlocks)
        round_blocks(runs, b, static_cast<int>(std::min<int64_t>(runs.kBlocks, count - b)), of_lanes);
}

// Tokens [first, tile), most at once first.
template <class S, int Tokens>
void round_from(const float* const* rows, int64_t cols, uint8_t* act, int tile, int first) {
    for (; tile - first >= Tokens; first += Tokens) {
        Runs<S, Tokens> runs{{}, act, first, tile};
        std::copy_n(rows + first, Tokens, runs.rows);
        round_tokens(runs, cols);
    }
    if constexpr (Tokens > 1) round_from<S, Tokens / 2>(rows, cols, act, tile, first);
}

template <class S>
void quantize_tile(const float* const* rows, int64_t cols, uint8_t* act, int tile) {
    round_from<S, S::lanes>(rows, cols, act, tile, 0);
}
