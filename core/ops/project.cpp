// Room: core/ops. Ops that multiply by a weight: projections, gate and up, head.
#include "project.h"

#include <algorithm>
#include <cstring>

#include "../quants/fixed16.h"
#include "../quants/traits.h"
#include "adapt.h"
#include "freehold/threads.h"
#include "gates.h"

namespace freehold {
namespace {

constexpr int64_t kActBudget = 384 << 10;    // activations of one pass stay in the L2 cache
constexpr int64_t kWeightBudget = 256 << 10; // so do the groups they meet
constexpr int64_t kItemBytes = 24 << 10;     // the least weight worth handing to a thread

// Grows and is reused; one a calling thread, so two callers never share it.
uint8_t* scratch(int which, size_t bytes) {
    static thread_local Memory buffers[4];
    if (buffers[which].size() < bytes) buffers[which] = Memory(bytes + bytes / 4);
    return buffers[which].data();
}

}  // namespace

void check_projection(const Tensor& x, const Norm* norm, int64_t count, const Weight& weight) {
    require(count >= 1 && count <= x.rows, "project: more tokens than rows");
    require(x.cols == weight.cols, "project: input width differs from the weight's columns");
    require(norm == nullptr || (norm->weight.rows == 1 && norm->weight.cols == x.cols),
            "project: norm width differs from the input's");
}

void Activations::reserve(const std::vector<const Weight*>& weights) {
    for (const Weight* weight : weights) {
        if (weight->traits->floating()) panel_token_ = cols_ * 4;
        else if (weight->traits->fixed()) fixed_token_ = fixed_token_bytes(cols_);
        else int8_token_ = act_bytes(cols_);
    }
    if (int8_token_) int8_ = scratch(0, static_cast<size_t>(int8_token_ * count_));
    if (panel_token_) panels_ = scratch(1, static_cast<size_t>(panel_token_ * count_));
    if (fixed_token_) fixed_ = scratch(3, static_cast<size_t>(fixed_token_ * count_));
}

void Activations::put(const float* const* rows, Tile tile) {
    const KernelTable& table = kernels();
    const auto [token, size] = tile;
    if (int8_) table.quantize_tile(rows, cols_, int8_ + token * int8_token_, size);
    for (int m = 0; m < size; ++m) {
        if (panels_) table.panel_row(rows[m], cols_, panels_ + token * panel_token_, m, size);
        if (fixed_) table.fixed_row(rows[m], cols_, fixed_ + token * fixed_token_, m, size);
    }
}

Activations::Activations(const Tensor& x, const int32_t* rows, int64_t count, const Norm* norm,
                         const std::vector<const Weight*>& weights, Beside* beside)
    : count_(count), cols_(x.cols) {
    reserve(weights);
    const KernelTable& table = kernels();
    append_tiles(table, 0, count, tiles_);
    const auto tiles = static_cast<int64_t>(tiles_.size());
    parallel(tiles + (beside ? 1 : 0), [&](int64_t item, int) {
        if (item == tiles) return beside->prepare(*this);
        const Tile tile = tiles_[item];
        // The running thread's own: another caller may change the number of threads meanwhile.
        const size_t row_bytes = sizeof(float) * static_cast<size_t>(cols_);
        uint8_t* normed = norm ? scratch(2, row_bytes * static_cast<size_t>(tile.size)) : nullptr;
        const float* taken[kMaxTile];
        for (int m = 0; m < tile.size; ++m) {
            taken[m] = x.row(rows ? rows[tile.first + m] : tile.first + m);
            if (norm == nullptr) continue;
            auto* row = reinterpret_cast<float*>(normed + row_bytes * static_cast<size_t>(m));
            table.rms_norm(taken[m], norm->weight.data(), norm->eps, cols_, row);
            taken[m] = row;
        }
        put(taken, tile);
    });
    if (beside) beside->check();
}

Activations::Activations(const float* x, int64_t stride, int64_t cols, const int32_t* rows,
                         std::vector<Tile> tiles, const std::vector<const Weight*>& weights)
    : tiles_(std::move(tiles)), count_(tiles_.back().first + tiles_.back().size), cols_(cols) {
    reserve(weights);
    parallel(static_cast<int64_t>(tiles_.size()), [&](int64_t item, int) {
        const Tile tile = tiles_[item];
        const float* taken[kMaxTile];
        for (int m = 0; m < tile.size; ++m)
            taken[m] = x + (rows ? rows[tile.first + m] : tile.first + m) * stride;
        put(taken, tile);
    });
}

int64_t items_of(const Weight& weight, int64_t count, int64_t groups) {
    const int64_t budget = count == 1 ? kItemBytes : kWeightBudget;
    return std::clamp<int64_t>(budget / static_cast<int64_t>(weight.group_bytes), 1, groups);
}

const uint8_t* Activations::at(const Weight& weight, int64_t token) const {
    if (weight.traits->fixed()) return fixed_ + token * fixed_token_;
    return weight.traits->floating() ? panels_ + token * panel_token_
                                     : int8_ + token * int8_token_;
}

ActToken Activations::rounded_token(int64_t token) const {
    auto tile = std::upper_bound(tiles_.begin(), tiles_.end(), token,
                                 [](int64_t t, const Tile& each) { return t < each.first; });
    --tile;
    return {int8_ + tile->first * int8_token_, static_cast<int>(token - tile->first), tile->size};
}

namespace {

struct Part {
    int which;
    int64_t first, last;  // groups
    int64_t before;       // groups of the parts before it
    int64_t groups() const { return last - first; }
};

// Cuts a weight's groups into parts of at most `chunk`, alike, and as many for each thread.
void append_shares(int which, int64_t groups, int64_t chunk, std::vector<Part>& parts) {
    const int64_t threads = thread_count(), least = (groups + chunk - 1) / chunk;
    const int64_t count = std::min(groups, (least + threads - 1) / threads * threads);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t before = parts.empty() ? 0 : parts.back().before + parts.back().groups();
        parts.push_back({which, groups * i / count, groups * (i + 1) / count, before});
    }
}

}  // namespace

