// Room: core/ops. Rows of gates: what opens a gated MLP, alone or among experts.
#pragma once
#include <algorithm>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/types.h"

namespace freehold {

// out = opened gate * up for n <= 16 columns of one token. Its own copies: the inputs stay.
inline void open_gate(const KernelTable& table, const Gating& how, const float* gate,
                      const float* up, int64_t n, float* out) {
    if (how.kind == Gate::kSilu) return table.silu_multiply(gate, up, n, out);
    if (how.kind == Gate::kGeluTanh) {
        alignas(64) float given[kGroupRows] = {}, opened[kGroupRows];
        std::copy_n(gate, n, given);
        table.settle(given, 1, nullptr, Activation::kGeluTanh, false, opened, kGroupRows,
                     static_cast<int>(n));
        for (int64_t i = 0; i < n; ++i) out[i] = opened[i] * up[i];
        return;
    }
    alignas(64) float steep[kGroupRows], raised[kGroupRows];
    for (int64_t i = 0; i < n; ++i) {
        steep[i] = std::min(gate[i], how.limit) * how.slope;
        raised[i] = (std::clamp(up[i], -how.limit, how.limit) + 1.0f) / how.slope;
    }
    table.silu_multiply(steep, raised, n, out);  // g sigmoid(slope g) = silu(slope g) / slope
}

inline void check_gating(const Gating& how) {
    require(how.kind != Gate::kClamped || (how.slope > 0.0f && how.limit > 0.0f),
            "gate: a clamped gate needs a slope and a limit");
}

}  // namespace freehold
