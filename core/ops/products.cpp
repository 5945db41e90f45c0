// Room: core/ops. Means of products of inputs, from 16-bit codes of them: half the work of floats.
//
// A run of kRun rows has a scale for each column, so that the largest of its numbers there becomes
// kLevels: kRun kLevels^2 still fits 32 bits, so sums over a run are exact. What a number loses is at
// most half a step; the test says what that makes of a product.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

constexpr int64_t kRun = 256;
constexpr float kLevels = 2895.0f;
constexpr int64_t kMost = 16 * kRun;  // rows whose codes are held at once
constexpr int64_t kSide = 288;  // of a work item: its codes of a run stay in the second cache, as do sums
static_assert(kRun * 2895 * 2895 <= INT32_MAX && kSide % (2 * kMaxLanes) == 0);

// The codes of up to kMost rows: run after run, in panels of 2 lanes; zeros behind the last column
// and row.
class Codes {
  public:
    Codes(int64_t rows, int64_t cols)
        : width_(2 * kernels().lanes), cols_(cols), panels_((cols + width_ - 1) / width_),
          codes_(sizeof(int16_t) * rounded(rows, kRun) * padded()),
          scales_(sizeof(float) * rounded(rows, kRun) / kRun * padded()),
          squares_(static_cast<size_t>(padded()), 0.0) {}
    void put(const float* x, int64_t rows) {
        runs_ = (rows + kRun - 1) / kRun;
        parallel(panels_, [&](int64_t panel, int) {
            for (int64_t run = 0; run < runs_; ++run)
                put_run(x + run * kRun * cols_, std::min(kRun, rows - run * kRun), run, panel);
        });
    }
    int64_t runs() const { return runs_; }
    int64_t width() const { return width_; }
    double square(int64_t column) const { return squares_[column]; }  // of all that was put, exact
    const int16_t* at(int64_t run, int64_t column) const {
        return reinterpret_cast<const int16_t*>(codes_.data()) + (run * panels_ + column / width_) * kRun * width_ +
               column % width_ * 2;
    }
    const float* scale(int64_t run, int64_t column) const {
        return reinterpret_cast<const float*>(scales_.data()) + run * padded() + column;
    }

  private:
    static int64_t rounded(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
    int64_t padded() const { return panels_ * width_; }
    void put_run(const float* x, int64_t rows, int64_t run, int64_t panel) {
        const int64_t first = panel * width_, used = std::min(width_, cols_ - first);
        float most[2 * kMaxLanes] = {}, inverse[2 * kMaxLanes], squares[2 * kMaxLanes] = {};
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < used; ++c) {
                const float value = x[r * cols_ + first + c];
                most[c] = std::max(most[c], std::fabs(value));
                squares[c] += value * value;
            }
        float* scale = const_cast<float*>(this->scale(run, first));
        for (int64_t c = 0; c < width_; ++c) {
            const bool some = most[c] > 1e-30f;
            scale[c] = some ? most[c] / kLevels : 0.0f;
            inverse[c] = some ? kLevels / most[c] : 0.0f;
            squares_[first + c] += squares[c];
        }
        auto* to = const_cast<int16_t*>(at(run, first));
        for (int64_t r = 0; r < kRun; r += 2, to += 2 * width_) {
            put_row(x + r * cols_ + first, r < rows ? used : 0, inverse, to);
            put_row(x + (r + 1) * cols_ + first, r + 1 < rows ? used : 0, inverse, to + 1);
        }
    }
    // Every second of a pair of rows' codes.
    void put_row(const float* x, int64_t used, const float* inverse, int16_t* to) {
        for (int64_t c = 0; c < width_; ++c) to[2 * c] = c < used ? code_of(x[c] * inverse[c]) : int16_t{0};
    }
    // To nearest even: the last bits of a float whose last one counts 1.
    static int16_t code_of(float v) {
        const float shifted = v + 12582912.0f;
        int32_t bits;
        std::memcpy(&bits, &shifted, 4);
        return static_cast<int16_t>(bits);
    }

    const int64_t width_, cols_, panels_;
    Memory codes_, scales_;
    std::vector<double> squares_;
    int64_t runs_ = 0;
};

// Adds a run's products to rows [i, i + kPairRows) and a panel's columns from j on.
void add_tile(const Codes& codes, int64_t run, int64_t i, int64_t j, float by, float* out, int64_t cols) {
    const int64_t width = codes.width(), rows = std::min<int64_t>(kPairRows, cols - i);
    float by_row[kPairRows];
    for (int r = 0; r < kPairRows; ++r) by_row[r] = by * codes.scale(run, i)[r];
    const auto multiply = [&](float* to, int64_t stride) {
        kernels().multiply_pairs(codes.at(run, i), codes.at(run, j), kRun / 2, by_row,
                                 codes.scale(run, j), to, stride);
    };
    if (rows == kPairRows && j + width <= cols) return multiply(out + i * cols + j, cols);
    alignas(64) float tile[kPairRows * 2 * kMaxLanes] = {};
    multiply(tile, width);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < std::min(width, cols - j); ++c) out[(i + r) * cols + j + c] += tile[r * width + c];
}

// Adds `by` times the products of all rows to one square.
void add_square(const Codes& codes, int64_t row, int64_t col, float by, float* out, int64_t cols) {
    const int64_t row_end = std::min(cols, row + kSide), col_end = std::min(cols, col + kSide);
    for (int64_t run = 0; run < codes.runs(); ++run)
        for (int64_t j = col; j < col_end; j += codes.width())
            for (int64_t i = std::max(row, j / kPairRows * kPairRows); i < row_end; i += kPairRows)
                add_tile(codes, run, i, j, by, out, cols);
}

}  // namespace

void mean_products(const float* x, int64_t count, int64_t cols, float* out) {
    require(count >= 1 && cols >= 1, "mean_products: at least one row and one column are needed");
    std::vector<std::pair<int64_t, int64_t>> squares;
    for (int64_t row = 0; row < cols; row += kSide)
        for (int64_t col = 0; col <= row; col += kSide) squares.push_back({row, col});
    Codes codes(std::min(count, kMost), cols);
    const float by = 1.0f / static_cast<float>(count);
    for (int64_t first = 0; first < count; first += kMost) {
        codes.put(x + first * cols, std::min(kMost, count - first));
        parallel(static_cast<int64_t>(squares.size()), [&](int64_t item, int) {
            const auto [row, col] = squares[item];
            for (int64_t r = row; first == 0 && r < std::min(cols, row + kSide); ++r)
                std::fill(out + r * cols + col, out + r * cols + std::min(cols, col + kSide), 0.0f);
            add_square(codes, row, col, by, out, cols);
        });
    }
    for (int64_t c = 0; c < cols; ++c)
        out[c * cols + c] = static_cast<float>(codes.square(c) / static_cast<double>(count));
}

}  // namespace freehold
