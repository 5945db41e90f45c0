// Room: core/ops. Products of inputs with each other, and the factor by which errors are passed on:
// what fitting a matrix to a text takes besides the rounding itself. Both are sums over rows, which
// are repacked as panels once, of floats (kernels/panels.h) or of codes (coded.h).
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "coded.h"
#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

constexpr int64_t kDepth = 512;  // rows that are multiplied before sums are written
constexpr int64_t kSquare = 96;   // rows and columns of a work item: their panels stay in the second cache
constexpr int64_t kStrip = 96;   // columns that are factored at once; both are whole panels of both kinds
constexpr int64_t kRun = 192;    // rows of a factor that become codes at once: whole strips and panels
constexpr int64_t kSide = 96;    // columns of a work item that multiplies codes

// Rows that lie `down` floats apart.
struct Side {
    const float* at;
    int64_t down;
};

// A matrix as panels of `width` columns, each from its first row to its last; zeros behind the last
// column. Rows may come one after the other.
class Panels {
  public:
    explicit Panels(int64_t width) : width_(width) {}
    void reserve(int64_t depth, int64_t count) {
        const auto needed = static_cast<size_t>((count + width_ - 1) / width_ * width_ * depth);
        depth_ = depth;
        if (data_.size() < needed * sizeof(float)) data_ = Borrowed(needed * sizeof(float));
    }
    // Rows [k, k + depth) become the first ones of a side, `count` columns of them.
    void put(int64_t k, const Side& side, int64_t depth, int64_t count) {
        const int64_t panels = (count + width_ - 1) / width_;
        parallel((depth + kFew - 1) / kFew, [&](int64_t few, int) {
            const int64_t first = few * kFew, end = std::min(depth, first + kFew);
            for (int64_t p = 0; p < panels; ++p)
                copy(side, p, k, first, end, std::min(width_, count - p * width_));
        });
    }
    const float* at(int64_t panel, int64_t k) const { return place(panel, k); }
    int64_t width() const { return width_; }

  private:
    static constexpr int64_t kFew = 8;  // so few that all of them stay in the first cache
    float* place(int64_t panel, int64_t k) const {
        return reinterpret_cast<float*>(data_.data()) + (panel * depth_ + k) * width_;
    }
    void copy(const Side& side, int64_t p, int64_t k, int64_t first, int64_t end, int64_t used) {
        const float* from = side.at + first * side.down + p * width_;
        float* to = place(p, k + first);
        for (int64_t i = first; i < end; ++i, from += side.down, to += width_)
            if (used == kPanelRows) move<kPanelRows>(from, to);  // lengths that the compiler knows
            else if (used == 16) move<16>(from, to);
            else std::copy_n(from, used, to);
        if (used == width_) return;
        to = place(p, k + first);
        for (int64_t i = first; i < end; ++i, to += width_) std::fill(to + used, to + width_, 0.0f);
    }
    template <int n>
    static void move(const float* __restrict from, float* __restrict to) {
        for (int c = 0; c < n; ++c) to[c] = from[c];
    }
    const int64_t width_;
    Borrowed data_;
    int64_t depth_ = 0;
};

// Where a product goes: rows `stride` apart; of row r the columns up to r + lower.
struct Target {
    float* at;
    int64_t stride, rows, cols, lower;
};
constexpr int64_t kWhole = INT64_MAX / 2;  // as `lower`: all columns

// What is multiplied: rows [0, depth) of a's panels, from one of them on, and of b's.
struct Factors {
    const Panels& a;
    int64_t first_panel;
    const Panels& b;
    int64_t depth;
};

// Adds to one tile what `depth` rows from the k-th on give.
void add_tile(const Factors& f, int64_t k, int64_t depth, int64_t i, int64_t j, float sign, const Target& to) {
    const int64_t width = f.b.width(), rows = std::min<int64_t>(kPanelRows, to.rows - i);
    float* out = to.at + i * to.stride + j;
    // Rows lie far apart: they come in while the sums are made.
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < width; c += 16) __builtin_prefetch(out + r * to.stride + c, 1);
    alignas(64) float sums[kPanelRows * 2 * kMaxLanes];
    kernels().multiply_panels(f.a.at(f.first_panel + i / kPanelRows, k), f.b.at(j / width, k), depth, sums);
    for (int64_t r = 0; r < rows; ++r, out += to.stride) {
        const int64_t n = std::min({width, to.cols - j, i + r + to.lower + 1 - j});
        const float* from = sums + r * width;
        if (n == 16)  // a length that the compiler knows
            for (int c = 0; c < 16; ++c) out[c] += sign * from[c];
        else
            for (int64_t c = 0; c < n; ++c) out[c] += sign * from[c];
    }
}

