// Room: core/ops. Writes float rows as blocks of a file while later columns make up for what earlier
// ones lose; kernels/feedback.h says how.
#include <algorithm>
#include <cstring>

#include "quantize.h"

namespace freehold {
namespace {

// The factor in the order in which it is used: per unit of columns its square, then the columns
// after it in tiles.
class Factor {
  public:
    Factor(const float* lower, int64_t cols)
        : cols_(cols), units_(cols / kFeedUnit), inverse_(static_cast<size_t>(cols)),
          squares_(new FeedFactor[static_cast<size_t>(units_)]),
          tiles_(sizeof(float) * static_cast<size_t>(start(units_))) {
        for (int64_t c = 0; c < cols; ++c) {
            const float diagonal = lower[c * cols + c];
            require(std::isfinite(diagonal) && diagonal > 0.0f,
                    "quantize_rows_with_feedback: the factor's diagonal must be above zero");
            inverse_[c] = 1.0f / diagonal;
        }
        parallel(units_, [&](int64_t u, int) { take(lower, u); });
    }
    const FeedFactor& square(int64_t unit) const { return squares_[unit]; }
    const float* tiles(int64_t unit) const { return tile_at(unit); }

  private:
    int64_t start(int64_t unit) const {  // floats of the units before
        return unit * (units_ - 1) * kFeedUnit * kFeedUnit - unit * (unit - 1) / 2 * kFeedUnit * kFeedUnit;
    }
    float* tile_at(int64_t unit) const { return reinterpret_cast<float*>(tiles_.data()) + start(unit); }
    void take(const float* lower, int64_t unit) {
        FeedFactor& square = squares_[unit];
        float* tile = tile_at(unit);
        const int64_t first = unit * kFeedUnit, after = first + kFeedUnit;
        for (int k = 0; k < kFeedUnit; ++k)
            for (int j = 0; j < kFeedUnit; ++j)
                square[j][k] = j < k ? lower[(first + k) * cols_ + first + j] * inverse_[first + k] : 0.0f;
        for (int64_t k = after; k < cols_; k += kFeedTile, tile += kFeedUnit * kFeedTile)
            for (int c = 0; c < kFeedTile; ++c) {
                const float* row = lower + (k + c) * cols_ + first;
                for (int j = 0; j < kFeedUnit; ++j) tile[j * kFeedTile + c] = row[j] * inverse_[k + c];
            }
    }
    int64_t cols_, units_;
    std::vector<float> inverse_;  // one over the diagonal
    std::unique_ptr<FeedFactor[]> squares_;
    Borrowed tiles_;
};

// One group of rows, kFeedVectors vectors side by side, from the first column to the last.
class Group {
  public:
    Group(const Rows& from, const Factor& factor, const float* counts, int64_t first, uint8_t* out)
        : from_(from), factor_(factor), counts_(counts), first_(first), out_(out),
          lanes_(kernels().lanes), width_(kFeedVectors * lanes_),
          x_(static_cast<size_t>(from.cols * width_)) {
        for (int v = 0; v < kFeedVectors; ++v) set_units(from, first + v * lanes_, lanes_, blocks_[v]);
        for (int r = 0; r < width_ && first + r < from.rows; ++r) {
            const float by = blocks_[r / lanes_].inverse_unit[r % lanes_];
            for (int64_t c = 0; c < from.cols; ++c)
                x_[c * width_ + r] = from.values[(first + r) * from.cols + c] * by;
        }
        own_ = x_;
    }
    void run() {
        for (int64_t b = 0; b < from_.cols / from_.traits->elements; ++b) block(b);
    }

