// Room: core/ops. Rows as whole numbers, whose products take a fraction of the time of floats': of
// 8 bits where an instruction set multiplies those exactly (four rows to a word), else of 12 or more.
//
// A run of rows has a scale for each column, so that the largest of its numbers there becomes the
// largest code; sums over a run are exact. Every number is off by at most half a step of its column:
// none of n rows is more than sqrt(n) times what is usual in its column, so a step of 512 rows' bytes
// is never more than a sixth of that. Errors of many rows cancel in a product.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>

#include "freehold/kernels.h"
#include "freehold/threads.h"
#include "freehold/types.h"

namespace freehold {

inline int64_t rows_of_word() { return kernels().multiply_bytes != nullptr ? 4 : 2; }

// Of a lower triangle: rows [row, end) and columns [col, col_end).
struct Square {
    int64_t row, end, col, col_end;
};

// Runs of at most `run_rows` rows, in panels of 2 lanes; zeros behind the last row and column.
class Coded {
  public:
    Coded(int64_t run_rows, int64_t runs, int64_t cols)
        : rows_of_word_(rows_of_word()), words_(run_rows / rows_of_word_),
          levels_(rows_of_word_ == 4 ? 127.0f : most_levels(run_rows)), width_(2 * kernels().lanes),
          padded_((cols + width_ - 1) / width_ * width_),
          codes_(static_cast<size_t>(runs * words_ * padded_) * sizeof(int32_t)),
          scales_(static_cast<size_t>(runs * padded_) * sizeof(float)),
          starts_(static_cast<size_t>(runs * padded_) * sizeof(int32_t)) {}

    // A panel of run `run`: `rows` rows and the columns up to `cols` of x, rows `stride` apart.
    void put(int64_t run, int64_t panel, const float* x, int64_t stride, int64_t rows, int64_t cols) {
        const int64_t first = panel * width_, used = std::min(width_, cols - first);
        float inverse[2 * kMaxLanes];
        x += first;
        find_scales(x, stride, rows, used, at(scales_, run * padded_ + first), inverse);
        int32_t sums[2 * kMaxLanes] = {};
        auto* words = at<int32_t>(codes_, run * words_ * padded_ + first * words_);
        for (int64_t k = 0; k < words_; ++k, words += width_) {
            std::fill_n(words, width_, 0);
            for (int64_t i = 0; i < rows_of_word_ && k * rows_of_word_ + i < rows; ++i)
                add_row(x + (k * rows_of_word_ + i) * stride, used, inverse, i, words, sums);
        }
        int32_t* start = at<int32_t>(starts_, run * padded_ + first);
        for (int64_t c = 0; c < width_; ++c) start[c] = rows_of_word_ == 4 ? -128 * sums[c] : 0;
    }

    // Adds to a square of a lower triangle, rows of `out` being `stride` apart, `by` times a run's
    // products.
    void add_square(int64_t run, const Square& to, float by, float* out, int64_t stride) const {
        for (int64_t j = to.col; j < to.col_end; j += width_)
            for (int64_t i = std::max(to.row, j / kCodedRows * kCodedRows); i < to.end; i += kCodedRows)
                add_tile(run, i, j, to.end, by, out + i * stride + j, stride);
    }
    int64_t width() const { return width_; }

  private:
    template <class T = float> static T* at(const Borrowed& memory, int64_t place) {
        return reinterpret_cast<T*>(memory.data()) + place;
    }
    static float most_levels(int64_t rows) {  // whose products' sum fits 32 bits
        return std::floor(std::sqrt(2147483647.0f / static_cast<float>(rows)) - 1.0f);
    }
    void find_scales(const float* x, int64_t stride, int64_t rows, int64_t used, float* scale,
                     float* inverse) const {
        float most[2 * kMaxLanes] = {};
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < used; ++c) most[c] = std::max(most[c], std::fabs(x[r * stride + c]));
        for (int64_t c = 0; c < width_; ++c) {
            const bool some = most[c] > 1e-30f;
            scale[c] = some ? most[c] / levels_ : 0.0f;
            inverse[c] = some ? levels_ / most[c] : 0.0f;
        }
    }
    // Products with a panel's columns, from j on, of rows [i, i + kCodedRows): not what lies above the
    // diagonal, nor from row `end` on.
    void add_tile(int64_t run, int64_t i, int64_t j, int64_t end, float by, float* out,
                  int64_t stride) const {
        float by_row[kCodedRows];
        for (int r = 0; r < kCodedRows; ++r) by_row[r] = by * at(scales_, run * padded_ + i)[r];
        const KernelTable& table = kernels();
        const auto* words = at<int32_t>(codes_, run * words_ * padded_);
        const auto multiply = [&](float* to, int64_t apart) {
            (rows_of_word_ == 4 ? table.multiply_bytes : table.multiply_pairs)(
                words + i / width_ * width_ * words_ + i % width_, words + j * words_, words_,
                at<int32_t>(starts_, run * padded_ + i), by_row, at(scales_, run * padded_ + j), to, apart);
        };
        if (i + kCodedRows <= end && j + width_ <= i + 1) return multiply(out, stride);
        alignas(64) float tile[kCodedRows * 2 * kMaxLanes] = {};
        multiply(tile, width_);
        for (int64_t r = 0; r < std::min<int64_t>(kCodedRows, end - i); ++r)
            for (int64_t c = 0; c < std::min(width_, i + r + 1 - j); ++c)
                out[r * stride + c] += tile[r * width_ + c];
    }
    // One more row of a word's. To nearest even: the last bits of a float whose last one counts 1.
    void add_row(const float* x, int64_t used, const float* inverse, int64_t i, int32_t* words,
                 int32_t* sums) const {
        const int shift = static_cast<int>(i * 32 / rows_of_word_);
        const uint32_t mask = rows_of_word_ == 4 ? 0xff : 0xffff;
        for (int64_t c = 0; c < used; ++c) {
            constexpr float shifter = 12582912.0f;
            const float shifted = x[c] * inverse[c] + shifter;
            uint32_t bits, zero;
            std::memcpy(&bits, &shifted, 4);
            std::memcpy(&zero, &shifter, 4);
            sums[c] += static_cast<int32_t>(bits - zero);
            words[c] = static_cast<int32_t>(static_cast<uint32_t>(words[c]) | (bits & mask) << shift);
        }
    }

    const int64_t rows_of_word_, words_;
    const float levels_;
    const int64_t width_, padded_;
    Borrowed codes_, scales_, starts_;
};

}  // namespace freehold
