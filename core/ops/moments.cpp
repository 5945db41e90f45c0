// Room: core/ops. Products of inputs with each other, and the factor by which errors are passed on:
// what fitting a matrix to a text takes besides the rounding itself. Both are sums over rows, of
// strips that are repacked as panels; see kernels/panels.h.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

constexpr int64_t kDepth = 256;  // rows that are multiplied before sums are written
constexpr int64_t kStrip = 96;   // columns that are factored at once, whole panels of both kinds
constexpr int64_t kTogether = 2; // panels of columns that meet a panel of rows in a turn

// Element (k, i) lies at at[k * down + i * across]; one of both steps is 1.
struct Side {
    const float* at;
    int64_t down, across;
    Side below(int64_t k) const { return {at + k * down, down, across}; }
};

// Which part of a result is wanted.
enum class Shape { kWhole, kLower };

class Panels {
  public:
    // Repacks (depth, count) of a side as panels of `width` columns, zeros behind the last.
    void take(const Side& side, int64_t depth, int64_t count, int64_t width) {
        const int64_t panels = (count + width - 1) / width;
        width_ = width;
        depth_ = depth;
        const auto needed = static_cast<size_t>(panels * width * depth);
        if (room_ < needed) data_.reset(new float[room_ = needed]);
        if (side.across == 1)  // in the order in which memory has it
            parallel((depth + kRun - 1) / kRun, [&](int64_t run, int) {
                for (int64_t k = run * kRun; k < std::min(depth, (run + 1) * kRun); ++k)
                    copy_row(side.at + k * side.down, k, count);
            });
        else parallel(panels, [&](int64_t p, int) { turn(side, p, std::min(width, count - p * width)); });
    }
    const float* panel(int64_t p) const { return data_.get() + p * depth_ * width_; }

  private:
    static constexpr int64_t kRun = 16;
    float* place(int64_t p, int64_t k) { return data_.get() + (p * depth_ + k) * width_; }
    void copy_row(const float* from, int64_t k, int64_t count) {
        int64_t p = 0;
        if (width_ == kPanelRows)  // lengths that the compiler knows
            for (; (p + 1) * kPanelRows <= count; ++p) std::copy_n(from + p * kPanelRows, kPanelRows, place(p, k));
        else if (width_ == 16)
            for (; (p + 1) * 16 <= count; ++p) std::copy_n(from + p * 16, 16, place(p, k));
        for (; p * width_ < count; ++p) {
            const int64_t used = std::min(width_, count - p * width_);
            std::copy_n(from + p * width_, used, place(p, k));
            std::fill(place(p, k) + used, place(p, k) + width_, 0.0f);
        }
    }
    void turn(const Side& side, int64_t p, int64_t used) {
        for (int64_t i = 0; i < width_; ++i) {
            const float* from = side.at + (p * width_ + i) * side.across;
            for (int64_t k = 0; k < depth_; ++k) place(p, k)[i] = i < used ? from[k] : 0.0f;
        }
    }
    std::unique_ptr<float[]> data_;
    size_t room_ = 0;
    int64_t width_ = 0, depth_ = 0;
};

// out (rows, cols, `stride` apart) += sign a^T b over `depth` rows.
class Product {
  public:
    void add(const Side& a, int64_t rows, const Side& b, int64_t cols, int64_t depth, float sign,
             float* out, int64_t stride, Shape shape) {
        const int64_t panels = (cols + width_ - 1) / width_;
        for (int64_t k = 0; k < depth; k += kDepth) {
            const int64_t part = std::min(kDepth, depth - k);
            a_.take(a.below(k), part, rows, kPanelRows);
            b_.take(b.below(k), part, cols, width_);
            parallel((panels + kTogether - 1) / kTogether, [&](int64_t item, int) {
                const int64_t end = std::min(panels, (item + 1) * kTogether);
                for (int64_t i = 0; i < rows; i += kPanelRows)
                    for (int64_t p = item * kTogether; p < end; ++p) {
                        const int64_t j = p * width_;
                        if (shape == Shape::kLower && j >= i + kPanelRows) continue;
                        tile(i, rows, p, cols, part, sign, out, stride, shape);
                    }
            });
        }
    }

  private:
    void tile(int64_t i, int64_t rows, int64_t p, int64_t cols, int64_t part, float sign, float* out,
              int64_t stride, Shape shape) const {
        const int64_t j = p * width_, used = std::min<int64_t>(kPanelRows, rows - i);
        out += i * stride + j;
        // Rows lie far apart: they come in while the sums are made.
        for (int64_t r = 0; r < used; ++r)
            for (int64_t c = 0; c < width_; c += 16) __builtin_prefetch(out + r * stride + c, 1);
        alignas(64) float sums[kPanelRows * 2 * kMaxLanes];
        kernels().multiply_panels(a_.panel(i / kPanelRows), b_.panel(p), part, sums);
        for (int64_t r = 0; r < used; ++r) {
            const int64_t whole = std::min(width_, cols - j);
            const int64_t n = shape == Shape::kLower ? std::min(whole, i + r - j + 1) : whole;
            const float* from = sums + r * width_;
            for (int64_t c = 0; c < n; ++c) out[r * stride + c] += sign * from[c];
        }
    }
    const int64_t width_ = 2 * kernels().lanes;
    Panels a_, b_;
};