  private:
    // Copies `count` columns of one vector of rows.
    void view(const float* from, int count, int v, float* to) const {
        for (int i = 0; i < count; ++i)
            std::copy_n(from + i * width_ + v * lanes_, lanes_, to + i * lanes_);
    }
    // What they count.
    void count(int64_t column, int columns) {
        for (int i = 0; i < columns; ++i)
            std::fill_n(counted_ + i * lanes_, lanes_, counts_[column + i]);
    }
    void block(int64_t b) {
        const int elements = from_.traits->elements, units = elements / kFeedUnit;
        const int64_t column = b * elements;
        if (from_.search.runs > 1) choose(column, elements);  // an only scale is chosen in its turn
        for (int u = 0; u < units; ++u) unit(column + u * kFeedUnit, u);
        for (int r = 0; r < width_ && first_ + r < from_.rows; ++r)
            write_block(from_, blocks_[r / lanes_], levels_[r / lanes_], lanes_, r % lanes_,
                        out_ + static_cast<size_t>(first_ + r) * from_.traits->row_bytes(from_.cols) +
                            static_cast<size_t>(b) * from_.traits->bytes);
    }
    // The scales of a block, for what its columns would be if none of them lost anything.
    void choose(int64_t column, int elements) {
        seen_.assign(x_.data() + column * width_, x_.data() + (column + elements) * width_);
        for (int first = 0; first < elements; first += kFeedUnit)
            foresee(column + first, seen_.data() + first * width_, elements - first - kFeedUnit);
        count(column, elements);
        for (int v = 0; v < kFeedVectors; ++v) {
            view(seen_.data(), elements, v, part_);
            from_.search.choose(part_, counted_, blocks_[v]);
        }
    }
    // A unit's columns without loss, and the `after` columns behind it.
    void foresee(int64_t column, float* x, int64_t after) {
        const FeedFactor& factor = factor_.square(column / kFeedUnit);
        for (int j = 0; j < kFeedUnit; ++j) {
            float* error = errors_ + j * width_;
            const float* own = own_.data() + (column + j) * width_;
            for (int r = 0; r < width_; ++r) error[r] = x[j * width_ + r] - own[r];
            for (int k = j + 1; k < kFeedUnit; ++k)
                for (int r = 0; r < width_; ++r) x[k * width_ + r] -= factor[j][k] * error[r];
        }
        kernels().spread_errors(factor_.tiles(column / kFeedUnit), errors_, after, x + kFeedUnit * width_);
    }
    void unit(int64_t column, int u) {
        const int64_t index = column / kFeedUnit, after = column + kFeedUnit;
        count(column, kFeedUnit);
        for (int v = 0; v < kFeedVectors; ++v) {
            view(x_.data() + column * width_, kFeedUnit, v, part_);
            view(own_.data() + column * width_, kFeedUnit, v, unfed_);
            from_.search.feed(u * kFeedUnit / from_.search.run, part_, unfed_, counted_,
                              factor_.square(index), blocks_[v],
                              levels_[v] + u * kFeedUnit * lanes_, errors_ + v * lanes_, width_);
        }
        kernels().spread_errors(factor_.tiles(index), errors_, from_.cols - after,
                                x_.data() + after * width_);
    }

    const Rows& from_;
    const Factor& factor_;
    const float* counts_;
    const int64_t first_;
    uint8_t* out_;
    const int lanes_, width_;
    std::vector<float> x_, own_;  // (C, width), what earlier columns' errors made of the weights, and these
    std::vector<float> seen_;     // (block, width)
    BlockScales blocks_[kFeedVectors];
    alignas(64) float part_[kMaxBlock * kMaxLanes], counted_[kMaxBlock * kMaxLanes];
    alignas(64) float unfed_[kFeedUnit * kMaxLanes];
    alignas(64) float levels_[kFeedVectors][kMaxBlock * kMaxLanes];
    alignas(64) float errors_[kFeedUnit * kFeedVectors * kMaxLanes];
};

}  // namespace

void quantize_rows_with_feedback(const float* values, int64_t rows, int64_t cols,
                                 const char* type_name, const float* lower,
                                 const float* importance, uint8_t* out) {
    constexpr const char* op = "quantize_rows_with_feedback";
    const Rows from = check_rows(op, values, rows, cols, type_name);
    require(from.search.type >= 0, "quantize_rows_with_feedback: floats are not rounded in blocks");
    const Factor factor(lower, cols);
    std::vector<float> counts(static_cast<size_t>(cols));
    for (int64_t c = 0; c < cols; ++c) {  // a loss in column c costs its square times L_cc^2
        const float diagonal = lower[c * cols + c];
        counts[c] = importance != nullptr ? importance[c] : diagonal * diagonal;
    }
    counts = check_importance(op, counts.data(), cols);
    const int width = kFeedVectors * kernels().lanes;
    parallel((rows + width - 1) / width, [&](int64_t group, int) {
        const auto work = std::make_unique<Group>(from, factor, counts.data(), group * width, out);
        work->run();
    });
}

}  // namespace freehold
