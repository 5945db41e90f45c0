// Room: core/ops. What happens to queries and keys between their projection and the rotation:
// norms of heads, and factors that grow with the position.
#include <algorithm>
#include <cmath>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {

void norm_heads(const std::vector<Tensor*>& parts, const std::vector<const Tensor*>& weights,
                float eps, int64_t count) {
    require(!parts.empty() && parts.size() == weights.size(),
            "norm_heads: one weight is needed for each tensor");
    require(count >= 0, "norm_heads: a negative count");
    for (size_t i = 0; i < parts.size(); ++i) {
        require(parts[i]->rows >= count, "norm_heads: too few rows");
        require(weights[i]->rows == 1 && parts[i]->cols % weights[i]->cols == 0,
                "norm_heads: the columns are no multiple of the weight's");
    }
    const KernelTable& table = kernels();
    parallel((count + 7) / 8, [&](int64_t item, int) {
        const int64_t end = std::min<int64_t>(count, item * 8 + 8);
        for (int64_t t = item * 8; t < end; ++t)
            for (size_t i = 0; i < parts.size(); ++i) {
                const int64_t width = weights[i]->cols;
                for (int64_t h = 0; h < parts[i]->cols; h += width) {
                    float* head = parts[i]->row(t) + h;
                    table.rms_norm(head, weights[i]->data(), eps, width, head);
                }
            }
    });
}

void scale_late(Tensor& q, const Step& step, float beta, int32_t trained_tokens,
                int32_t ahead) {
    require(q.rows >= step.count(), "scale_late: too few rows");
    require(trained_tokens >= 1, "scale_late: no trained context");
    require(ahead == 0 || ahead == 1, "scale_late: positions count from 0 or from 1");
    parallel((step.count() + 15) / 16, [&](int64_t item, int) {
        const int64_t end = std::min<int64_t>(step.count(), item * 16 + 16);
        for (int64_t t = item * 16; t < end; ++t) {
            const int32_t times = (step.positions[t] + ahead) / trained_tokens;
            if (times <= 0) continue;
            const auto factor = static_cast<float>(1.0 + beta * std::log1p(static_cast<double>(times)));
            float* row = q.row(t);
            for (int64_t i = 0; i < q.cols; ++i) row[i] *= factor;
        }
    });
}

}  // namespace freehold
