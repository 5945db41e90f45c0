// Room: core/ops. Rotation, KV writes and attention over pages.
//
// A page holds 64 tokens of every layer; per layer and KV head first the keys (A, P), then the
// values (P, A_v), in float16 or as int8 with scales; widths are padded to 16. A latent layer has
// one row a token instead, (P, A). The softmax runs over segments of four pages, each complete in
// itself and folded into the row's state in order: the result depends on the position alone, not
// on how the prompt was cut or the work was split.
#include <algorithm>
#include <cmath>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

constexpr int kUnitTokens = 32;   // queries of one work item in a prompt
constexpr int kUnitRows = 256;    // their heads, where all heads look at the same row
constexpr int kSplitTokens = 4;   // sequences with fewer new tokens split over segments instead

struct Unit {
    int sequence, group;
    int32_t token, tokens;   // queries [token, token + tokens)
    int segment;             // -1: all of them, in order
    int64_t slot;            // where a single segment's state goes
};

struct Plan {
    std::vector<Unit> units;
    int64_t slots = 0;
};

int segments_of(int32_t position) { return position / kSegmentTokens + 1; }

// The first key that a query may see.
int32_t first_key(int32_t position, const AttendRule& rule) {
    const int32_t seen = rule.window > 0 && position >= rule.window ? position - rule.window + 1 : 0;
    return rule.chunk > 0 ? std::max(seen, position / rule.chunk * rule.chunk) : seen;
}

// One call of the op.
struct Job {
    const Tensor& q;
    const Step& step;
    const AttendRule& rule;
    Tensor& out;
    const KernelTable& table;
    const PageKernels& pages;
    const KvPool::Layer& layer;
    int groups, group;  // runs of query heads that share keys, and heads of one
    int padded;
    std::vector<const uint16_t*> keys, values;  // per sequence, KV head and page
    std::vector<size_t> starts;                 // of each sequence's

    size_t pages_of(int sequence) const { return step.pages[sequence].size(); }
    size_t first_page(const Unit& unit) const {
        return starts[unit.sequence] + (layer.latent ? 0 : unit.group) * pages_of(unit.sequence);
    }
    const uint16_t* first_keys(const Unit& unit, int segment) const {
        return keys[first_page(unit) + static_cast<size_t>(segment) * kSegmentPages];
    }
    // What a unit looks at; `after` is looked at when one of its segments is done.
    PageView view(const Unit& unit, const uint16_t* after) const {
        const size_t at = first_page(unit);
        return {&keys[at], &values[at], after,      layer.key_width, layer.key_padded,
                padded,    rule.scale,  rule.softcap};
    }
    QueryRow row(const Unit& unit, int index) const {
        const int32_t token = unit.token + index / group;
        const int64_t at = head(unit, index);
        const int32_t position = step.positions[token];
        return {q.row(token) + at * layer.key_width, out.row(token) + at * layer.value_width,
                position + 1, first_key(position, rule)};
    }
    int64_t head(const Unit& unit, int index) const {
        return static_cast<int64_t>(unit.group) * group + index % group;
    }
    float sink(const Unit& unit, int index) const {
        return rule.sinks != nullptr ? rule.sinks->data()[head(unit, index)] : -INFINITY;
    }
    int first_segment(int32_t token) const {
        return first_key(step.positions[token], rule) / kSegmentTokens;
    }
    int segments(int32_t token) const {
        return segments_of(step.positions[token]) - first_segment(token);
    }
    // Floats that an unpacked page takes.
    size_t scratch() const {
        return layer.latent ? static_cast<size_t>(layer.key_padded) * kPageTokens : 0;
    }
};

// Queries of one work item in a prompt; how many changes no result.
int32_t unit_tokens(const Job& job, int32_t tokens) {
    if (!job.layer.latent) return kUnitTokens;
    const int32_t fair = tokens / (4 * thread_count()) + 1;
    return std::clamp(fair, 1, std::max(1, kUnitRows / job.group));
}

