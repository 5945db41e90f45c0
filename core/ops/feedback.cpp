// Room: core/ops. Writes float rows as blocks of a file while later columns make up for what earlier
// ones lose; kernels/feedback.h says how.
#include <algorithm>
#include <bit>
#include <cmath>

#include "quantize.h"

namespace freehold {
namespace {

// A run's factor in the order in which it is used: per unit of columns its square, and the tiles by
// which each unit before it moves its columns.
class Factor {
  public:
    Factor(const Lower& lower, int64_t first)
        : first_(first), cols_(lower.cols), units_(cols_ / kFeedUnit),
          inverse_(static_cast<size_t>(cols_)), squares_(new FeedFactor[static_cast<size_t>(units_)]),
          tiles_(sizeof(FeedTile) * static_cast<size_t>(place(units_, 0))) {
        for (int64_t c = 0; c < cols_; ++c) {
            const float diagonal = lower.at[c * cols_ + c];
            require(std::isfinite(diagonal) && diagonal > 0.0f,
                    "quantize_rows_with_feedback: the factor's diagonal must be above zero");
            inverse_[c] = 1.0f / diagonal;
        }
        parallel(units_, [&](int64_t u, int) { take(lower.at, u); });
    }
    int64_t first() const { return first_; }  // column of the matrix
    int64_t cols() const { return cols_; }
    const FeedFactor& square(int64_t unit) const { return squares_[unit]; }
    const FeedTile* tiles(int64_t unit, int64_t earlier) const { return tile_at(place(unit, earlier)); }

