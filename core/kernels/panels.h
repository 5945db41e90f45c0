// Room: core/kernels. Products of float panels: the smallest tile of a large product. Included by
// every instruction set inside its own namespace.

// out (kPanelRows, 2 lanes) = a^T b, a (depth, kPanelRows) and b (depth, 2 lanes); one multiply-add
// an element, in order of depth.
template <class S>
void multiply_panels(const float* a, const float* b, int64_t depth, float* out) {
    typename S::F sums[kPanelRows][2];
    for (auto& row : sums) row[0] = row[1] = S::zero();
    for (int64_t k = 0; k < depth; ++k, a += kPanelRows, b += 2 * S::lanes) {
        const auto first = S::load(b), second = S::load(b + S::lanes);
#pragma GCC unroll 6
        for (int i = 0; i < kPanelRows; ++i) {
            const auto value = S::set(a[i]);
            sums[i][0] = S::fma(value, first, sums[i][0]);
            sums[i][1] = S::fma(value, second, sums[i][1]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < kPanelRows; ++i) {
        S::store(out + 2 * i * S::lanes, sums[i][0]);
        S::store(out + (2 * i + 1) * S::lanes, sums[i][1]);
    }
}
