// Room: core/ops. Adapters: what each sequence's own low-rank matrices add to a projection. A
// step's tokens are grouped by adapter, so that its matrices are read once for all of them.
#include <algorithm>
#include <cmath>

#include "../quants/traits.h"
#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"
#include "gates.h"
#include "project.h"

namespace freehold {
namespace {

constexpr int kMaxTokens = 4;             // of a tile
constexpr int64_t kBlockTokens = 16;      // of an item of the first product
constexpr int64_t kItemBytes = 16 << 10;  // the least of a matrix worth handing to a thread

// Grows and is reused; one a calling thread, so two callers never share it.
float* scratch(int which, int64_t count) {
    static thread_local Memory buffers[2];
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    if (buffers[which].size() < bytes) buffers[which] = Memory(bytes + bytes / 4);
    return reinterpret_cast<float*>(buffers[which].data());
}

int tile_of(int64_t count) { return count >= 4 ? 4 : count >= 2 ? 2 : 1; }

// Sixteen rows of float32, already over the unit, as the kernels read them.
void pack_halves(const float* const* rows, float inverse, int64_t cols, uint8_t* out) {
    auto* to = reinterpret_cast<uint16_t*>(out);
    for (int64_t k = 0; k < cols; ++k)
        for (int r = 0; r < kGroupRows; ++r)
            to[k * kGroupRows + r] = rows[r] ? float_to_half(rows[r][k] * inverse) : 0;
}

void pack_bytes(const float* const* rows, float inverse, int64_t cols, uint8_t* out) {
    for (int64_t first = 0; first < cols; first += kThinBlock) {
        const int64_t width = std::min<int64_t>(kThinBlock, cols - first);
        auto* scales = reinterpret_cast<uint16_t*>(out);
        auto* codes = reinterpret_cast<int8_t*>(out + 2 * kGroupRows);
        for (int r = 0; r < kGroupRows; ++r) {
            float largest = 0.0f;
            for (int64_t k = 0; rows[r] && k < width; ++k)
                largest = std::max(largest, std::fabs(rows[r][first + k] * inverse));
            scales[r] = float_to_half(largest / 127.0f);
            const float scale = half_to_float(scales[r]);
            for (int64_t k = 0; k < width; ++k) {
                const float code = scale > 0.0f && rows[r] ? rows[r][first + k] * inverse / scale : 0;
                // A scale too small for float16 to hold well would give codes past 127.
                codes[k * kGroupRows + r] =
                    static_cast<int8_t>(std::nearbyint(std::clamp(code, -127.0f, 127.0f)));
            }
        }
        out += 2 * kGroupRows + width * kGroupRows;
    }
}

size_t thin_group_bytes(int64_t cols, int bits) {
    const int64_t blocks = (cols + kThinBlock - 1) / kThinBlock;
    return static_cast<size_t>(bits == 16 ? cols * kGroupRows * 2
                                          : blocks * 2 * kGroupRows + cols * kGroupRows);
}

}  // namespace

Thin::Thin(const float* values, int64_t rows_, int64_t cols_, int bits_)
    : rows(rows_), cols(cols_), bits(bits_) {
    require(bits == 8 || bits == 16, "thin: values have 8 or 16 bits");
    require(rows >= 1 && cols >= 1 && rows <= INT32_MAX && cols <= INT32_MAX,
            "thin: rows or columns out of range");
    float largest = 0.0f;
    for (int64_t i = 0; i < rows * cols; ++i) {
        require(std::isfinite(values[i]), "thin: a value is not finite");
        largest = std::max(largest, std::fabs(values[i]));
    }
    // A power of two, so that the largest is below 2: nothing is out of float16's reach.
    int exponent = 0;
    std::frexp(largest, &exponent);
    exponent = std::clamp(exponent, -100, 100);
    unit = std::ldexp(1.0f, exponent);
    const float inverse = std::ldexp(1.0f, -exponent);
    group_bytes = thin_group_bytes(cols, bits);
    data_ = place_bytes(bytes(), memory_);
    parallel((rows + kGroupRows - 1) / kGroupRows, [&](int64_t g, int) {
        const float* sources[kGroupRows] = {};
        for (int64_t r = 0; r < std::min<int64_t>(kGroupRows, rows - g * kGroupRows); ++r)
            sources[r] = values + (g * kGroupRows + r) * cols;
        uint8_t* to = data_ + g * group_bytes;
        if (bits == 16) pack_halves(sources, inverse, cols, to);
        else pack_bytes(sources, inverse, cols, to);
    });
}

ThinView Thin::part(int64_t first_group, int64_t last_group) const {
    return {data_ + first_group * group_bytes, cols,
            std::min(rows, last_group * kGroupRows) - first_group * kGroupRows};
}

void Deltas::put(int32_t index, const Thin& down, std::vector<Up> ups) {
    require(index >= 0 && index < 4096, "deltas: index out of range");
    int64_t ranks = 0;
    for (const Up& up : ups) {
        if (!up.matrix) continue;
        require(std::isfinite(up.scale), "deltas: a scale is not finite");
        ranks += up.matrix->cols;
    }
    require(ranks == down.rows, "deltas: the ranks do not add up to the rows of the first matrix");
    if (entries_.size() <= static_cast<size_t>(index)) entries_.resize(index + 1);
    entries_[index].emplace(Entry{down, std::move(ups)});
}

void Deltas::drop(int32_t index) {
    if (index >= 0 && static_cast<size_t>(index) < entries_.size()) entries_[index].reset();
}

const Deltas::Entry* Deltas::find(int32_t index) const {
    if (index < 0 || static_cast<size_t>(index) >= entries_.size()) return nullptr;
    return entries_[index] ? &*entries_[index] : nullptr;
}

namespace {

// The tokens of one adapter: places [first, last) among the tokens that have one.
struct Run {
    const Deltas::Entry* entry;
    int64_t first, last;
};

struct Runs {
    std::vector<int32_t> tokens;  // of each place
    std::vector<Run> runs;
    int64_t width = 0;  // of a place's row of values between the two products
};

Runs group_tokens(const Step& step, const Deltas& deltas) {
    Runs out;
    std::vector<int32_t> present;
    for (const int32_t index : step.adapters)
        if (deltas.find(index) != nullptr) present.push_back(index);
    std::sort(present.begin(), present.end());
    present.erase(std::unique(present.begin(), present.end()), present.end());
    for (const int32_t index : present) {
        const auto first = static_cast<int64_t>(out.tokens.size());
        for (size_t s = 0; s < step.adapters.size(); ++s)
            if (step.adapters[s] == index)
                for (int32_t t = step.offsets[s]; t < step.offsets[s + 1]; ++t)
                    out.tokens.push_back(t);
        const Deltas::Entry* entry = deltas.find(index);
        out.runs.push_back({entry, first, static_cast<int64_t>(out.tokens.size())});
        out.width = std::max(out.width, entry->down.rows);
    }
    return out;
}

// h (places, width) = norm(x) . A^T of each place's adapter.
void lower_all(const Tensor& x, const Norm* norm, const Runs& all, float* h) {
    const KernelTable& table = kernels();
    std::vector<Run> blocks;
    for (const auto& [entry, first, last] : all.runs)
        for (int64_t at = first; at < last; at += kBlockTokens)
            blocks.push_back({entry, at, std::min(last, at + kBlockTokens)});
    parallel(static_cast<int64_t>(blocks.size()), [&](int64_t item, int) {
        const auto [entry, first, last] = blocks[item];
        const Thin& down = entry->down;
        float* normed = norm ? scratch(1, kMaxTokens * x.cols) : nullptr;
        for (int64_t at = first; at < last;) {
            const int tile = tile_of(last - at);
            const float* rows[kMaxTokens];
            float* to[kMaxTokens];
            for (int m = 0; m < tile; ++m) {
                rows[m] = x.row(all.tokens[at + m]);
                to[m] = h + (at + m) * all.width;
                if (norm == nullptr) continue;
                float* row = normed + m * x.cols;
                table.rms_norm(rows[m], norm->weight.data(), norm->eps, x.cols, row);
                rows[m] = row;
            }
            table.thin[down.bits == 8](down.part(0, down.groups()), rows, tile, down.unit, false,
                                       to);
            at += tile;
        }
    });
}

// outs += scale h . B^T, each place into its token's row.
void raise_all(const Runs& all, const float* h, const std::vector<Tensor*>& outs) {
    const KernelTable& table = kernels();
    struct Part {
        const Run* run;
        size_t output;
        int64_t column;       // where the output's values between the products begin
        int64_t first, last;  // groups
    };
    std::vector<Part> parts;
    for (const Run& run : all.runs) {
        int64_t column = 0;
        for (size_t i = 0; i < outs.size(); ++i) {
            if (!run.entry->ups[i].matrix) continue;
            const Thin& up = *run.entry->ups[i].matrix;
            const int64_t chunk =
                std::max<int64_t>(1, kItemBytes / static_cast<int64_t>(up.group_bytes));
            for (int64_t g = 0; g < up.groups(); g += chunk)
                parts.push_back({&run, i, column, g, std::min(up.groups(), g + chunk)});
            column += up.cols;
        }
    }
    parallel(static_cast<int64_t>(parts.size()), [&](int64_t item, int) {
        const Part& part = parts[item];
        const Deltas::Up& up = part.run->entry->ups[part.output];
        const ThinView view = up.matrix->part(part.first, part.last);
        const float factor = up.scale * up.matrix->unit;
        for (int64_t at = part.run->first; at < part.run->last;) {
            const int tile = tile_of(part.run->last - at);
            const float* from[kMaxTokens];
            float* to[kMaxTokens];
            for (int m = 0; m < tile; ++m) {
                from[m] = h + (at + m) * all.width + part.column;
                to[m] = outs[part.output]->row(all.tokens[at + m]) + part.first * kGroupRows;
            }
            table.thin[up.matrix->bits == 8](view, from, tile, factor, true, to);
            at += tile;
        }
    });
}

}  // namespace

Ahead matrices_of(const Added& added) {
    Ahead ahead;
    for (const Run& run : group_tokens(added.step, added.deltas).runs) {
        const Thin& down = run.entry->down;
        ahead.add(down.part(0, 0).groups, down.bytes());
        for (const Deltas::Up& up : run.entry->ups)
            if (up.matrix) ahead.add(up.matrix->part(0, 0).groups, up.matrix->bytes());
    }
    return ahead;
}

void add_deltas(const Tensor& x, const Norm* norm, const Step& step, const Deltas& deltas,
                const std::vector<Tensor*>& outs) {
    require(step.count() <= x.rows, "add_deltas: more tokens than rows");
    require(norm == nullptr || (norm->weight.rows == 1 && norm->weight.cols == x.cols),
            "add_deltas: norm width differs from the input's");
    const Runs all = group_tokens(step, deltas);
    if (all.runs.empty()) return;
    for (const Run& run : all.runs) {
        require(run.entry->down.cols == x.cols, "add_deltas: input width differs from the matrix's");
        require(run.entry->ups.size() == outs.size(), "add_deltas: one matrix is needed an output");
        for (size_t i = 0; i < outs.size(); ++i)
            require(!run.entry->ups[i].matrix || (run.entry->ups[i].matrix->rows == outs[i]->cols &&
                                                  outs[i]->rows >= step.count()),
                    "add_deltas: output shape differs from the matrix's rows");
    }
    float* h = scratch(0, static_cast<int64_t>(all.tokens.size()) * all.width);
    lower_all(x, norm, all, h);
    raise_all(all, h, outs);
}

void gate_rows(const Tensor& up, int64_t count, Tensor& gate, const Gating& gating) {
    check_gating(gating);
    require(count >= 1 && count <= gate.rows && count <= up.rows && gate.cols == up.cols,
            "gate_rows: gate and up differ in shape");
    const KernelTable& table = kernels();
    parallel(count, [&](int64_t t, int) {
        float* row = gate.row(t);
        for (int64_t i = 0; i < gate.cols; i += kGateCount)
            open_gates(table, gating, row + i, up.row(t) + i,
                       std::min<int64_t>(kGateCount, gate.cols - i), row + i);
    });
}

}  // namespace freehold