void multiply(const Activations& acts, const std::vector<const Weight*>& weights, bool paired,
              TileBody body, void* context, Beside* beside) {
    const KernelTable& table = kernels();
    const int64_t count = acts.count();
    const int64_t token_bytes = std::max<int64_t>(acts.cols() * 2, 64);
    // Tiles of one pass, and groups of one item; neither changes any result.
    const std::vector<Tile>& tiles = acts.tiles();
    const auto tile_count = static_cast<int64_t>(tiles.size());
    const int64_t pass = std::max<int64_t>(1, kActBudget / token_bytes / table.max_tile);
    std::vector<Part> parts;
    for (size_t w = 0; w < (paired ? 1 : weights.size()); ++w) {
        const auto bytes = static_cast<int64_t>(weights[w]->group_bytes) * (paired ? 2 : 1);
        const int64_t budget = count == 1 ? kItemBytes : kWeightBudget;
        const int64_t fair = (weights[w]->groups + 4 * thread_count() - 1) / (4 * thread_count());
        const int64_t chunk = std::clamp<int64_t>(budget / bytes, 1, std::max<int64_t>(fair, 1));
        append_shares(static_cast<int>(w), weights[w]->groups, chunk, parts);
    }
    const auto part_count = static_cast<int64_t>(parts.size());
    const int64_t calls = (parts.back().before + parts.back().groups()) * tile_count;
    parallel(part_count, [&](int64_t item, int) {
        alignas(64) float out[2][kMaxTile * kGroupRows];
        const uint8_t* runs[2][Beside::kMostRuns];
        const Part part = parts[item];
        const Weight* both[2] = {weights[part.which], paired ? weights[1] : nullptr};
        const TileFn tile_fns[2] = {table.tile_for(both[0]->traits->type),
                                    paired ? table.tile_for(both[1]->traits->type) : nullptr};
        int64_t turn = part.before * tile_count;
        if (beside) beside->begin(turn, calls);
        for (int64_t start = 0; start < tile_count; start += pass) {
            const int64_t end = std::min(tile_count, start + pass);
            for (int64_t g = part.first; g < part.last; ++g) {
                const uint8_t* groups[2] = {both[0]->group(g), paired ? both[1]->group(g, 1) : nullptr};
                for (int64_t i = start; i < end; ++i) {
                    const auto [t, tile] = tiles[i];
                    for (int k = 0; k < (paired ? 2 : 1); ++k) {
                        const Weight& one = *both[k];
                        const uint8_t* act = acts.at(one, t);
                        if (beside == nullptr) {
                            tile_fns[k](groups[k], one.cols, act, tile, out[k], nullptr);
                            continue;
                        }
                        const Call call{part.which + k, g, tiles[i], paired ? 2 * turn + k : turn,
                                        paired ? 2 * calls : calls};
                        Soon soon = beside->soon(call, runs[k]);
                        tile_fns[k](groups[k], one.cols, act, tile, out[k], &soon);
                    }
                    ++turn;
                    body(context, part.which, g, t, tile, out[0], out[1]);
                }
            }
        }
    });
}

namespace {

Beside* pointer(std::optional<Additions>& more) { return more ? &*more : nullptr; }

inline void copy_rows(float* to, const float* from, int64_t n) {
    if (n == kGroupRows) std::memcpy(to, from, sizeof(float) * kGroupRows);  // one or two moves
    else std::memcpy(to, from, sizeof(float) * static_cast<size_t>(n));
}

}  // namespace

void check_bias(const Tensor* bias, const Weight& weight) {
    require(bias == nullptr || (bias->rows == 1 && bias->cols == weight.rows),
            "project: bias width differs from the weight's rows");
}