// Calls body(rows first, columns first, size) for the squares of a lower triangle, in parallel.
template <class Body>
void each_square(int64_t cols, Body&& body) {
    constexpr int64_t size = 64;
    const int64_t count = (cols + size - 1) / size;
    parallel(count, [&](int64_t i, int) {
        for (int64_t j = 0; j <= i; ++j)
            for (int64_t r = i * size; r < std::min(cols, (i + 1) * size); ++r)
                body(r, j * size, std::min({cols, (j + 1) * size, r + 1}));
    });
}

// The lower L of h = L^T L (n, n, `stride` apart), from the last row up, in its place. Only the
// lower triangle is looked at. False where h is not positive.
bool factor_small(float* h, int64_t n, int64_t stride) {
    for (int64_t k = n - 1; k >= 0; --k) {
        float* row = h + k * stride;
        if (!(row[k] > 0.0f) || !std::isfinite(row[k])) return false;
        const float inverse = 1.0f / std::sqrt(row[k]);
        for (int64_t i = 0; i <= k; ++i) row[i] *= inverse;
        for (int64_t i = 0; i < k; ++i) {
            float* other = h + i * stride;
            for (int64_t j = 0; j <= i; ++j) other[j] -= row[i] * row[j];
        }
    }
    return true;
}

// The inverse of a lower triangle in its place, from the first row down.
void invert_small(float* lower, int64_t n, int64_t stride) {
    float sums[kStrip];
    for (int64_t i = 0; i < n; ++i) {
        float* row = lower + i * stride;
        const float inverse = 1.0f / row[i];
        std::fill_n(sums, i, 0.0f);
        for (int64_t j = 0; j < i; ++j)
            for (int64_t c = 0; c <= j; ++c) sums[c] += row[j] * lower[j * stride + c];
        for (int64_t c = 0; c < i; ++c) row[c] = -inverse * sums[c];
        row[i] = inverse;
    }
}

// The strips of a lower triangle (cols, cols), one under the other.
class Triangle {
  public:
    Triangle(float* h, int64_t cols)
        : h_(h), cols_(cols), strip_(static_cast<size_t>(kStrip * cols)), inverse_(kStrip * kStrip) {}

    // h = L^T L from the last strip up, in its place.
    bool factor() {
        for (int64_t first = (cols_ - 1) / kStrip * kStrip; first >= 0; first -= kStrip) {
            const int64_t n = std::min(kStrip, cols_ - first);
            float* row = h_ + first * cols_;
            if (!factor_small(row + first, n, cols_)) return false;
            if (first == 0) break;
            for (int64_t r = 0; r < n; ++r)
                std::copy_n(row + r * cols_ + first, r + 1, inverse_.data() + r * kStrip);
            invert_small(inverse_.data(), n, kStrip);
            divide(first, n);
            const Side strip{row, cols_, 1};
            product_.add(strip, first, strip, first, n, -1.0f, h_, cols_, Shape::kLower);
        }
        return true;
    }

  private:
    // The columns before a strip's square, divided by its factor.
    void divide(int64_t first, int64_t n) {
        std::fill_n(strip_.data(), n * first, 0.0f);
        product_.add({inverse_.data(), kStrip, 1}, n, {h_ + first * cols_, cols_, 1}, first, n, 1.0f,
                     strip_.data(), first, Shape::kWhole);
        for (int64_t r = 0; r < n; ++r)
            std::copy_n(strip_.data() + r * first, first, h_ + (first + r) * cols_);
    }

    float* h_;
    int64_t cols_;
    std::vector<float> strip_, inverse_;
    Product product_;
};

}  // namespace

void second_moments(const float* x, int64_t count, int64_t cols, float* out) {
    require(count >= 1 && cols >= 1, "second_moments: at least one row and one column are needed");
    std::fill_n(out, cols * cols, 0.0f);
    const Side side{x, cols, 1};
    Product().add(side, cols, side, cols, count, 1.0f, out, cols, Shape::kLower);
    each_square(cols, [&](int64_t r, int64_t first, int64_t end) {
        for (int64_t c = first; c < end; ++c) out[c * cols + r] = out[r * cols + c];
    });
}

bool feedback_factor(const float* matrix, int64_t cols, float keep, float add, float* out) {
    require(cols >= 1, "feedback_factor: at least one column is needed");
    parallel(cols, [&](int64_t r, int) {
        const float* from = matrix + r * cols;
        float* to = out + r * cols;
        for (int64_t c = 0; c < r; ++c) to[c] = keep * from[c];
        to[r] = from[r] + add;
        std::fill_n(to + r + 1, cols - r - 1, 0.0f);
    });
    return Triangle(out, cols).factor();
}

}  // namespace freehold
