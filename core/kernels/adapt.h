// Room: core/kernels. What adapters multiply by: thin matrices in float16 or in 8 bits.
// Included by every instruction set inside its own namespace.
//
// A group is 16 rows; per block of 32 columns, of which the last may have fewer: in 8 bits first
// the rows' float16 scales; then the values, column by column. In 8 bits 128 is added to a value, and
// of every row four columns lie side by side, as in a block of Q8_0; up to three that are left over
// follow one by one. A row's order with floats: in a block four sums, of every fourth column, added in
// pairs; then block after block.

template <class S>
struct ThinBytes {
    static constexpr int kUnit = 1, kScales = 2 * kGroupRows;
    // Column c of the four that begin at p; one that is alone.
    static auto load(const uint8_t* p, int c, int64_t row) { return S::load_column(p + 4 * row, c); }
    static auto load_single(const uint8_t* p, int64_t row) {
        return S::sub(S::load_u8(p + row), S::set(128.0f));
    }
    static auto scaled(const uint8_t* p, typename S::F sum, typename S::F before) {
        return S::fma(S::load_half(reinterpret_cast<const uint16_t*>(p)), sum, before);
    }
};

template <class S>
struct ThinHalves {
    static constexpr int kUnit = 2, kScales = 0;
    static auto load(const uint8_t* p, int c, int64_t row) {
        return load_single(p + 2 * kGroupRows * c, row);
    }
    static auto load_single(const uint8_t* p, int64_t row) {
        return S::load_half(reinterpret_cast<const uint16_t*>(p) + row);
    }
    static auto scaled(const uint8_t*, typename S::F sum, typename S::F before) {
        return S::add(before, sum);
    }
};

// Adds one block of `n` columns to total[m][part], rows from `row` on. Of its four sums, kAtOnce run
// side by side: as many as the registers hold.
template <class S, class Format, int M, int kParts>
inline void thin_block(const uint8_t* block, int64_t row, int n, const float* const (&x)[M],
                       typename S::F (&total)[M][kParts]) {
    using F = typename S::F;
    constexpr int kSums = 4;
    const uint8_t* codes = block + Format::kScales;
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
        const auto take = [&](auto load, int k, int c) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int part = 0; part < kParts; ++part) {
                const F w = load(row + part * S::lanes);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m)
                    acc[c][m][part] = S::fma(w, S::set(x[m][k]), acc[c][m][part]);
            }
        };
        int k = 0;
#pragma GCC unroll 1
        for (; k + kSums <= n; k += kSums)
#pragma GCC unroll 4
            for (int c = 0; c < kAtOnce; ++c) {
                const uint8_t* four = codes + k * kGroupRows * Format::kUnit;
                take([&](int64_t at) { return Format::load(four, first + c, at); }, k + first + c, c);
            }
#pragma GCC unroll 4
        for (int c = 0; c < kAtOnce; ++c) {
            if (k + first + c >= n) break;
            const uint8_t* single = codes + (k + first + c) * kGroupRows * Format::kUnit;
            take([&](int64_t at) { return Format::load_single(single, at); }, k + first + c, c);
        }
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
            total[m][part] = Format::scaled(block + 2 * (row + part * S::lanes), all, total[m][part]);
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
            thin_block<S, Format, M, kParts>(p, row, n, x, total);
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

// One block of a token's activations as meet() takes it; see ActBlock.
struct TokenBlock {
    TokenBlock(const ActToken& token, int64_t b) {
        const uint8_t* at = token.act + b * token.tile * kActBytes;
        codes = reinterpret_cast<const int8_t(*)[kBlock]>(at) + token.place;
        low = reinterpret_cast<const float*>(at + token.tile * kBlock) + token.place;
        high = low + token.tile;
        minus_low = reinterpret_cast<const int32_t*>(low) + 3 * token.tile;
        minus_high = minus_low + token.tile;
    }
    const int8_t (*codes)[kBlock];
    const float *low, *high;
    const int32_t *minus_low, *minus_high;
};

// Whole blocks against tokens that are rounded: a row's order is that of a product with Q8_0.
template <class S, int M>
void thin_codes_tile(const ThinView& w, const ActToken* tokens, float factor, float* const* to) {
    using F = typename S::F;
    using Format = FormatQ8_0<S>;
    constexpr int kBytes = plane_bytes(Format::planes) + kGroupRows * Format::header;
    const int64_t blocks = w.cols / kBlock;
    for (int64_t at = 0; at < w.rows; at += S::lanes) {
        const auto part = static_cast<int>(at % kGroupRows / S::lanes);
        const uint8_t* p = w.groups + at / kGroupRows * blocks * kBytes;
        F acc[M];
        for (F& sum : acc) sum = S::zero();
        for (int64_t b = 0; b < blocks; ++b, p += kBytes) {
            typename S::B codes[8];
            load_codes<S, Format>(p + kGroupRows * Format::header, part, codes);
            Scales<S> scales;
            Format::scales(p, 0, part * S::lanes, scales);
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m)
                meet<S, Format>(codes, scales, TokenBlock(tokens[m], b), 0, acc[m]);
        }
        const auto n = static_cast<int>(std::min<int64_t>(w.rows - at, S::lanes));
        for (int m = 0; m < M; ++m) {
            const uint8_t* end = tokens[m].act + blocks * tokens[m].tile * kActBytes;
            const float scale = reinterpret_cast<const float*>(end)[tokens[m].place];
            S::store_part(to[m] + at, S::mul(acc[m], S::set(scale * factor)), n);
        }
    }
}