void norm_project(const Tensor& x, const Norm* norm, int64_t count,
                  const std::vector<const Weight*>& weights,
                  const std::vector<const Tensor*>& biases, const std::vector<Tensor*>& outs,
                  const Added* added) {
    require(!weights.empty() && weights.size() == outs.size() && weights.size() == biases.size(),
            "norm_project: weights, biases and outputs must pair up");
    for (size_t w = 0; w < weights.size(); ++w) {
        check_projection(x, norm, count, *weights[w]);
        check_bias(biases[w], *weights[w]);
        require(outs[w]->rows >= count && outs[w]->cols == weights[w]->rows,
                "norm_project: output shape differs from the weight's rows");
    }
    const KernelTable& table = kernels();
    std::optional<Additions> more;
    if (added) more.emplace(*added, x, norm, count, weights);
    const Activations acts(x, nullptr, count, norm, weights, pointer(more));
    multiply(acts, weights, false,
             [&](int which, int64_t g, int64_t t, int tile, const float* out, const float*) {
                 const int64_t n = valid_rows(*weights[which], g);
                 float* first = outs[which]->row(t) + g * kGroupRows;
                 for (int m = 0; m < tile; ++m) {
                     float* to = first + m * outs[which]->cols;
                     copy_rows(to, out + m * kGroupRows, n);
                     if (biases[which] != nullptr)
                         table.add(to, biases[which]->data() + g * kGroupRows, n);
                 }
                 if (more) more->raise(which, g, t, tile, first, outs[which]->cols);
             },
             pointer(more));
}

void project_add(const Tensor& a, const Weight& weight, const Tensor* bias, int64_t count,
                 Tensor& x, const Added* added) {
    check_projection(a, nullptr, count, weight);
    check_bias(bias, weight);
    require(x.rows >= count && x.cols == weight.rows, "project_add: output shape differs");
    const KernelTable& table = kernels();
    const std::vector<const Weight*> weights{&weight};
    std::optional<Additions> more;
    if (added) more.emplace(*added, a, nullptr, count, weights);
    const Activations acts(a, nullptr, count, nullptr, weights, pointer(more));
    multiply(acts, weights, false,
             [&](int, int64_t g, int64_t t, int tile, const float* out, const float*) {
                 const int64_t n = valid_rows(weight, g);
                 for (int m = 0; m < tile; ++m) {
                     float* to = x.row(t + m) + g * kGroupRows;
                     table.add(to, out + m * kGroupRows, n);
                     if (bias != nullptr) table.add(to, bias->data() + g * kGroupRows, n);
                 }
                 if (more) more->raise(0, g, t, tile, x.row(t) + g * kGroupRows, x.cols);
                 // What the next tile is added to comes in from memory while that tile is computed.
                 for (int64_t m = t + tile; m < std::min(count, t + 2 * tile); ++m)
                     __builtin_prefetch(x.row(m) + g * kGroupRows, 1, 2);
             },
             pointer(more));
}

void gate_up(const Tensor& x, const Norm* norm, const Weight& gate, const Weight& up,
             int64_t count, Tensor& out, const Gating& gating, const Added* added) {
    check_projection(x, norm, count, gate);
    check_projection(x, norm, count, up);
    check_gating(gating);
    require(gate.rows == up.rows && out.rows >= count && out.cols == gate.rows,
            "gate_up: gate, up and output widths differ");
    const KernelTable& table = kernels();
    const std::vector<const Weight*> weights{&gate, &up};
    std::optional<Additions> more;
    if (added) more.emplace(*added, x, norm, count, weights);
    const Activations acts(x, nullptr, count, norm, weights, pointer(more));
    multiply(acts, weights, true,
             [&](int, int64_t g, int64_t t, int tile, float* first, float* second) {
                 if (more) {
                     more->raise(0, g, t, tile, first, kGroupRows);
                     more->raise(1, g, t, tile, second, kGroupRows);
                 }
                 alignas(64) float opened[kGateCount];
                 open_gates(table, gating, first, second, tile * kGroupRows, opened);
                 for (int m = 0; m < tile; ++m)
                     copy_rows(out.row(t + m) + g * kGroupRows, opened + m * kGroupRows,
                               valid_rows(gate, g));
             },
             pointer(more));
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

void head(const Tensor& x, const Norm& norm, const Weight& weight, const Step& step,
          Tensor& logits) {
    const auto count = static_cast<int64_t>(step.logit_rows.size());
    check_projection(x, &norm, 1, weight);
    require(step.count() <= x.rows, "head: more tokens than rows");
    require(count >= 1 && logits.rows >= count && logits.cols == weight.rows,
            "head: output shape differs from rows wanted and vocabulary");
    for (const int32_t row : step.logit_rows)
        require(row >= 0 && row < step.count(), "head: row outside the step");
    const std::vector<const Weight*> weights{&weight};
    const Activations acts(x, step.logit_rows.data(), count, &norm, weights);
    multiply(acts, weights, false,
             [&](int, int64_t g, int64_t t, int tile, const float* out, const float*) {
                 for (int m = 0; m < tile; ++m)
                     copy_rows(logits.row(t + m) + g * kGroupRows, out + m * kGroupRows,
                               valid_rows(weight, g));
             });
}

}  // namespace freehold