// to += sign a^T b.
void add_product(const Factors& f, float sign, const Target& to) {
    std::vector<std::pair<int64_t, int64_t>> blocks;
    for (int64_t i = 0; i < to.rows; i += kSquare)
        for (int64_t j = 0; j < std::min(to.cols, i + kSquare + to.lower); j += kSquare)
            blocks.push_back({i, j});
    const int64_t width = f.b.width();
    parallel(static_cast<int64_t>(blocks.size()), [&](int64_t item, int) {
        const auto [row, col] = blocks[item];
        const int64_t row_end = std::min(to.rows, row + kSquare), col_end = std::min(to.cols, col + kSquare);
        for (int64_t k = 0; k < f.depth; k += kDepth)
            for (int64_t j = col; j < col_end; j += width)
                for (int64_t i = row; i < row_end; i += kPanelRows)
                    if (j < i + kPanelRows + to.lower)
                        add_tile(f, k, std::min(kDepth, f.depth - k), i, j, sign, to);
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
    Triangle(float* h, int64_t cols, bool coded)
        : h_(h), cols_(cols), run_(coded ? kRun : cols), coded_(kRun, coded ? cols / kRun : 0, cols),
          strip_(static_cast<size_t>(kStrip * cols)), inverse_(kStrip * kStrip) {
        down_.reserve(std::min(cols, run_), cols);
        across_.reserve(std::min(cols, run_), cols);
        square_.reserve(kStrip, kStrip);
        before_.reserve(kStrip, cols);
    }

    // h = L^T L from the last rows up, in its place: run by run, and in runs strip by strip.
    bool factor() {
        int64_t runs = 0;
        for (int64_t end = cols_; end > 0; ++runs) {
            const int64_t first = (end - 1) / run_ * run_;
            if (runs > 0) subtract(runs, first, end);
            if (!factor_run(first, end)) return false;
            if (first > 0) keep(runs, first, end);
            end = first;
        }
        return true;
    }

  private:
    // Rows [begin, end), from which all runs behind them have been subtracted.
    bool factor_run(int64_t begin, int64_t end) {
        int64_t done = 0;  // rows of L
        for (int64_t first = (end - 1) / kStrip * kStrip; first >= begin; first -= kStrip) {
            const int64_t n = std::min(kStrip, end - done - first);
            float* row = h_ + first * cols_;
            if (done > 0)
                add_product({down_, first / kPanelRows, across_, done}, -1.0f,
                            {row, cols_, n, first + n, first});
            if (!factor_small(row + first, n, cols_)) return false;
            if (first == 0) break;
            divide(first, n);
            down_.put(done, {row, cols_}, n, first);
            across_.put(done, {row, cols_}, n, first);
            done += n;
        }
        return true;
    }
    // Takes from rows [first, end) what all runs behind them have in common with them.
    void subtract(int64_t runs, int64_t first, int64_t end) {
        parallel((end + kSide - 1) / kSide, [&](int64_t item, int) {
            const int64_t col = item * kSide;
            for (int64_t run = 0; run < runs; ++run)
                coded_.add_square(run, {first, end, col, std::min(end, col + kSide)}, -1.0f, h_, cols_);
        });
    }
    // Makes codes of rows [first, end) for the rows before them.
    void keep(int64_t run, int64_t first, int64_t end) {
        const int64_t width = coded_.width();
        parallel((first + width - 1) / width, [&](int64_t panel, int) {
            coded_.put(run, panel, h_ + first * cols_, cols_, end - first, first);
        });
    }
    // The columns before a strip's square, divided by its factor.
    void divide(int64_t first, int64_t n) {
        float* row = h_ + first * cols_;
        for (int64_t r = 0; r < n; ++r)
            std::copy_n(row + r * cols_ + first, r + 1, inverse_.data() + r * kStrip);
        invert_small(inverse_.data(), n, kStrip);
        square_.put(0, {inverse_.data(), kStrip}, n, n);
        before_.put(0, {row, cols_}, n, first);
        parallel(n, [&](int64_t r, int) { std::fill_n(strip_.data() + r * first, first, 0.0f); });
        add_product({square_, 0, before_, n}, 1.0f, {strip_.data(), first, n, first, kWhole});
        parallel(n, [&](int64_t r, int) {
            std::copy_n(strip_.data() + r * first, first, row + r * cols_);
        });
    }

    float* h_;
    int64_t cols_, run_;
    Coded coded_;  // runs that are done
    std::vector<float> strip_, inverse_;
    Panels down_{kPanelRows}, across_{2 * kernels().lanes};  // a run's rows that are done, as either side
    Panels square_{kPanelRows}, before_{2 * kernels().lanes};
};

}  // namespace

bool feedback_factor(const float* matrix, int64_t cols, float keep, float add, bool coded,
                     float* out) {
    require(cols >= 1, "feedback_factor: at least one column is needed");
    parallel(cols, [&](int64_t r, int) {
        const float* from = matrix + r * cols;
        float* to = out + r * cols;
        for (int64_t c = 0; c < r; ++c) to[c] = keep * from[c];
        to[r] = from[r] + add;
        std::fill_n(to + r + 1, cols - r - 1, 0.0f);
    });
    return Triangle(out, cols, coded).factor();
}

}  // namespace freehold