Plan make_plan(const Job& job) {
    Plan plan;
    const Step& step = job.step;
    for (size_t s = 0; s + 1 < step.offsets.size(); ++s) {
        const int32_t first = step.offsets[s], last = step.offsets[s + 1];
        const int32_t unit = unit_tokens(job, last - first);
        for (int g = 0; g < job.groups; ++g) {
            const int sequence = static_cast<int>(s);
            if (last - first >= kSplitTokens) {
                // Late queries see more keys: start with them so that the tail is short.
                for (int32_t t = first + (last - first - 1) / unit * unit; t >= first; t -= unit)
                    plan.units.push_back({sequence, g, t, std::min(unit, last - t), -1, 0});
                continue;
            }
            for (int32_t t = first; t < last; ++t)
                for (int segment = job.first_segment(t);
                     segment < segments_of(step.positions[t]); ++segment) {
                    plan.units.push_back({sequence, g, t, 1, segment, plan.slots});
                    plan.slots += job.group;
                }
        }
    }
    return plan;
}

struct UnitScratch {
    std::vector<RowState> states;
    std::vector<float> values, page;
};

// All segments of a unit's rows, a tile of rows at a time within each segment.
void attend_all(const Job& job, const Unit& unit, UnitScratch& own) {
    const int count = unit.tokens * job.group, tile = job.pages.rows;
    own.states.resize(count);
    own.values.resize(static_cast<size_t>(count + tile) * job.padded);
    float* fresh = own.values.data() + static_cast<size_t>(count) * job.padded;
    const int last = segments_of(job.step.positions[unit.token + unit.tokens - 1]);
    QueryRow rows[kLatentRows];
    RowState states[kLatentRows];
    const auto looks_at = [](const QueryRow& row, int segment) {
        return row.keys > segment * kSegmentTokens && row.first < (segment + 1) * kSegmentTokens;
    };
    PageView view = job.view(unit, nullptr);
    for (int segment = job.first_segment(unit.token); segment < last; ++segment)
        for (int first = 0; first < count; first += tile) {
            const int n = std::min(tile, count - first);
            const bool next = first + n == count && segment + 1 < last;
            view.after = job.first_keys(unit, segment + next);
            for (int r = 0; r < n; ++r) rows[r] = job.row(unit, first + r);
            // The last row of a tile sees the latest keys, the first one the earliest.
            if (rows[n - 1].keys <= segment * kSegmentTokens ||
                rows[0].first >= (segment + 1) * kSegmentTokens)
                continue;
            job.pages.attend_segment(view, segment, rows, n, states, fresh, own.page.data());
            for (int r = 0; r < n; ++r) {
                if (!looks_at(rows[r], segment)) continue;
                float* values = own.values.data() + static_cast<size_t>(first + r) * job.padded;
                const float* more = fresh + static_cast<size_t>(r) * job.padded;
                if (segment == rows[r].first / kSegmentTokens) {
                    own.states[first + r] = states[r];
                    std::copy(more, more + job.padded, values);
                } else {
                    job.table.merge(own.states[first + r], values, states[r], more, job.padded);
                }
            }
        }
    for (int i = 0; i < count; ++i)
        job.table.finish(own.states[i], job.sink(unit, i),
                         own.values.data() + static_cast<size_t>(i) * job.padded,
                         job.layer.value_width, job.row(unit, i).out);
}

// One segment of one token's rows, left in its slots.
void attend_one(const Job& job, const PageView& view, const Unit& unit, RowState* states,
                float* values, float* page) {
    QueryRow rows[kLatentRows];
    for (int first = 0; first < job.group; first += job.pages.rows) {
        const int n = std::min(job.pages.rows, job.group - first);
        for (int r = 0; r < n; ++r) rows[r] = job.row(unit, first + r);
        const int64_t slot = unit.slot + first;
        job.pages.attend_segment(view, unit.segment, rows, n, states + slot,
                                 values + slot * job.padded, page);
    }
}

