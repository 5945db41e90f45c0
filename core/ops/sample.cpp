// Room: core/ops. Which token comes next, a row of logits at a time, and how far two models differ
// about it.
//
// Tokens are ranked by logit, ties by id. A draw walks down the ranking until the weights passed
// reach `uniform` of their sum. Only as many tokens are sorted as the walk can need.
#include <algorithm>
#include <cmath>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

struct Scratch {
    std::vector<float> weights;
    std::vector<int32_t> ranked;
};

int32_t first_equal(const float* logits, int64_t count, float value) {
    for (int64_t i = 0; i < count; ++i)
        if (logits[i] == value) return static_cast<int32_t>(i);
    return -1;
}

// The tokens of at least `cut` weight, ranked. Masked tokens are never among them.
void rank(const float* logits, int64_t count, float cut, Scratch& own) {
    own.ranked.clear();
    for (int64_t i = 0; i < count; ++i)
        if (own.weights[i] >= cut && logits[i] > -INFINITY)
            own.ranked.push_back(static_cast<int32_t>(i));
    std::sort(own.ranked.begin(), own.ranked.end(), [&](int32_t a, int32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
}

// The drawn token, or -1 when more tokens must be ranked to know it.
int32_t draw_ranked(const Draw& draw, double total, float cut, Scratch& own) {
    auto& ranked = own.ranked;
    const auto weight = [&](size_t at) { return static_cast<double>(own.weights[ranked[at]]); };
    const bool whole = cut == 0.0f;
    bool ends = whole;  // whether `ranked` is all that may be drawn
    if (draw.top_k > 0) {
        const auto most = static_cast<size_t>(draw.top_k);
        if (ranked.size() < most && !whole) return -1;
        if (ranked.size() >= most) ranked.resize(most), ends = true;
        total = 0;
        for (size_t i = 0; i < ranked.size(); ++i) total += weight(i);
    }
    if (draw.top_p < 1.0f) {
        double mass = 0;
        size_t kept = 0;
        while (kept < ranked.size() && mass < draw.top_p * total) mass += weight(kept++);
        if (mass < draw.top_p * total && !ends) return -1;
        ranked.resize(std::max<size_t>(kept, 1)), ends = true;
    }
    if (draw.min_p > 0.0f) {
        size_t kept = 0;
        while (kept < ranked.size() && weight(kept) >= draw.min_p) ++kept;
        if (kept == ranked.size() && !ends) return -1;
        ranked.resize(std::max<size_t>(kept, 1)), ends = true;
    }
    if (ends) {
        total = 0;
        for (size_t i = 0; i < ranked.size(); ++i) total += weight(i);
    }
    double passed = 0;
    const double goal = draw.uniform * total;
    for (size_t i = 0; i < ranked.size(); ++i) {
        passed += weight(i);
        if (passed > goal) return ranked[i];
    }
    return ends ? ranked.back() : -1;
}

int32_t choose(const float* logits, int64_t count, const Draw& draw) {
    static thread_local Scratch own;
    const KernelTable& table = kernels();
    if (draw.temperature == 0.0f) {
        const float top = table.weigh_logits(logits, count, 0.0f, nullptr, nullptr);
        return top > -INFINITY ? first_equal(logits, count, top) : -1;
    }
    own.weights.resize(static_cast<size_t>(count));
    double total = 0;
    const float top =
        table.weigh_logits(logits, count, 1.0f / draw.temperature, own.weights.data(), &total);
    if (!(top > -INFINITY)) return -1;
    for (const float cut : {1e-3f, 1e-6f, 0.0f}) {
        rank(logits, count, cut, own);
        const int32_t token = draw_ranked(draw, total, cut, own);
        if (token >= 0) return token;
    }
    return -1;
}

}  // namespace

void sample(const float* logits, int64_t vocabulary, const std::vector<Draw>& draws,
            int32_t* tokens) {
    for (const Draw& draw : draws)
        require(draw.temperature >= 0.0f && draw.top_k >= 0 && draw.uniform >= 0.0 &&
                    draw.uniform < 1.0,
                "sample: a parameter is out of range");
    parallel(static_cast<int64_t>(draws.size()), [&](int64_t item, int) {
        tokens[item] = choose(logits + item * vocabulary, vocabulary, draws[item]);
    });
}

void diverge(const float* source, const float* model, int64_t vocabulary,
             std::span<Divergence> rows) {
    parallel(static_cast<int64_t>(rows.size()), [&](int64_t row, int) {
        const float *p = source + row * vocabulary, *q = model + row * vocabulary;
        const double p_top = *std::max_element(p, p + vocabulary);
        const double q_top = *std::max_element(q, q + vocabulary);
        double p_total = 0, q_total = 0, apart = 0;
        for (int64_t i = 0; i < vocabulary; ++i) {
            const double weight = std::exp(p[i] - p_top);
            p_total += weight;
            q_total += std::exp(q[i] - q_top);
            if (weight > 0) apart += weight * (static_cast<double>(p[i]) - q[i]);
        }
        const double p_sum = p_top + std::log(p_total), q_sum = q_top + std::log(q_total);
        rows[row] = {apart / p_total - (p_sum - q_sum), p_sum, q_sum};
    });
}

void mask_logits(float* logits, int64_t vocabulary, const uint32_t* allowed) {
    for (int64_t i = 0; i < vocabulary; i += 32) {
        const uint32_t bits = allowed[i / 32];
        if (bits == UINT32_MAX) continue;
        const int64_t end = std::min<int64_t>(vocabulary, i + 32);
        for (int64_t j = i; j < end; ++j)
            if (!(bits >> (j - i) & 1)) logits[j] = -INFINITY;
    }
}

}  // namespace freehold