template <class S>
void thin_codes(const ThinView& w, const ActToken* tokens, int tile, float factor,
                float* const* to) {
    if (tile == 1) return thin_codes_tile<S, 1>(w, tokens, factor, to);
    if (tile == 2) return thin_codes_tile<S, 2>(w, tokens, factor, to);
    return thin_codes_tile<S, 4>(w, tokens, factor, to);
}

// A token's values between the products are few, so they are rounded finely: to 128 high + low, each
// within a signed byte, with one scale. A block: high[32], low[32], and the int32 that takes back the
// 128 added to every value of the matrix.
constexpr float kDigitUnits = 127.0f * 128.0f;

template <class S>
void round_digits(const float* values, int64_t cols, uint8_t* digits) {
    using F = typename S::F;
    F top = S::zero();
    for (int64_t k = 0; k < cols; k += S::lanes) {
        const auto n = static_cast<int>(std::min<int64_t>(cols - k, S::lanes));
        top = S::max(S::abs(S::load_part(values + k, n)), top);
    }
    const float largest = S::largest(top);
    const bool some = largest > 1e-30f;  // no overflow
    const F by = S::set(some ? kDigitUnits / largest : 0.0f);
    const float scale = some ? largest / kDigitUnits : 0.0f;
    __builtin_memcpy(digits, &scale, sizeof(scale));
    digits += sizeof(scale);
    for (int64_t first = 0; first < cols; first += kThinBlock, digits += kDigitBytes) {
        auto* high = reinterpret_cast<int8_t*>(digits);
        const int64_t end = std::min<int64_t>(cols, first + kThinBlock);
        auto sum = S::set_int(0);
        for (int64_t k = first; k < end; k += S::lanes, high += S::lanes) {
            const auto n = static_cast<int>(std::min<int64_t>(end - k, S::lanes));
            const auto whole = S::to_int(S::mul(S::load_part(values + k, n), by));
            const auto upper = S::to_int(S::mul(S::to_float(whole), S::set(1.0f / 128.0f)));
            S::store_bytes(high, upper);
            S::store_bytes(high + kThinBlock, S::subtract(whole, S::template shift_left<7>(upper)));
            sum = S::add(sum, whole);
        }
        const auto minus = static_cast<int32_t>(-128.0f * S::sum(S::to_float(sum)));
        __builtin_memcpy(digits + 2 * kThinBlock, &minus, sizeof(minus));
    }
}

// One block's whole numbers for the rows of a vector: codes of `kFours` times four columns, or of `fours`.
template <class S, int kFours>
inline typename S::I meet_digits(const uint8_t* codes, const uint8_t* digits, int fours) {
    const auto* high = reinterpret_cast<const int8_t*>(digits);
    int32_t minus;
    __builtin_memcpy(&minus, digits + 2 * kThinBlock, sizeof(minus));
    auto uppers = S::set_int(0), lowers = S::set_int(S::exact_bytes ? minus : 0);
#pragma GCC unroll 8
    for (int j = 0; j < (kFours ? kFours : fours); ++j) {
        auto four = S::load_bytes(codes + 4 * kGroupRows * j);
        const auto upper = S::repeat4(high + 4 * j), lower = S::repeat4(high + kThinBlock + 4 * j);
        if constexpr (S::exact_bytes) {
            uppers = S::dot(uppers, four, upper);
            lowers = S::dot(lowers, four, lower);
        } else {
            four = S::bit_xor(four, S::set_bytes(0x80));
            uppers = S::dot_signed(uppers, four, upper);
            lowers = S::dot_signed(lowers, four, lower);
        }
    }
    return S::add(S::template shift_left<7>(uppers), lowers);
}

// Rows [row, row + lanes) of a group times a token's digits, but for the token's scale.
template <class S>
inline typename S::F raised(const uint8_t* group, int row, const uint8_t* digits, int64_t cols) {
    auto total = S::zero();
    for (; cols > 0; cols -= kThinBlock, digits += kDigitBytes) {
        const auto scales = S::load_half(reinterpret_cast<const uint16_t*>(group) + row);
        const uint8_t* codes = group + 2 * kGroupRows + 4 * row;
        const auto n = static_cast<int>(std::min<int64_t>(kThinBlock, cols));
        auto whole = S::set_int(0);
        if (n == 16) whole = meet_digits<S, 4>(codes, digits, 4);  // as most ranks
        else if (n == 32) whole = meet_digits<S, 8>(codes, digits, 8);
        else whole = meet_digits<S, 0>(codes, digits, n / 4);
        total = S::fma(S::to_float(whole), scales, total);
        group += 2 * kGroupRows + n * kGroupRows;
    }
    return total;
}

template <class S>
void raise_digits(const Raise* tokens, int tile, int64_t group, int rows, float* to,
                  int64_t stride) {
    for (int m = 0; m < tile; ++m, to += stride) {
        const Raise& token = tokens[m];
        if (token.digits == nullptr) continue;
        const uint8_t* own = token.groups + static_cast<size_t>(group) * token.group_bytes;
        float scale;
        __builtin_memcpy(&scale, token.digits, sizeof(scale));
        const auto by = S::set(scale * token.factor);
        for (int row = 0; row < rows; row += S::lanes) {
            const auto result = raised<S>(own, row, token.digits + sizeof(float), token.cols);
            float* y = to + row;
            if (rows - row >= S::lanes) S::store(y, S::fma(result, by, S::load(y)));
            else S::store_part(y, S::fma(result, by, S::load_part(y, rows - row)), rows - row);
        }
    }
}