// Folds a token's segments in order; `unit` is its first one.
void fold(const Job& job, const Unit& unit, RowState* states, float* values) {
    const int segments = job.segments(unit.token);
    for (int r = 0; r < job.group; ++r) {
        const int64_t into = unit.slot + r;
        for (int s = 1; s < segments; ++s) {
            const int64_t from = into + static_cast<int64_t>(s) * job.group;
            job.table.merge(states[into], values + into * job.padded, states[from],
                            values + from * job.padded, job.padded);
        }
        job.table.finish(states[into], job.sink(unit, r), values + into * job.padded,
                         job.layer.value_width, job.row(unit, r).out);
    }
}

}  // namespace

void make_rotation(const Step& step, std::span<const float> frequencies, float scale,
                   Rotation& out) {
    const auto half = static_cast<int>(frequencies.size());
    require(half >= 1, "rotation: no frequencies");
    out.half = half;
    out.cosine.resize(step.positions.size() * half);
    out.sine.resize(out.cosine.size());
    parallel((step.count() + 15) / 16, [&](int64_t item, int) {
        const int64_t end = std::min<int64_t>(step.count(), item * 16 + 16);
        for (int64_t t = item * 16; t < end; ++t)
            for (int i = 0; i < half; ++i) {
                // The product is rounded to float32 as in the reference, the rest is exact.
                const double angle = static_cast<float>(step.positions[t]) * frequencies[i];
                out.cosine[t * half + i] = static_cast<float>(std::cos(angle)) * scale;
                out.sine[t * half + i] = static_cast<float>(std::sin(angle)) * scale;
            }
    });
}

namespace {

void check_rotate_write(const Tensor& q, const Tensor* k, const Tensor* v,
                        const Rotation* rotation, int64_t count, const KvPool::Layer& layer,
                        int first) {
    const int64_t width = layer.key_width;
    require(q.rows >= count && q.cols % width == 0,
            "rotate_write: the query's rows or head width differ from the step's and the layer's");
    require(k == nullptr || (k->rows >= count && k->cols == layer.heads * width),
            "rotate_write: the keys' shape differs from the step's and the layer's");
    if (k == nullptr || layer.latent)
        require(v == nullptr, "rotate_write: values without keys, or beside a latent layer's");
    else
        require(v != nullptr && v->rows >= count &&
                    v->cols == static_cast<int64_t>(layer.heads) * layer.value_width,
                "rotate_write: the values' shape differs from the step's and the layer's");
    require(first >= 0 && (rotation == nullptr ||
                           (2 * static_cast<int64_t>(rotation->half) + first <= width &&
                            rotation->cosine.size() == static_cast<size_t>(count) * rotation->half)),
            "rotate_write: rotation of another step, or wider than a head");
}

}  // namespace

void rotate_write(Tensor& q, Tensor* k, const Tensor* v, const Rotation* rotation,
                  const Step& step, KvPool& kv, int layer_index, int first) {
    const int64_t count = step.count();
    const KvPool::Layer& layer = kv.layer(layer_index);
    check_rotate_write(q, k, v, rotation, count, layer, first);
    step.check(kv);
    const KernelTable& table = kernels();
    const PageKernels& kernel = table.pages[(kv.bits == 8) + 2 * layer.latent];
    const auto turn = [&](Tensor& x, int64_t t) {
        const float* cosine = rotation->cosine.data() + t * rotation->half;
        const float* sine = rotation->sine.data() + t * rotation->half;
        for (int64_t h = 0; h < x.cols; h += layer.key_width)
            table.rotate(x.row(t) + h + first, cosine, sine, rotation->half);
    };
    const auto write = [&](int64_t t) {
        const int32_t position = step.positions[t], slot = position % kPageTokens;
        const int32_t page = step.pages[step.sequence[t]][position / kPageTokens];
        for (int64_t g = 0; g < layer.heads; ++g) {
            uint16_t* keys = kv.keys(layer, page, static_cast<int>(g));
            const float* key = k->row(t) + g * layer.key_width;
            if (layer.latent) {
                kernel.store_value(keys, slot, key, layer.key_width, layer.key_padded);
                continue;
            }
            kernel.store_key(keys, slot, key, layer.key_width, layer.key_padded);
            kernel.store_value(kv.values(layer, page, static_cast<int>(g)), slot,
                               v->row(t) + g * layer.value_width, layer.value_width,
                               layer.value_padded);
        }
    };
    parallel((count + 3) / 4, [&](int64_t item, int) {
        const int64_t end = std::min<int64_t>(count, item * 4 + 4);
        for (int64_t t = item * 4; t < end; ++t) {
            if (rotation != nullptr) {
                turn(q, t);
                if (k != nullptr) turn(*k, t);
            }
            if (k != nullptr) write(t);
        }
    });
}

