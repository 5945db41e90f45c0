// Room: core/ops. What happens to whole rows of activations outside products: sums of normed rows,
// factors, caps.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {

void add_normed(const Tensor& y, const Norm& norm, int64_t count, Tensor& x) {
    require(count >= 1 && y.rows >= count && x.rows >= count, "add_normed: too few rows");
    const int64_t width = norm.weight.cols;
    require(x.cols == y.cols && norm.weight.rows == 1 && y.cols % width == 0,
            "add_normed: widths differ");
    const KernelTable& table = kernels();
    parallel((count + 3) / 4, [&](int64_t item, int) {
        static thread_local std::vector<float> normed;
        normed.resize(static_cast<size_t>(width));
        for (int64_t t = item * 4; t < std::min(count, item * 4 + 4); ++t)
            for (int64_t h = 0; h < y.cols; h += width) {
                table.rms_norm(y.row(t) + h, norm.weight.data(), norm.eps, width, normed.data());
                table.add(x.row(t) + h, normed.data(), width);
            }
    });
}

void multiply_part(const Tensor& by, int64_t first, int64_t count, Tensor& x) {
    require(count >= 1 && by.rows >= count && x.rows >= count, "multiply_part: too few rows");
    require(first >= 0 && first <= by.cols - x.cols, "multiply_part: columns past the last");
    parallel((count + 15) / 16, [&](int64_t item, int) {
        for (int64_t t = item * 16; t < std::min(count, item * 16 + 16); ++t) {
            const float* factors = by.row(t) + first;
            float* row = x.row(t);
            for (int64_t i = 0; i < x.cols; ++i) row[i] *= factors[i];
        }
    });
}

void scale(Tensor& x, float factor, int64_t count) {
    require(count >= 1 && x.rows >= count, "scale: too few rows");
    require(std::isfinite(factor), "scale: the factor is no number");
    parallel((count + 7) / 8, [&](int64_t item, int) {
        const int64_t first = item * 8, last = std::min(count, first + 8);
        float* begin = x.row(first);
        float* end = begin + (last - first) * x.cols;
        if (factor == 0.0f) std::fill(begin, end, 0.0f);
        else std::for_each(begin, end, [factor](float& v) { v *= factor; });
    });
}

void softcap(Tensor& x, float cap, int64_t count) {
    constexpr int64_t kColumns = 4096;
    require(count >= 1 && x.rows >= count, "softcap: too few rows");
    require(std::isfinite(cap) && cap > 0.0f, "softcap: the cap must be above 0");
    const int64_t parts = (x.cols + kColumns - 1) / kColumns;
    parallel(count * parts, [&](int64_t item, int) {
        float* row = x.row(item / parts);
        const int64_t first = item % parts * kColumns;
        for (int64_t i = first; i < std::min(x.cols, first + kColumns); ++i)
            row[i] = cap * std::tanh(row[i] / cap);
    });
}

}  // namespace freehold
