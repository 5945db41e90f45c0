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
constexpr int kSplitTokens = 4;   // sequences with fewer new tokens split over segments instead

struct Unit {
    int sequence, kv_head;
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
int32_t first_key(int32_t position, int32_t window) {
    return window > 0 && position >= window ? position - window + 1 : 0;
}

Plan make_plan(const Step& step, int kv_heads, int group, int32_t window) {
    Plan plan;
    for (size_t s = 0; s + 1 < step.offsets.size(); ++s) {
        const int32_t first = step.offsets[s], last = step.offsets[s + 1];
        for (int g = 0; g < kv_heads; ++g) {
            const int sequence = static_cast<int>(s);
            if (last - first >= kSplitTokens) {
                // Late queries see more keys: start with them so that the tail is short.
                for (int32_t t = first + (last - first - 1) / kUnitTokens * kUnitTokens; t >= first;
                     t -= kUnitTokens)
                    plan.units.push_back({sequence, g, t, std::min(kUnitTokens, last - t), -1, 0});
                continue;
            }
            for (int32_t t = first; t < last; ++t)
                for (int segment = first_key(step.positions[t], window) / kSegmentTokens;
                     segment < segments_of(step.positions[t]); ++segment) {
                    plan.units.push_back({sequence, g, t, 1, segment, plan.slots});
                    plan.slots += group;
                }
        }
    }
    return plan;
}

struct Attention {
    const Tensor& q;
    const Step& step;
    Tensor& out;
    const KernelTable& table;
    const PageKernels& pages;
    const KvPool::Layer& layer;
    int group, padded;
    float scale;
    int32_t window;  // 0: none
    std::vector<std::vector<const uint16_t*>> keys, values;  // per sequence and KV head