namespace {

void check_rule(const AttendRule& rule, int64_t heads) {
    require(rule.window >= 0 && rule.chunk >= 0, "attend: a negative window or chunk");
    require(rule.scale > 0.0f && std::isfinite(rule.scale), "attend: scale out of range");
    require(rule.softcap >= 0.0f && std::isfinite(rule.softcap), "attend: softcap out of range");
    require(rule.sinks == nullptr || (rule.sinks->rows == 1 && rule.sinks->cols == heads),
            "attend: one sink is needed for each query head");
}

// Heads that look at the same row are split so that threads may share a token's work.
int groups_of(const KvPool::Layer& layer, int64_t heads) {
    if (!layer.latent) return layer.heads;
    return heads % kLatentRows == 0 ? static_cast<int>(heads / kLatentRows) : 1;
}

}  // namespace

void attend(const Tensor& q, const KvPool& kv, int layer_index, const Step& step,
            const AttendRule& rule, Tensor& out) {
    const KvPool::Layer& layer = kv.layer(layer_index);
    const int64_t heads = q.cols / layer.key_width;
    require(q.cols % layer.key_width == 0 && heads >= 1 && heads % layer.heads == 0,
            "attend: query heads must be a multiple of KV heads");
    require(q.rows >= step.count() && out.rows >= step.count() &&
                out.cols == heads * layer.value_width,
            "attend: output shape differs from the query's and the layer's");
    check_rule(rule, heads);
    step.check(kv);
    const int groups = groups_of(layer, heads);
    const KernelTable& table = kernels();
    Job job{q,     step,   rule, out, table, table.pages[(kv.bits == 8) + 2 * layer.latent],
            layer, groups, static_cast<int>(heads / groups), layer.value_padded, {}, {}, {}};
    for (const auto& pages : step.pages) {
        job.starts.push_back(job.keys.size());
        for (int g = 0; g < layer.heads; ++g)
            for (const int32_t page : pages) {
                job.keys.push_back(kv.keys(layer, page, g));
                job.values.push_back(kv.values(layer, page, g));
            }
    }
    const Plan plan = make_plan(job);
    static thread_local std::vector<RowState> states;
    static thread_local std::vector<float> values;
    states.resize(static_cast<size_t>(plan.slots));
    values.resize(static_cast<size_t>(plan.slots) * job.padded);
    RowState* all_states = states.data();  // the caller's own, not each worker's
    float* all_values = values.data();
    parallel(static_cast<int64_t>(plan.units.size()), [&](int64_t item, int) {
        static thread_local UnitScratch own;
        own.page.resize(std::max(own.page.size(), job.scratch()));
        const Unit& unit = plan.units[static_cast<size_t>(item)];
        if (unit.segment < 0) {
            attend_all(job, unit, own);
            return;
        }
        const bool last = static_cast<size_t>(item) + 1 == plan.units.size();
        const Unit& then = last ? unit : *(&unit + 1);
        const uint16_t* after = job.first_keys(then, std::max(0, then.segment));
        attend_one(job, job.view(unit, after), unit, all_states, all_values, own.page.data());
        if (job.segments(unit.token) == 1) fold(job, unit, all_states, all_values);
    });
    std::vector<const Unit*> split;  // the first ones of tokens that have several
    for (const Unit& unit : plan.units)
        if (unit.segment >= 0 && unit.segment == job.first_segment(unit.token) &&
            job.segments(unit.token) > 1)
            split.push_back(&unit);
    parallel(static_cast<int64_t>(split.size()),
             [&](int64_t item, int) { fold(job, *split[item], all_states, all_values); });
}

}  // namespace freehold
