// Room: core/ops. Mixtures of experts: choosing them, and running only those chosen. A step's
// tokens are sorted by expert, so that an expert's weights are read once for all of its tokens.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../quants/traits.h"
#include "freehold/threads.h"
#include "gates.h"
#include "project.h"

namespace freehold {
namespace {

constexpr int64_t kActBudget = 384 << 10;     // activations of one pass stay in the L2 cache
constexpr int64_t kWeightBudget = 256 << 10;  // so do the groups they meet
constexpr int64_t kItemBytes = 24 << 10;      // the least weight worth handing to a thread

// Grows and is reused; one a calling thread, so two callers never share it.
float* scratch(int which, int64_t count) {
    static thread_local Memory buffers[3];
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    if (buffers[which].size() < bytes) buffers[which] = Memory(bytes + bytes / 4);
    return reinterpret_cast<float*>(buffers[which].data());
}

// Norms of `count` rows, (T, D).
float* normed_rows(const Tensor& x, const Norm& norm, int64_t count) {
    const KernelTable& table = kernels();
    float* normed = scratch(0, count * x.cols);
    parallel((count + 15) / 16, [&](int64_t item, int) {
        for (int64_t t = item * 16; t < std::min(count, item * 16 + 16); ++t)
            table.rms_norm(x.row(t), norm.weight.data(), norm.eps, x.cols, normed + t * x.cols);
    });
    return normed;
}

// The largest of `values` not `taken`, the earlier of equals; -1 when all are. NaN never wins
// over a number, so that nothing depends on how a sort treats it.
int best_of(const std::vector<double>& values, const std::vector<char>& taken, int first,
            int last) {
    int best = -1;
    for (int i = first; i < last; ++i)
        if (!taken[i] && (best < 0 || values[i] > values[best] || std::isnan(values[best])))
            best = i;
    return best;
}

// Buffers of one token's choice.
struct Choice {
    explicit Choice(int experts) : scores(experts), ranked(experts), taken(experts) {}
    std::vector<double> scores, ranked, group_scores;  // ranked: with the bias
    std::vector<char> taken, group_taken;
};

void score(const float* logits, int experts, Scoring scoring, std::vector<double>& out) {
    if (scoring == Scoring::kSigmoid) {
        for (int e = 0; e < experts; ++e)
            out[e] = 1.0 / (1.0 + std::exp(-static_cast<double>(logits[e])));
        return;
    }
    const double largest = *std::max_element(logits, logits + experts);
    double sum = 0.0;
    for (int e = 0; e < experts; ++e) sum += out[e] = std::exp(logits[e] - largest);
    for (int e = 0; e < experts; ++e) out[e] /= sum;
}

// Marks the experts of groups that lose as taken.
void close_groups(const RouterRule& rule, int experts, Choice& c) {
    const int size = experts / rule.groups;
    c.group_scores.assign(rule.groups, 0.0);
    c.group_taken.assign(rule.groups, 0);
    for (int g = 0; g < rule.groups; ++g) {
        for (int i = 0; i < rule.group_top; ++i) {
            const int best = best_of(c.ranked, c.taken, g * size, (g + 1) * size);
            c.group_scores[g] += c.ranked[best];
            c.taken[best] = 1;
        }
    }
    for (int i = 0; i < rule.groups_kept; ++i)
        c.group_taken[best_of(c.group_scores, c.group_taken, 0, rule.groups)] = 1;
    for (int e = 0; e < experts; ++e) c.taken[e] = !c.group_taken[e / size];
}

const float* row_or_null(const Tensor* tensor) { return tensor ? tensor->data() : nullptr; }

void choose(const float* logits, const RouterTerms& terms, const RouterRule& rule, int experts,
            Choice& c, int32_t* ids, float* weights) {
    const float *bias = row_or_null(terms.bias), *factors = row_or_null(terms.factors);
    score(logits, experts, rule.scoring, c.scores);
    for (int e = 0; e < experts; ++e) c.ranked[e] = c.scores[e] + (bias ? bias[e] : 0.0f);
    std::fill(c.taken.begin(), c.taken.end(), 0);
    if (rule.groups > 1) close_groups(rule, experts, c);
    double sum = rule.epsilon;
    for (int i = 0; i < rule.chosen; ++i) {
        ids[i] = best_of(c.ranked, c.taken, 0, experts);
        c.taken[ids[i]] = 1;
        sum += c.scores[ids[i]];
    }
    const double factor = rule.renormalise ? rule.scale / sum : rule.scale;
    for (int i = 0; i < rule.chosen; ++i) {
        const double own = factors ? static_cast<double>(factors[ids[i]]) : 1.0;
        weights[i] = static_cast<float>(c.scores[ids[i]] * factor * own);
    }
}

void check_rule(const RouterRule& rule, int64_t experts) {
    require(rule.chosen >= 1 && rule.chosen <= experts, "route: more experts wanted than there are");
    require(rule.groups >= 1 && experts % rule.groups == 0 && rule.groups_kept >= 1 &&
                rule.groups_kept <= rule.groups && rule.group_top >= 1 &&
                rule.group_top <= experts / rule.groups,
            "route: groups do not divide the experts");
    require(rule.chosen <= rule.groups_kept * (experts / rule.groups),
            "route: the groups kept have too few experts");
    require(rule.epsilon >= 0.0 && std::isfinite(rule.scale), "route: epsilon or scale out of range");
}

}  // namespace

void route(const Tensor& x, const Norm& norm, const Weight& weight, const RouterTerms& terms,
           const RouterRule& rule, int64_t count, Routing& out) {
    check_projection(x, &norm, count, weight);
    for (const Tensor* term : {terms.bias, terms.offsets, terms.factors}) check_bias(term, weight);
    check_rule(rule, weight.rows);
    const auto experts = static_cast<int>(weight.rows);
    float* logits = scratch(1, count * experts);  // (T, X)
    const std::vector<const Weight*> weights{&weight};
    const Activations acts(x, nullptr, count, &norm, weights);
    const KernelTable& table = kernels();
    multiply(acts, weights, false,
             [&](int, int64_t g, int64_t t, int tile, const float* result, const float*) {
                 const int64_t n = valid_rows(weight, g);
                 for (int m = 0; m < tile; ++m) {
                     float* to = logits + (t + m) * experts + g * kGroupRows;
                     std::copy_n(result + m * kGroupRows, n, to);
                     if (terms.offsets) table.add(to, terms.offsets->data() + g * kGroupRows, n);
                 }
             });
    out.count = count;
    out.chosen = rule.chosen;
    out.experts = experts;
    out.ids.resize(static_cast<size_t>(count * rule.chosen));
    out.weights.resize(out.ids.size());
    parallel((count + 15) / 16, [&](int64_t item, int) {
        Choice choice(experts);
        for (int64_t t = item * 16; t < std::min(count, item * 16 + 16); ++t)
            choose(logits + t * experts, terms, rule, experts, choice, out.ids.data() + t * rule.chosen, out.weights.data() + t * rule.chosen);
    });
}

namespace {

// The tokens of a step, sorted by expert: each pair of a token and one of its experts has a place.
struct Sorted {
    struct Expert {
        int id;
        int64_t first_tile, last_tile;
    };
    std::vector<Expert> experts;  // those with a token, ascending
    std::vector<Tile> tiles;      // of places; none spans two experts
    std::vector<int32_t> tokens;  // of each place
    std::vector<float> weights;
};

Sorted sort_by_expert(const Routing& routing, const KernelTable& table) {
    Sorted s;
    std::vector<int64_t> starts(static_cast<size_t>(routing.experts) + 1);
    for (const int32_t id : routing.ids) ++starts[id + 1];
    for (int e = 0; e < routing.experts; ++e) {
        const int64_t count = starts[e + 1];
        starts[e + 1] += starts[e];
        if (count == 0) continue;
        const auto first_tile = static_cast<int64_t>(s.tiles.size());
        append_tiles(table, starts[e], count, s.tiles);
        s.experts.push_back({e, first_tile, static_cast<int64_t>(s.tiles.size())});
    }
    s.tokens.resize(routing.ids.size());
    s.weights.resize(routing.ids.size());
    for (size_t i = 0; i < routing.ids.size(); ++i) {
        const int64_t place = starts[routing.ids[i]]++;
        s.tokens[place] = static_cast<int32_t>(i / routing.chosen);
        s.weights[place] = routing.weights[i];
    }
    return s;
}

// What becomes of a tile of an expert's gate or up before they meet: input weights, biases.
void finish_inputs(const KernelTable& table, const Sorted& s, const Tile& at, const float* bias,
                   bool weigh, float* tile) {
    for (int m = 0; m < at.size; ++m) {
        float* row = tile + m * kGroupRows;
        if (weigh)
            for (int i = 0; i < kGroupRows; ++i) row[i] *= s.weights[at.first + m];
        if (bias != nullptr) table.add(row, bias, kGroupRows);
    }
}

// The 16 columns of an expert's bias that a group has; null without one.
const float* bias_of(const Tensor* biases, int expert, int64_t group) {
    return biases ? biases->row(expert) + group * kGroupRows : nullptr;
}

// hidden (places, F) = gate opening up of each place's expert.
void open_experts(const Weight& gate, const Weight& up, const Sorted& s, const Activations& acts,
                  int64_t groups, const ExpertRule& rule, float* hidden) {
    const KernelTable& table = kernels();
    const TileFn gate_fn = table.tile_for(gate.traits->type), up_fn = table.tile_for(up.traits->type);
    const int64_t width = groups * kGroupRows;
    const bool finish = rule.gate_bias || rule.up_bias || rule.weigh_inputs;
    const auto pair_bytes = static_cast<int64_t>(gate.group_bytes + up.group_bytes);
    struct Part {
        const Sorted::Expert* expert;
        int64_t first, last;
    };
    std::vector<Part> parts;
    const bool alone = s.tiles.size() == s.experts.size() && s.tokens.size() == s.tiles.size();
    const int64_t budget = alone ? kItemBytes : kWeightBudget;
    const int64_t chunk = std::clamp<int64_t>(budget / pair_bytes, 1, groups);
    for (const Sorted::Expert& expert : s.experts)
        for (int64_t g = 0; g < groups; g += chunk)
            parts.push_back({&expert, g, std::min(g + chunk, groups)});
    const int64_t pass = std::max<int64_t>(1, kActBudget / (acts.cols() * 2 * kMaxTile));  // tiles
    parallel(static_cast<int64_t>(parts.size()), [&](int64_t item, int) {
        alignas(64) float opened[kMaxTile * kGroupRows], raised[kMaxTile * kGroupRows];
        const auto [expert, first, last] = parts[item];
        const int64_t base = expert->id * groups;
        for (int64_t start = expert->first_tile; start < expert->last_tile; start += pass)
            for (int64_t g = first; g < last; ++g) {
                const uint8_t *gate_group = gate.group(base + g), *up_group = up.group(base + g, 1);
                for (int64_t i = start; i < std::min(start + pass, expert->last_tile); ++i) {
                    const auto [place, size] = s.tiles[i];
                    gate_fn(gate_group, gate.cols, acts.at(gate, place), size, opened, {});
                    up_fn(up_group, up.cols, acts.at(up, place), size, raised, {});
                    if (finish) {
                        finish_inputs(table, s, s.tiles[i], bias_of(rule.gate_bias, expert->id, g),
                                      rule.weigh_inputs, opened);
                        finish_inputs(table, s, s.tiles[i], bias_of(rule.up_bias, expert->id, g),
                                      rule.weigh_inputs, raised);
                    }
                    open_gates(table, rule.gating, opened, raised, size * kGroupRows, opened);
                    for (int m = 0; m < size; ++m)
                        std::copy_n(opened + m * kGroupRows, kGroupRows,
                                    hidden + (place + m) * width + g * kGroupRows);
                }
            }
    });
}

// x += weight * down of each place. An item owns columns of x and takes the experts in order, so a
// token's sum has one order whatever the batch, without a buffer of all results.
void add_experts(const Weight& down, const Sorted& s, const Activations& acts,
                 const ExpertRule& rule, Tensor& x) {
    const KernelTable& table = kernels();
    const TileFn tile_fn = table.tile_for(down.traits->type);
    const int64_t groups = x.cols / kGroupRows;
    const int64_t chunk = std::max<int64_t>(1, groups / (8 * thread_count()));
    parallel((groups + chunk - 1) / chunk, [&](int64_t item, int) {
        alignas(64) float out[kMaxTile * kGroupRows];
        const int64_t last = std::min(groups, (item + 1) * chunk);
        for (const Sorted::Expert& expert : s.experts)
            for (int64_t g = item * chunk; g < last; ++g) {
                const uint8_t* group = down.group(expert.id * groups + g);
                for (int64_t i = expert.first_tile; i < expert.last_tile; ++i) {
                    const auto [place, size] = s.tiles[i];
                    tile_fn(group, down.cols, acts.at(down, place), size, out, {});
                    const float* bias = bias_of(rule.down_bias, expert.id, g);
                    for (int m = 0; m < size; ++m) {
                        float* row = out + m * kGroupRows;
                        if (bias != nullptr) table.add(row, bias, kGroupRows);
                        table.add_scaled(x.row(s.tokens[place + m]) + g * kGroupRows, row,
                                         rule.weigh_inputs ? 1.0f : s.weights[place + m],
                                         kGroupRows);
                    }
                }
            }
    });
}

}  // namespace

namespace {

void check_expert_bias(const Tensor* biases, int64_t experts, int64_t width) {
    require(biases == nullptr || (biases->rows == experts && biases->cols == width),
            "mix_experts: one row of biases is needed for each expert");
}

}  // namespace

void mix_experts(const Tensor& x, const Norm& norm, const Weight& gate, const Weight& up,
                 const Weight& down, const Routing& routing, const ExpertRule& rule, Tensor& out) {
    require(routing.count >= 1 && routing.experts >= 1, "mix_experts: nothing was routed");
    check_projection(x, &norm, routing.count, gate);
    check_projection(x, &norm, routing.count, up);
    const int64_t experts = routing.experts, width = down.cols;
    require(width % kGroupRows == 0 && x.cols % kGroupRows == 0,
            "mix_experts: widths must be multiples of 16");
    require(gate.rows == experts * width && up.rows == gate.rows && down.rows == experts * x.cols,
            "mix_experts: matrices are not stacked for the router's experts");
    require(out.rows >= routing.count && out.cols == x.cols, "mix_experts: output shape differs");
    check_gating(rule.gating);
    check_expert_bias(rule.gate_bias, experts, width);
    check_expert_bias(rule.up_bias, experts, width);
    check_expert_bias(rule.down_bias, experts, x.cols);
    const Sorted sorted = sort_by_expert(routing, kernels());
    const auto places = static_cast<int64_t>(sorted.tokens.size());
    const float* normed = normed_rows(x, norm, routing.count);  // (T, D)
    float* hidden = scratch(2, places * width);                 // (places, F)
    open_experts(gate, up, sorted,
                 Activations(normed, x.cols, x.cols, sorted.tokens.data(), sorted.tiles,
                             {&gate, &up}),
                 width / kGroupRows, rule, hidden);
    add_experts(down, sorted, Activations(hidden, width, width, nullptr, sorted.tiles, {&down}),
                rule, out);
}

void open_rows(const Tensor& gates, int64_t count, Tensor& a) {
    require(count >= 1 && gates.rows >= count && gates.cols == 1 && a.rows >= count,
            "open_rows: one gate is needed for each row");
    parallel((count + 15) / 16, [&](int64_t item, int) {
        for (int64_t t = item * 16; t < std::min(count, item * 16 + 16); ++t) {
            const double gate = static_cast<double>(gates.row(t)[0]);
            const auto factor = static_cast<float>(1.0 / (1.0 + std::exp(-gate)));
            for (float* v = a.row(t); v < a.row(t) + a.cols; ++v) *v *= factor;
        }
    });
}

}  // namespace freehold
