// Room: core/ops. Means of products of inputs, from codes of them; see coded.h.
#include <utility>
#include <vector>

#include "coded.h"
#include "freehold/ops.h"

namespace freehold {
namespace {

constexpr int64_t kWords = 128;  // of a run and column: a panel of them stays in the first cache
constexpr int64_t kRuns = 16;    // that are held at once
constexpr int64_t kSide = 288;   // of a work item: its codes of a run stay in the second cache, as do sums
static_assert(kSide % (2 * kMaxLanes) == 0);

// The inputs' squares, added up in floats over a run, and in doubles over all.
void add_squares(const float* x, int64_t rows, int64_t stride, int64_t cols, double* out) {
    float sums[2 * kMaxLanes] = {};
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) sums[c] += x[r * stride + c] * x[r * stride + c];
    for (int64_t c = 0; c < cols; ++c) out[c] += sums[c];
}

}  // namespace

void mean_products(const float* x, int64_t stride, int64_t count, int64_t cols, float* out) {
    require(count >= 1 && cols >= 1, "mean_products: at least one row and one column are needed");
    const int64_t rows = kWords * rows_of_word(), all_runs = (count + rows - 1) / rows;
    Coded coded(rows, std::min(kRuns, all_runs), cols);
    const int64_t width = coded.width();
    const float by = 1.0f / static_cast<float>(count);
    std::vector<std::pair<int64_t, int64_t>> squares;
    for (int64_t row = 0; row < cols; row += kSide)
        for (int64_t col = 0; col <= row; col += kSide) squares.push_back({row, col});
    std::vector<double> diagonal(static_cast<size_t>(cols), 0.0);
    for (int64_t first = 0; first < all_runs; first += kRuns) {
        const int64_t runs = std::min(kRuns, all_runs - first);
        parallel((cols + width - 1) / width, [&](int64_t panel, int) {
            for (int64_t run = 0; run < runs; ++run) {
                const int64_t at = (first + run) * rows, n = std::min(rows, count - at), col = panel * width;
                coded.put(run, panel, x + at * stride, stride, n, cols);
                add_squares(x + at * stride + col, n, stride, std::min(width, cols - col), &diagonal[col]);
            }
        });
        parallel(static_cast<int64_t>(squares.size()), [&](int64_t item, int) {
            const auto [row, col] = squares[item];
            const int64_t end = std::min(cols, row + kSide), col_end = std::min(cols, col + kSide);
            for (int64_t r = row; first == 0 && r < end; ++r)
                std::fill(out + r * cols + col, out + r * cols + col_end, 0.0f);
            for (int64_t run = 0; run < runs; ++run)
                coded.add_square(run, {row, end, col, col_end}, by, out, cols);
        });
    }
    for (int64_t c = 0; c < cols; ++c)
        out[c * cols + c] = static_cast<float>(diagonal[c] / static_cast<double>(count));
}

}  // namespace freehold
