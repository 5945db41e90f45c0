// Room: core/kernels. Products of columns of 16-bit codes: the smallest tile of a large product.
// Included by every instruction set inside its own namespace.

// out (kPairRows, 2 lanes), rows `stride` apart, += by a^T b. Panels are 2 lanes wide and hold two rows
// side by side, so that a step takes the pairs of a panel's columns; a points at kPairRows columns.
// The sums over `pairs` steps must fit 32 bits.
template <class S>
void multiply_pairs(const int16_t* a, const int16_t* b, int64_t pairs, const float* by_row,
                    const float* by_col, float* out, int64_t stride) {
    constexpr int step = 4 * S::lanes;  // codes
    typename S::I sums[kPairRows][2];
    for (auto& row : sums) row[0] = row[1] = S::set_int(0);
    for (int64_t k = 0; k < pairs; ++k, a += step, b += step) {
        const auto first = S::load_bytes(reinterpret_cast<const uint8_t*>(b));
        const auto second = S::load_bytes(reinterpret_cast<const uint8_t*>(b + step / 2));
#pragma GCC unroll 4
        for (int i = 0; i < kPairRows; ++i) {
            const auto pair = S::repeat4(reinterpret_cast<const int8_t*>(a + 2 * i));
            sums[i][0] = S::dot_pairs(sums[i][0], pair, first);
            sums[i][1] = S::dot_pairs(sums[i][1], pair, second);
        }
    }
    for (int i = 0; i < kPairRows; ++i, out += stride)
        for (int part = 0; part < 2; ++part) {
            const auto by = S::mul(S::set(by_row[i]), S::load(by_col + part * S::lanes));
            float* to = out + part * S::lanes;
            S::store(to, S::fma(S::to_float(sums[i][part]), by, S::load(to)));
        }
}
