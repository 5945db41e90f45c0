// Room: core/ops. Writes float rows as blocks of a file, each with the scales that a search found.
#include "quantize.h"

#include <algorithm>
#include <cstring>

namespace freehold {
namespace {

// The largest magnitude of a row, or an infinity if a number is none.
float largest_of(const float* row, int64_t cols) {
    uint32_t most = 0;
    for (int64_t i = 0; i < cols; ++i) {
        uint32_t bits;
        std::memcpy(&bits, row + i, 4);
        most = std::max(most, bits & 0x7fffffffu);
    }
    most = std::min(most, 0x7f800000u);
    float largest;
    std::memcpy(&largest, &most, 4);
    return largest;
}

void write_floats(const Rows& from, uint8_t* out) {
    const bool half = from.traits->type == 1;
    parallel(from.rows, [&](int64_t r, int) {
        const float* row = from.values + r * from.cols;
        uint8_t* to = out + r * 2 * from.cols;
        for (int64_t i = 0; i < from.cols; ++i) {
            const uint16_t bits = half ? float_to_half(row[i]) : float_to_bfloat(row[i]);
            std::memcpy(to + 2 * i, &bits, 2);
        }
    });
}

// Block `b` of `lanes` rows side by side, in their rows' units.
void gather(const Rows& from, int64_t first, int lanes, int64_t b, const BlockScales& block,
            float* x) {
    const int elements = from.traits->elements;
    for (int r = 0; r < lanes; ++r) {
        const float* row = from.values + (first + r) * from.cols + b * elements;
        const float by = first + r < from.rows ? block.inverse_unit[r] : 0.0f;
        if (by != 0.0f) ask_for(row + elements, elements);
        for (int i = 0; i < elements; ++i) x[i * lanes + r] = by == 0.0f ? 0.0f : row[i] * by;
    }
}

// Without importance, what an element counts grows with it, as large weights meet what matters more
// often than chance would have it.
void weigh(const float* x, int elements, int lanes, float* w) {
    for (int r = 0; r < lanes; ++r) {
        float squares = 0.0f;
        for (int i = 0; i < elements; ++i) squares += x[i * lanes + r] * x[i * lanes + r];
        const float mean = squares / static_cast<float>(elements);
        for (int i = 0; i < elements; ++i)
            w[i * lanes + r] = squares > 0.0f ? (mean + x[i * lanes + r] * x[i * lanes + r]) / mean : 1.0f;
    }
}

}  // namespace

Rows check_rows(const char* op, const float* values, int64_t rows, int64_t cols,
                const char* type_name) {
    const auto refuse = [&](bool ok, const std::string& what) {
        if (!ok) throw ContractError(std::string(op) + ": " + what);
    };
    Rows out{values, rows, cols, find_traits(type_name), {}, {}};
    const bool known = out.traits != nullptr;
    const bool half = known && (out.traits->type == 1 || out.traits->type == 30);
    if (known && !half) out.search = kernels().search(out.traits->type);
    refuse(known && (half || out.search.type >= 0), std::string("nothing is written in ") + type_name);
    refuse(rows >= 1 && cols >= 1, "at least one row and one column are needed");
    refuse(cols % out.traits->elements == 0, "columns must be whole blocks of " +
                                                 std::to_string(out.traits->elements));
    out.largest.resize(static_cast<size_t>(rows));
    parallel(rows, [&](int64_t r, int) { out.largest[r] = largest_of(values + r * cols, cols); });
    const float largest = *std::max_element(out.largest.begin(), out.largest.end());
    refuse(std::isfinite(largest), "a weight is infinite or not a number");
    refuse(out.traits->type == 30 || out.traits->type == 39 || largest <= 65504.0f,
           "a weight is beyond what a float16 scale reaches");
    return out;
}

std::vector<float> check_importance(const char* op, const float* importance, int64_t cols) {
    double sum = 0.0;
    for (int64_t c = 0; c < cols; ++c) {
        if (!std::isfinite(importance[c]) || importance[c] < 0.0f)
            throw ContractError(std::string(op) + ": importance must be finite and not negative");
        sum += importance[c];
    }
    const double mean = sum > 0.0 ? sum / static_cast<double>(cols) : 1.0;
    std::vector<float> out(static_cast<size_t>(cols));
    for (int64_t c = 0; c < cols; ++c) out[c] = static_cast<float>(importance[c] / mean + 1e-5);
    return out;
}

void quantize_rows(const float* values, int64_t rows, int64_t cols, const char* type_name,
                   const float* importance, uint8_t* out) {
    const Rows from = check_rows("quantize_rows", values, rows, cols, type_name);
    std::vector<float> counts;
    if (importance != nullptr) counts = check_importance("quantize_rows", importance, cols);
    if (from.search.type < 0) return write_floats(from, out);
    const int lanes = kernels().lanes, elements = from.traits->elements;
    const size_t row_bytes = from.traits->row_bytes(cols);
    parallel((rows + lanes - 1) / lanes, [&](int64_t group, int) {
        alignas(64) float x[kMaxBlock * kMaxLanes], w[kMaxBlock * kMaxLanes];
        alignas(64) float levels[kMaxBlock * kMaxLanes];
        BlockScales block;
        const int64_t first = group * lanes;
        const int used = static_cast<int>(std::min<int64_t>(lanes, rows - first));
        set_units(from, first, lanes, block);
        for (int64_t b = 0; b < cols / elements; ++b) {
            gather(from, first, lanes, b, block, x);
            if (importance == nullptr) weigh(x, elements, lanes, w);
            for (int i = 0; i < elements && importance != nullptr; ++i)
                std::fill_n(w + i * lanes, lanes, counts[b * elements + i]);
            from.search.fit(x, w, block, levels);
            for (int r = 0; r < used; ++r)
                write_block(from, block, levels, lanes, r,
                            out + (first + r) * row_bytes + b * from.traits->bytes);
        }
    });
}

}  // namespace freehold