  private:
    static constexpr int kTiles = kFeedUnit / kFeedTile;
    static int64_t place(int64_t unit, int64_t earlier) {
        return (unit * (unit - 1) / 2 + earlier) * kTiles;
    }
    FeedTile* tile_at(int64_t place) const {
        return reinterpret_cast<FeedTile*>(tiles_.data()) + place;
    }
    void take(const float* lower, int64_t unit) {
        FeedFactor& square = squares_[unit];
        const int64_t first = unit * kFeedUnit;
        for (int k = 0; k < kFeedUnit; ++k) {
            const float* row = lower + (first + k) * cols_;
            const float by = inverse_[first + k];
            for (int j = 0; j < kFeedUnit; ++j) square[j][k] = j < k ? row[first + j] * by : 0.0f;
            for (int64_t earlier = 0; earlier < unit; ++earlier)
                code(row + earlier * kFeedUnit, by, k % kFeedTile,
                     *tile_at(place(unit, earlier) + k / kFeedTile));
        }
    }
    // Column c of a tile: `by` times a unit's part of a row.
    static void code(const float* row, float by, int c, FeedTile& tile) {
        float parts[8] = {}, most = 0.0f;
        for (int j = 0; j < kFeedUnit; j += 8)
            for (int i = 0; i < 8; ++i) parts[i] = std::max(parts[i], std::fabs(row[j + i]));
        for (const float part : parts) most = std::max(most, part);
        const float inverse = most > 1e-30f ? kFeedLevels / most : 0.0f;
        tile.scale[c] = most > 1e-30f ? most * by / kFeedLevels : 0.0f;
        int32_t codes[kFeedUnit];
        // To nearest even: the last bits of a float whose last one counts 1.
        for (int j = 0; j < kFeedUnit; ++j)
            codes[j] = std::bit_cast<int32_t>(row[j] * inverse + 12582912.0f);
        for (int j = 0; j < kFeedUnit; ++j)
            tile.codes[j / 2][c][j % 2] = static_cast<int16_t>(codes[j]);
    }
    int64_t first_, cols_, units_;
    std::vector<float> inverse_;  // one over the diagonal
    std::unique_ptr<FeedFactor[]> squares_;
    Borrowed tiles_;
};

// One group of rows, kFeedVectors vectors side by side, from a run's first column to its last. A block's
// columns move when it is their turn, by the errors of all units before: those stay near, as codes.
class Group {
  public:
    Group(const Rows& from, const Factor& factor, const float* counts, int64_t first, uint8_t* out)
        : from_(from), factor_(factor), counts_(counts + factor.first()), first_(first), out_(out),
          lanes_(kernels().lanes), width_(kFeedVectors * lanes_), elements_(from.traits->elements),
          coded_(std::make_unique_for_overwrite<FeedErrors[]>(static_cast<size_t>(factor.cols() / kFeedUnit))),
          x_(static_cast<size_t>(elements_ * width_)), own_(x_.size()) {
        for (int v = 0; v < kFeedVectors; ++v) set_units(from, first + v * lanes_, lanes_, blocks_[v]);
    }
    void run() {
        for (int64_t b = 0; b < factor_.cols() / elements_; ++b) block(b);
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
    // The columns of a block in the units of their rows, and what earlier blocks' errors make of them.
    void gather(int64_t column) {
        for (int r = 0; r < width_ && first_ + r < from_.rows; ++r) {
            const float by = blocks_[r / lanes_].inverse_unit[r % lanes_];
            const float* row = from_.values + (first_ + r) * from_.cols + factor_.first() + column;
            ask_for(row + elements_, elements_);
            for (int c = 0; c < elements_; ++c) own_[c * width_ + r] = row[c] * by;
        }
        x_ = own_;
        const int64_t before = column / kFeedUnit;
        for (int u = 0; u < elements_ / kFeedUnit; ++u)
            for (int64_t earlier = 0; earlier < before; ++earlier)
                spread(before + u, earlier, x_.data() + u * kFeedUnit * width_);
    }
    void spread(int64_t unit, int64_t earlier, float* x) const {
        kernels().spread_errors(factor_.tiles(unit, earlier), coded_[earlier], x);
    }
    // Moves the block's units after its unit `u`, the factor's `index`, by that one's errors.
    void spread_after(int u, int64_t index, float* x) {
        kernels().code_errors(errors_, coded_[index]);
        for (int after = u + 1; after < elements_ / kFeedUnit; ++after)
            spread(index + after - u, index, x + after * kFeedUnit * width_);
    }
    void block(int64_t b) {
        const int units = elements_ / kFeedUnit;
        gather(b * elements_);
        if (from_.search.runs > 1) choose(b);  // an only scale is chosen in its turn
        for (int u = 0; u < units; ++u) unit(u, b * units + u);
        const int64_t at = factor_.first() / elements_ + b;
        for (int r = 0; r < width_ && first_ + r < from_.rows; ++r)
            write_block(from_, blocks_[r / lanes_], levels_[r / lanes_], lanes_, r % lanes_,
                        out_ + static_cast<size_t>(first_ + r) * from_.traits->row_bytes(from_.cols) +
                            static_cast<size_t>(at) * from_.traits->bytes);
    }
    // The scales of a block, for what its columns would be if none of them lost anything.
    void choose(int64_t b) {
        seen_ = x_;
        for (int u = 0; u < elements_ / kFeedUnit; ++u) foresee(u, b * elements_ / kFeedUnit + u);
        count(b * elements_, elements_);
        for (int v = 0; v < kFeedVectors; ++v) {
            view(seen_.data(), elements_, v, part_);
            from_.search.choose(part_, counted_, blocks_[v]);
        }
    }
    // A unit's columns without loss, and those behind it.
    void foresee(int u, int64_t index) {
        const FeedFactor& factor = factor_.square(index);
        float* x = seen_.data() + u * kFeedUnit * width_;
        for (int j = 0; j < kFeedUnit; ++j) {
            float* error = errors_ + j * width_;
            const float* own = own_.data() + (u * kFeedUnit + j) * width_;
            for (int r = 0; r < width_; ++r) error[r] = x[j * width_ + r] - own[r];
            for (int k = j + 1; k < kFeedUnit; ++k)
                for (int r = 0; r < width_; ++r) x[k * width_ + r] -= factor[j][k] * error[r];
        }
        spread_after(u, index, seen_.data());
    }
    void unit(int u, int64_t index) {
        const int start = u * kFeedUnit;
        count(index * kFeedUnit, kFeedUnit);
        for (int v = 0; v < kFeedVectors; ++v) {
            view(x_.data() + start * width_, kFeedUnit, v, part_);
            view(own_.data() + start * width_, kFeedUnit, v, unfed_);
            from_.search.feed(start / from_.search.run, part_, unfed_, counted_, factor_.square(index),
                              blocks_[v], levels_[v] + start * lanes_, errors_ + v * lanes_, width_);
        }
        spread_after(u, index, x_.data());
    }

    const Rows& from_;
    const Factor& factor_;
    const float* counts_;
    const int64_t first_;
    uint8_t* out_;
    const int lanes_, width_, elements_;
    const std::unique_ptr<FeedErrors[]> coded_;  // of every unit that is done
    std::vector<float> x_, own_;  // (block, width), what earlier errors made of the weights, and these
    std::vector<float> seen_;     // x_ without loss in the block
    BlockScales blocks_[kFeedVectors];
    alignas(64) float part_[kMaxBlock * kMaxLanes], counted_[kMaxBlock * kMaxLanes];
    alignas(64) float unfed_[kFeedUnit * kMaxLanes];
    alignas(64) float levels_[kFeedVectors][kMaxBlock * kMaxLanes];
    alignas(64) float errors_[kFeedUnit * kFeedVectors * kMaxLanes];
};

}  // namespace

void quantize_rows_with_feedback(const float* values, int64_t rows, int64_t cols,
                                 const char* type_name, const std::vector<Lower>& runs,
                                 const float* importance, uint8_t* out) {
    constexpr const char* op = "quantize_rows_with_feedback";
    const Rows from = check_rows(op, values, rows, cols, type_name);
    require(from.search.type >= 0, "quantize_rows_with_feedback: floats are not rounded in blocks");
    std::vector<Factor> factors;
    std::vector<float> counts;
    for (const Lower& run : runs) {
        require(run.cols >= 1 && run.cols % from.traits->elements == 0,
                "quantize_rows_with_feedback: a run of columns must be whole blocks");
        factors.emplace_back(run, static_cast<int64_t>(counts.size()));
        for (int64_t c = 0; c < run.cols; ++c) {  // a loss in column c costs its square times L_cc^2
            const float diagonal = run.at[c * run.cols + c];
            counts.push_back(diagonal * diagonal);
        }
    }
    require(static_cast<int64_t>(counts.size()) == cols,
            "quantize_rows_with_feedback: the factors' columns are not the matrix's");
    counts = check_importance(op, importance != nullptr ? importance : counts.data(), cols);
    const int width = kFeedVectors * kernels().lanes;
    const int64_t groups = (rows + width - 1) / width;
    parallel(groups * static_cast<int64_t>(factors.size()), [&](int64_t item, int) {
        const auto work = std::make_unique<Group>(from, factors[item / groups], counts.data(),
                                                  item % groups * width, out);
        work->run();
    });
}

}  // namespace freehold
