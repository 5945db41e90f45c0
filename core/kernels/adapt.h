// Room: core/kernels. What adapters multiply by: thin matrices in float16 or in 8 bits.
// Included by every instruction set inside its own namespace.
//
// A group is 16 rows; per block of 32 columns, of which the last may have fewer: in 8 bits first
// the rows' float16 scales; then the values, column by column. A row's order: in a block four sums,
// of every fourth column, added in pairs; then block after block.

template <class S>
struct ThinBytes {
    static constexpr int kUnit = 1, kScales = 2 * kGroupRows;
    static auto load(const uint8_t* p) { return S::load_i8(p); }
    static auto scaled(const uint8_t* p, typename S::F sum, typename S::F before) {
        return S::fma(S::load_half(reinterpret_cast<const uint16_t*>(p)), sum, before);
    }
};

template <class S>
struct ThinHalves {
    static constexpr int kUnit = 2, kScales = 0;
    static auto load(const uint8_t* p) { return S::load_half(reinterpret_cast<const uint16_t*>(p)); }
    static auto scaled(const uint8_t*, typename S::F sum, typename S::F before) {
        return S::add(before, sum);
    }
};

// Adds one block of `n` columns to total[m][part]. Of its four sums, kAtOnce run side by side: as
// many as the registers hold.
template <class S, class Format, int M, int kParts>
inline void thin_block(const uint8_t* scales, const uint8_t* codes, int n,
                       const float* const (&x)[M], typename S::F (&total)[M][kParts]) {
    using F = typename S::F;
    constexpr int kSums = 4;
    constexpr int kAtOnce = M * kParts >= 8 ? 1 : M * kParts >= 4 ? 2 : 4;
    F sums[kSums][M][kParts];
#pragma GCC unroll 4
    for (int first = 0; first < kSums; first += kAtOnce) {
        F acc[kAtOnce][M][kParts];
#pragma GCC unroll 4
        for (int c = 0; c < kAtOnce; ++c)
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
                for (int part = 0; part < kParts; ++part) acc[c][m][part] = S::zero();
        const auto take = [&](int k, int c) __attribute__((always_inline)) {
            const uint8_t* at = codes + k * kGroupRows * Format::kUnit;
#pragma GCC unroll 4
            for (int part = 0; part < kParts; ++part) {
                const F w = Format::load(at + part * S::lanes * Format::kUnit);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m)
                    acc[c][m][part] = S::fma(w, S::set(x[m][k]), acc[c][m][part]);
            }
        };
        int k = first;
#pragma GCC unroll 1
        for (; k + kAtOnce <= n; k += kSums)
#pragma GCC unroll 4
            for (int c = 0; c < kAtOnce; ++c) take(k + c, c);
#pragma GCC unroll 4
        for (int c = 0; c < kAtOnce; ++c)
            if (k + c < n) take(k + c, c);
#pragma GCC unroll 4
        for (int c = 0; c < kAtOnce; ++c)
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
                for (int part = 0; part < kParts; ++part)
                    sums[first + c][m][part] = acc[c][m][part];
    }
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
        for (int part = 0; part < kParts; ++part) {
            const F all = S::add(S::add(sums[0][m][part], sums[1][m][part]),
                                 S::add(sums[2][m][part], sums[3][m][part]));
            total[m][part] = Format::scaled(scales + 2 * part * S::lanes, all, total[m][part]);
        }
}

template <class S, class Format, int M>
void thin_tile(const ThinView& w, const float* const* rows, float factor, bool adds,
               float* const* to) {
    using F = typename S::F;
    constexpr int kParts = M == 1 && S::lanes == 8 ? 2 : 1;  // of a group's rows at once
    constexpr int kRows = kParts * S::lanes;
    const int64_t blocks = (w.cols + kThinBlock - 1) / kThinBlock;
    const int64_t group_bytes = w.cols * kGroupRows * Format::kUnit + blocks * Format::kScales;
    const F by = S::set(factor);
    for (int64_t at = 0; at < w.rows; at += kRows) {
        const int64_t row = at % kGroupRows;
        const uint8_t* p = w.groups + at / kGroupRows * group_bytes;
        F total[M][kParts];
        for (auto& token : total)
            for (auto& part : token) part = S::zero();
        for (int64_t k = 0; k < w.cols; k += kThinBlock) {
            const auto n = static_cast<int>(std::min<int64_t>(kThinBlock, w.cols - k));
            const float* x[M];
            for (int m = 0; m < M; ++m) x[m] = rows[m] + k;
            thin_block<S, Format, M, kParts>(p + 2 * row, p + Format::kScales + row * Format::kUnit,
                                             n, x, total);
            p += Format::kScales + n * kGroupRows * Format::kUnit;
        }
        for (int m = 0; m < M; ++m)
            for (int part = 0; part < kParts; ++part) {
                const int64_t column = at + part * S::lanes;
                const auto n = static_cast<int>(std::min<int64_t>(w.rows - column, S::lanes));
                if (n <= 0) continue;
                const F result = S::mul(by, total[m][part]);
                float* y = to[m] + column;
                if (n == S::lanes) S::store(y, adds ? S::add(S::load(y), result) : result);
                else S::store_part(y, adds ? S::add(S::load_part(y, n), result) : result, n);
            }
    }
}

template <class S, template <class> class Format>
void thin(const ThinView& w, const float* const* x, int tile, float factor, bool adds,
          float* const* to) {
    if (tile == 1) return thin_tile<S, Format<S>, 1>(w, x, factor, adds, to);
    if (tile == 2) return thin_tile<S, Format<S>, 2>(w, x, factor, adds, to);
    return thin_tile<S, Format<S>, 4>(w, x, factor, adds, to);
}
