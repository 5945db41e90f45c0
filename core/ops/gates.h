// Room: core/ops. Rows of gates: what opens a gated MLP, alone or among experts.
#pragma once
#include <algorithm>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/types.h"

namespace freehold {

constexpr int kGateCount = kMaxTile * kGroupRows;

// out = opened gate * up, for `count` numbers, at most kGateCount, that lie in a row.
inline void open_gates(const KernelTable& table, const Gating& how, const float* gate,
                       const float* up, int64_t count, float* out) {
    if (how.kind == Gate::kSilu) return table.silu_multiply(gate, up, count, out);
    alignas(64) float given[kGateCount] = {}, raised[kGateCount];
    if (how.kind == Gate::kGeluTanh) {
        std::copy_n(gate, count, given);
        const auto rows = static_cast<int>((count + kGroupRows - 1) / kGroupRows);
        table.settle(given, rows, nullptr, Activation::kGeluTanh, false, given, kGroupRows,
                     kGroupRows);
        for (int64_t i = 0; i < count; ++i) out[i] = given[i] * up[i];
        return;
    }
    for (int64_t i = 0; i < count; ++i) {
        given[i] = std::min(gate[i], how.limit) * how.slope;
        raised[i] = (std::clamp(up[i], -how.limit, how.limit) + 1.0f) / how.slope;
    }
    table.silu_multiply(given, raised, count, out);  // g sigmoid(slope g) = silu(slope g) / slope
}

inline void check_gating(const Gating& how) {
    require(how.kind != Gate::kClamped || (how.slope > 0.0f && how.limit > 0.0f),
            "gate: a clamped gate needs a slope and a limit");
}

}  // namespace freehold