    PageView view(const Unit& unit) const {
        const size_t at = static_cast<size_t>(unit.sequence) * layer.heads + unit.kv_head;
        return {keys[at].data(), values[at].data(), static_cast<int>(keys[at].size()),
                layer.key_width, layer.key_padded, padded, scale};
    }
    QueryRow row(const Unit& unit, int index) const {
        const int32_t token = unit.token + index / group;
        const int64_t head = unit.kv_head * group + index % group;
        const int32_t position = step.positions[token];
        return {q.row(token) + head * layer.key_width, out.row(token) + head * layer.value_width,
                position + 1, first_key(position, window)};
    }
    int first_segment(int32_t token) const {
        return first_key(step.positions[token], window) / kSegmentTokens;
    }
};

struct UnitScratch {
    std::vector<RowState> states;
    std::vector<float> values;
};

// All segments of a unit's rows, a tile of rows at a time within each segment.
void attend_all(const Attention& job, const PageView& view, const Unit& unit, UnitScratch& own) {
    const int count = unit.tokens * job.group, tile = job.table.attend_rows;
    own.states.resize(count);
    own.values.resize(static_cast<size_t>(count + tile) * job.padded);
    float* fresh = own.values.data() + static_cast<size_t>(count) * job.padded;
    const int last = segments_of(job.step.positions[unit.token + unit.tokens - 1]);
    QueryRow rows[8];
    RowState states[8];
    const auto looks_at = [](const QueryRow& row, int segment) {
        return row.keys > segment * kSegmentTokens && row.first < (segment + 1) * kSegmentTokens;
    };
    for (int segment = job.first_segment(unit.token); segment < last; ++segment)
        for (int first = 0; first < count; first += tile) {
            const int n = std::min(tile, count - first);
            for (int r = 0; r < n; ++r) rows[r] = job.row(unit, first + r);
            // The last row of a tile sees the latest keys, the first one the earliest.
            if (rows[n - 1].keys <= segment * kSegmentTokens ||
                rows[0].first >= (segment + 1) * kSegmentTokens)
                continue;
            job.pages.attend_segment(view, segment, rows, n, states, fresh);
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
        job.table.finish(own.states[i], own.values.data() + static_cast<size_t>(i) * job.padded,
                         job.layer.value_width, job.row(unit, i).out);
}

// One segment of one token's rows, left in its slots.
void attend_one(const Attention& job, const PageView& view, const Unit& unit, RowState* states,
                float* values) {
    QueryRow rows[8];
    for (int first = 0; first < job.group; first += job.table.attend_rows) {
        const int n = std::min(job.table.attend_rows, job.group - first);
        for (int r = 0; r < n; ++r) rows[r] = job.row(unit, first + r);
        const int64_t slot = unit.slot + first;
        job.pages.attend_segment(view, unit.segment, rows, n, states + slot,
                                 values + slot * job.padded);
    }
}

// Folds a token's segments in order, for the units of its first one.
void fold(const Attention& job, const Plan& plan, size_t index, RowState* states, float* values) {
    const Unit& unit = plan.units[index];
    const int segments = segments_of(job.step.positions[unit.token]) - unit.segment;
    for (int r = 0; r < job.group; ++r) {
        const int64_t into = unit.slot + r;
        for (int s = 1; s < segments; ++s) {
            const int64_t from = into + static_cast<int64_t>(s) * job.group;
            job.table.merge(states[into], values + into * job.padded, states[from],
                            values + from * job.padded, job.padded);
        }
        job.table.finish(states[into], values + into * job.padded, job.layer.value_width,
                         job.row(unit, r).out);
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
    const PageKernels& kernel = table.pages[kv.bits == 8];
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
    parallel((count + 15) / 16, [&](int64_t item, int) {
        const int64_t end = std::min<int64_t>(count, item * 16 + 16);
        for (int64_t t = item * 16; t < end; ++t) {
            if (rotation != nullptr) {
                turn(q, t);
                if (k != nullptr) turn(*k, t);
            }
            if (k != nullptr) write(t);
        }
    });
}

void attend(const Tensor& q, const KvPool& kv, int layer_index, const Step& step, float scale,
            Tensor& out, int32_t window) {
    const KvPool::Layer& layer = kv.layer(layer_index);
    const int64_t heads = q.cols / layer.key_width;
    require(!layer.latent, "attend: the layer is a latent one");
    require(q.cols % layer.key_width == 0 && heads >= 1 && heads % layer.heads == 0,
            "attend: query heads must be a multiple of KV heads");
    require(q.rows >= step.count() && out.rows >= step.count() &&
                out.cols == heads * layer.value_width,
            "attend: output shape differs from the query's and the layer's");
    require(window >= 0, "attend: a negative window");
    step.check(kv);
    Attention job{q, step, out, kernels(), kernels().pages[kv.bits == 8], layer,
                  static_cast<int>(heads / layer.heads), layer.value_padded, scale, window, {}, {}};
    for (const auto& pages : step.pages)
        for (int g = 0; g < layer.heads; ++g) {
            auto& keys = job.keys.emplace_back();
            auto& values = job.values.emplace_back();
            for (const int32_t page : pages) {
                keys.push_back(kv.keys(layer, page, g));
                values.push_back(kv.values(layer, page, g));
            }
        }
    const Plan plan = make_plan(step, layer.heads, job.group, window);
    static thread_local std::vector<RowState> states;
    static thread_local std::vector<float> values;
    states.resize(static_cast<size_t>(plan.slots));
    values.resize(static_cast<size_t>(plan.slots) * job.padded);
    RowState* all_states = states.data();  // the caller's own, not each worker's
    float* all_values = values.data();
    parallel(static_cast<int64_t>(plan.units.size()), [&](int64_t item, int) {
        static thread_local UnitScratch own;
        const Unit& unit = plan.units[static_cast<size_t>(item)];
        const PageView view = job.view(unit);
        if (unit.segment < 0) attend_all(job, view, unit, own);
        else attend_one(job, view, unit, all_states, all_values);
    });
    for (size_t i = 0; i < plan.units.size(); ++i)
        if (plan.units[i].segment >= 0 &&
            plan.units[i].segment == job.first_segment(plan.units[i].token))
            fold(job, plan, i, all_states, all_values);
}

}  // namespace freehold
