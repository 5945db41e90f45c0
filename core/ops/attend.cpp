// Room: core/ops. Rotation, KV writes and attention over pages.
//
// A page holds 64 tokens of every layer; per layer and KV head first the keys (A, P), then the
// values (P, A padded to 16), in float16 or as int8 with scales. The softmax runs over segments of four pages, each
// complete in itself and folded into the row's state in order: the result depends on the
// position alone, not on how the prompt was cut or the work was split.
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
    int group, width, padded;
    float scale;
    int32_t window;  // 0: none
    std::vector<std::vector<const uint16_t*>> keys, values;  // per sequence and KV head

    PageView view(const Unit& unit, int kv_heads) const {
        const size_t at = static_cast<size_t>(unit.sequence) * kv_heads + unit.kv_head;
        return {keys[at].data(), values[at].data(), static_cast<int>(keys[at].size()), width,
                padded, scale};
    }
    QueryRow row(const Unit& unit, int index) const {
        const int32_t token = unit.token + index / group;
        const int64_t column = static_cast<int64_t>(unit.kv_head * group + index % group) * width;
        const int32_t position = step.positions[token];
        return {q.row(token) + column, out.row(token) + column, position + 1,
                first_key(position, window)};
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
                         job.width, job.row(unit, i).out);
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
        job.table.finish(states[into], values + into * job.padded, job.width,
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

void rotate_write(Tensor& q, Tensor& k, const Tensor& v, const Rotation* rotation,
                  const Step& step, KvPool& kv, int layer) {
    const int64_t count = step.count();
    const int width = kv.head_width;
    require(layer >= 0 && layer < kv.layers, "rotate_write: layer outside the pool");
    require(q.rows >= count && k.rows >= count && v.rows >= count, "rotate_write: too few rows");
    require(q.cols % width == 0 && k.cols == static_cast<int64_t>(kv.kv_heads) * width &&
                v.cols == k.cols, "rotate_write: head widths differ from the pool's");
    require(rotation == nullptr ||
                (2 * rotation->half <= width &&
                 rotation->cosine.size() == static_cast<size_t>(count) * rotation->half),
            "rotate_write: rotation of another step");
    step.check(kv);
    const KernelTable& table = kernels();
    const PageKernels& page_kernels = table.pages[kv.bits == 8];
    parallel((count + 15) / 16, [&](int64_t item, int) {
        const int64_t end = std::min<int64_t>(count, item * 16 + 16);
        for (int64_t t = item * 16; t < end; ++t) {
            if (rotation != nullptr) {
                const float* cosine = rotation->cosine.data() + t * rotation->half;
                const float* sine = rotation->sine.data() + t * rotation->half;
                for (int64_t h = 0; h < q.cols; h += width)
                    table.rotate(q.row(t) + h, cosine, sine, rotation->half);
                for (int64_t h = 0; h < k.cols; h += width)
                    table.rotate(k.row(t) + h, cosine, sine, rotation->half);
            }
            const int32_t position = step.positions[t];
            const int32_t page = step.pages[step.sequence[t]][position / kPageTokens];
            for (int g = 0; g < kv.kv_heads; ++g) {
                const int64_t column = static_cast<int64_t>(g) * width;
                page_kernels.store_key(kv.keys(layer, page, g), position % kPageTokens,
                                       k.row(t) + column, width, kv.head_padded);
                page_kernels.store_value(kv.values(layer, page, g), position % kPageTokens,
                                         v.row(t) + column, width, kv.head_padded);
            }
        }
    });
}

void attend(const Tensor& q, const KvPool& kv, int layer, const Step& step, float scale,
            Tensor& out, int32_t window) {
    const int heads = static_cast<int>(q.cols / kv.head_width);
    require(layer >= 0 && layer < kv.layers, "attend: layer outside the pool");
    require(q.cols % kv.head_width == 0 && heads >= 1 && heads % kv.kv_heads == 0,
            "attend: query heads must be a multiple of KV heads");
    require(q.rows >= step.count() && out.rows >= step.count() && out.cols == q.cols,
            "attend: output shape differs from the query's");
    require(window >= 0, "attend: a negative window");
    step.check(kv);
    Attention job{q, step, out, kernels(), kernels().pages[kv.bits == 8], heads / kv.kv_heads,
                  kv.head_width, kv.head_padded, scale, window, {}, {}};
    for (const auto& pages : step.pages)
        for (int g = 0; g < kv.kv_heads; ++g) {
            auto& keys = job.keys.emplace_back();
            auto& values = job.values.emplace_back();
            for (const int32_t page : pages) {
                keys.push_back(kv.keys(layer, page, g));
                values.push_back(kv.values(layer, page, g));
            }
        }
    const Plan plan = make_plan(step, kv.kv_heads, job.group, window);
    static thread_local std::vector<RowState> states;
    static thread_local std::vector<float> values;
    states.resize(static_cast<size_t>(plan.slots));
    values.resize(static_cast<size_t>(plan.slots) * kv.head_padded);
    RowState* all_states = states.data();  // the caller's own, not each worker's
    float* all_values = values.data();
    parallel(static_cast<int64_t>(plan.units.size()), [&](int64_t item, int) {
        static thread_local UnitScratch own;
        const Unit& unit = plan.units[static_cast<size_t>(item)];
        const PageView view = job.view(unit, kv.kv_heads);
        if (unit.segment < 0) attend_all(job, view, unit, own);
        else attend_one(job, view, unit, all_states, all_values);
    });
    for (size_t i = 0; i < plan.units.size(); ++i)
        if (plan.units[i].segment >= 0 &&
            plan.units[i].segment == job.first_segment(plan.units[i].token))
            fold(job, plan, i, all_states, all_values);
}

}  // namespace freehold
