// Room: core/ops. The ops of encoders: sequences packed one after another, no cache, no padding.
#include <algorithm>
#include <cmath>

#include "../quants/traits.h"
#include "freehold/threads.h"
#include "project.h"

namespace freehold {
namespace {

constexpr int kUnitRows = 128;  // queries of a long sequence that one work item takes

void check_norm(const LayerNorm& norm, const Tensor& x) {
    require(norm.weight.rows == 1 && norm.weight.cols == x.cols && norm.bias.rows == 1 &&
                norm.bias.cols == x.cols,
            "layer norm: weight or bias width differs from the input's");
}

// Calls body(row) for every row, sixteen a work item.
template <class Body>
void for_rows(int64_t count, Body&& body) {
    parallel((count + 15) / 16, [&](int64_t item, int) {
        const int64_t last = std::min<int64_t>(count, item * 16 + 16);
        for (int64_t t = item * 16; t < last; ++t) body(t);
    });
}

// What the next tile's result is written to comes in from memory while that tile is computed.
void ask_for_next(Tensor& to, int64_t count, int64_t t, int tile, int64_t column) {
    for (int64_t m = t + tile; m < std::min(count, t + 2 * tile); ++m)
        __builtin_prefetch(to.row(m) + column, 1, 3);
}

size_t head_scratch(int tokens, int width) {
    const auto n = static_cast<size_t>(tokens + 15) / 16 * 16;
    const auto padded = static_cast<size_t>(width + 15) / 16 * 16;
    return n * static_cast<size_t>(width) + n * padded + 8 * n;
}

}  // namespace

void Packed::check() const {
    require(!tokens.empty() && tokens.size() <= INT32_MAX, "packed: no token");
    require(offsets.size() >= 2 && offsets.front() == 0 &&
                offsets.back() == static_cast<int32_t>(tokens.size()),
            "packed: offsets must span the tokens");
    for (size_t s = 0; s + 1 < offsets.size(); ++s)
        require(offsets[s] < offsets[s + 1], "packed: a sequence has no token");
    require(types.empty() || types.size() == tokens.size(), "packed: one type for each token");
    require(first_position >= 0, "packed: first position below zero");
}

void embed_packed(const Tensor& words, const Tensor& positions, const Tensor* types,
                  const LayerNorm& norm, const Packed& packed, Tensor& x) {
    const int64_t count = packed.count();
    require(x.rows >= count && x.cols == words.cols && positions.cols == words.cols &&
                (types == nullptr || types->cols == words.cols),
            "embed_packed: widths of tables and output differ");
    require(types != nullptr || packed.types.empty(), "embed_packed: types without their table");
    check_norm(norm, x);
    for (const int32_t token : packed.tokens)
        require(token >= 0 && token < words.rows, "embed_packed: token outside the vocabulary");
    for (const int32_t type : packed.types)
        require(type >= 0 && type < types->rows, "embed_packed: type outside its table");
    for (size_t s = 0; s + 1 < packed.offsets.size(); ++s)
        require(packed.offsets[s + 1] - packed.offsets[s] <= positions.rows - packed.first_position,
                "embed_packed: a sequence is longer than the positions");
    const KernelTable& table = kernels();
    const auto sequences = static_cast<int64_t>(packed.offsets.size()) - 1;
    parallel(sequences, [&](int64_t s, int) {
        for (int32_t t = packed.offsets[s]; t < packed.offsets[s + 1]; ++t) {
            float* row = x.row(t);
            const float* word = words.row(packed.tokens[t]);
            std::copy(word, word + x.cols, row);
            if (types != nullptr)
                table.add(row, types->row(packed.types.empty() ? 0 : packed.types[t]), x.cols);
            table.add(row, positions.row(packed.first_position + t - packed.offsets[s]), x.cols);
            table.layer_norm(row, norm.weight.data(), norm.bias.data(), norm.eps, x.cols, row);
        }
    });
}

void project(const Tensor& x, int64_t count, const std::vector<const Weight*>& weights,
             const std::vector<const Tensor*>& biases, Activation activation,
             const std::vector<Tensor*>& outs) {
    require(!weights.empty() && weights.size() == outs.size() && weights.size() == biases.size(),
            "project: weights, biases and outputs must pair up");
    for (size_t w = 0; w < weights.size(); ++w) {
        check_projection(x, nullptr, count, *weights[w]);
        check_bias(biases[w], *weights[w]);
        require(outs[w]->rows >= count && outs[w]->cols == weights[w]->rows,
                "project: output shape differs from the weight's rows");
    }
    const KernelTable& table = kernels();
    const Activations acts(x, nullptr, count, nullptr, weights);
    multiply(acts, weights, false,
             [&](int which, int64_t g, int64_t t, int tile, const float* out, const float*) {
                 const Tensor* bias = biases[which];
                 Tensor& to = *outs[which];
                 const int64_t column = g * kGroupRows;
                 table.settle(out, tile, bias ? bias->data() + column : nullptr, activation, false,
                              to.row(t) + column, to.cols,
                              static_cast<int>(valid_rows(*weights[which], g)));
                 ask_for_next(to, count, t, tile, column);
             });
}

void project_add_norm(const Tensor& a, const Weight& weight, const Tensor* bias,
                      const LayerNorm& norm, int64_t count, Tensor& x) {
    check_projection(a, nullptr, count, weight);
    check_bias(bias, weight);
    check_norm(norm, x);
    require(x.rows >= count && x.cols == weight.rows, "project_add_norm: output shape differs");
    const KernelTable& table = kernels();
    const std::vector<const Weight*> weights{&weight};
    const Activations acts(a, nullptr, count, nullptr, weights);
    multiply(acts, weights, false,
             [&](int, int64_t g, int64_t t, int tile, const float* out, const float*) {
                 const int64_t column = g * kGroupRows;
                 table.settle(out, tile, bias ? bias->data() + column : nullptr, Activation::kNone,
                              true, x.row(t) + column, x.cols,
                              static_cast<int>(valid_rows(weight, g)));
                 ask_for_next(x, count, t, tile, column);
             });
    for_rows(count, [&](int64_t t) {
        float* row = x.row(t);
        table.layer_norm(row, norm.weight.data(), norm.bias.data(), norm.eps, x.cols, row);
    });
}

void attend_packed(const Tensor& q, const Tensor& k, const Tensor& v, const Packed& packed,
                   int heads, float scale, Tensor& out) {
    const int64_t count = packed.count();
    require(heads >= 1 && q.cols % heads == 0, "attend_packed: heads must divide the width");
    require(q.rows >= count && k.rows >= count && v.rows >= count && out.rows >= count &&
                k.cols == q.cols && v.cols == q.cols && out.cols == q.cols,
            "attend_packed: shapes of queries, keys, values and output differ");
    const int width = static_cast<int>(q.cols / heads);
    struct Unit {
        int32_t start, tokens, first, last;
        int head;
    };
    std::vector<Unit> units;
    int32_t longest = 0;
    for (size_t s = 0; s + 1 < packed.offsets.size(); ++s) {
        const int32_t start = packed.offsets[s], tokens = packed.offsets[s + 1] - start;
        longest = std::max(longest, tokens);
        for (int head = 0; head < heads; ++head)
            for (int32_t first = 0; first < tokens; first += kUnitRows)
                units.push_back({start, tokens, first, std::min(tokens, first + kUnitRows), head});
    }
    const KernelTable& table = kernels();
    const size_t room = head_scratch(longest, width);
    parallel(static_cast<int64_t>(units.size()), [&](int64_t item, int) {
        static thread_local std::vector<float> own;
        if (own.size() < room) own.resize(room);
        const Unit& unit = units[static_cast<size_t>(item)];
        const int64_t at = static_cast<int64_t>(unit.head) * width;
        const HeadView view{q.row(unit.start) + at,   k.row(unit.start) + at,
                            v.row(unit.start) + at,   out.row(unit.start) + at,
                            q.cols,                   unit.tokens,
                            width,                    scale};
        table.attend_head(view, unit.first, unit.last, own.data());
    });
}

namespace {

// The largest of each column, or a sum in token order.
void pool_rows(const Tensor& x, int32_t first, int32_t last, Pooling kind, float* out) {
    const float* from = x.row(kind == Pooling::kLast ? last - 1 : first);
    std::copy(from, from + x.cols, out);
    if (kind == Pooling::kFirst || kind == Pooling::kLast) return;
    for (int32_t t = first + 1; t < last; ++t) {
        const float* row = x.row(t);
        if (kind == Pooling::kMax)
            for (int64_t i = 0; i < x.cols; ++i) out[i] = std::max(out[i], row[i]);
        else
            for (int64_t i = 0; i < x.cols; ++i) out[i] += row[i];
    }
    if (kind == Pooling::kMax) return;
    const auto tokens = static_cast<float>(last - first);
    const float divisor = kind == Pooling::kMean ? tokens : std::sqrt(tokens);
    for (int64_t i = 0; i < x.cols; ++i) out[i] /= divisor;
}

}  // namespace

void pool(const Tensor& x, const Packed& packed, Pooling kind, bool normalise, Tensor& out) {
    const auto sequences = static_cast<int64_t>(packed.offsets.size()) - 1;
    require(x.rows >= packed.count() && out.rows >= sequences && out.cols == x.cols,
            "pool: output shape differs from sequences and width");
    parallel(sequences, [&](int64_t s, int) {
        float* row = out.row(s);
        pool_rows(x, packed.offsets[s], packed.offsets[s + 1], kind, row);
        if (!normalise) return;
        double squares = 0.0;
        for (int64_t i = 0; i < x.cols; ++i) squares += static_cast<double>(row[i]) * row[i];
        const auto norm = static_cast<float>(std::max(std::sqrt(squares), 1e-12));
        for (int64_t i = 0; i < x.cols; ++i) row[i] /= norm;
    });
}

}  // namespace freehold
