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
    Factor(const float* upper, int64_t cols) : cols_(cols), units_(cols / kFeedUnit) {
        for (int64_t c = 0; c < cols; ++c)
            require(std::isfinite(upper[c * cols + c]) && upper[c * cols + c] > 0.0f,
                    "quantize_rows_with_feedback: the factor's diagonal must be above zero");
        squares_.resize(static_cast<size_t>(units_));
        tiles_.resize(static_cast<size_t>(start(units_)));
        parallel(units_, [&](int64_t u, int) { take(upper, u); });
    }
    const FeedFactor& square(int64_t unit) const { return squares_[unit]; }
    const float* tiles(int64_t unit) const { return tiles_.data() + start(unit); }

  private:
    int64_t start(int64_t unit) const {  // floats of the units before
        return unit * (units_ - 1) * kFeedUnit * kFeedUnit - unit * (unit - 1) / 2 * kFeedUnit * kFeedUnit;
    }
    void take(const float* upper, int64_t unit) {
        FeedFactor& square = squares_[unit];
        float* tile = tiles_.data() + start(unit);
        const int64_t first = unit * kFeedUnit, after = first + kFeedUnit;
        for (int j = 0; j < kFeedUnit; ++j) {
            const float* row = upper + (first + j) * cols_;
            std::copy(row + first, row + after, square.square[j]);
            square.inverse[j] = 1.0f / row[first + j];
        }
        for (int64_t k = after; k < cols_; k += kFeedTile)
            for (int j = 0; j < kFeedUnit; ++j, tile += kFeedTile)
                std::copy_n(upper + (first + j) * cols_ + k, kFeedTile, tile);
    }
    int64_t cols_, units_;
    std::vector<FeedFactor> squares_;
    std::vector<float> tiles_;
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
    }
    void run() {
        for (int64_t b = 0; b < from_.cols / from_.traits->elements; ++b) block(b);
    }

  private:
    // Copies `count` columns of one vector of rows and what they count.
    void view(int64_t column, int count, int v, float* x, float* w) const {
        for (int i = 0; i < count; ++i) {
            std::copy_n(x_.data() + (column + i) * width_ + v * lanes_, lanes_, x + i * lanes_);
            std::fill_n(w + i * lanes_, lanes_, counts_[column + i]);
        }
    }
    void block(int64_t b) {
        const int elements = from_.traits->elements, units = elements / kFeedUnit;
        const int64_t column = b * elements;
        for (int v = 0; v < kFeedVectors; ++v) {
            if (from_.search.runs == 1) continue;  // its only scale is chosen when it is its turn
            view(column, elements, v, part_, counted_);
            from_.search.choose(part_, counted_, blocks_[v]);
        }
        for (int u = 0; u < units; ++u) unit(column + u * kFeedUnit, u);
        for (int r = 0; r < width_ && first_ + r < from_.rows; ++r)
            write_block(from_, blocks_[r / lanes_], levels_[r / lanes_], lanes_, r % lanes_,
                        out_ + static_cast<size_t>(first_ + r) * from_.traits->row_bytes(from_.cols) +
                            static_cast<size_t>(b) * from_.traits->bytes);
    }
    void unit(int64_t column, int u) {
        const int64_t index = column / kFeedUnit, after = column + kFeedUnit;
        for (int v = 0; v < kFeedVectors; ++v) {
            view(column, kFeedUnit, v, part_, counted_);
            from_.search.feed(u * kFeedUnit / from_.search.run, part_, counted_,
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
    std::vector<float> x_;  // (C, width), what earlier columns' errors have made of the weights
    BlockScales blocks_[kFeedVectors];
    alignas(64) float part_[kMaxBlock * kMaxLanes], counted_[kMaxBlock * kMaxLanes];
    alignas(64) float levels_[kFeedVectors][kMaxBlock * kMaxLanes];
    alignas(64) float errors_[kFeedUnit * kFeedVectors * kMaxLanes];
};

}  // namespace

void quantize_rows_with_feedback(const float* values, int64_t rows, int64_t cols,
                                 const char* type_name, const float* inverse_factor,
                                 const float* importance, uint8_t* out) {
    constexpr const char* op = "quantize_rows_with_feedback";
    const Rows from = check_rows(op, values, rows, cols, type_name);
    require(from.search.type >= 0, "quantize_rows_with_feedback: floats are not rounded in blocks");
    const Factor factor(inverse_factor, cols);
    std::vector<float> counts(static_cast<size_t>(cols));
    for (int64_t c = 0; c < cols; ++c) {  // a loss in column c costs its square over U_cc^2
        const float diagonal = inverse_factor[c * cols + c];
        counts[c] = importance != nullptr ? importance[c] : 1.0f / (diagonal * diagonal);
    }
    counts = check_importance(op, counts.data(), cols);
    const int width = kFeedVectors * kernels().lanes;
    parallel((rows + width - 1) / width, [&](int64_t group, int) {
        const auto work = std::make_unique<Group>(from, factor, counts.data(), group * width, out);
        work->run();
    });
}

}  // namespace freehold
