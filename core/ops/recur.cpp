// Room: core/ops. Recurrent layers: a short convolution and the gated delta rule, both with a state
// that is carried from step to step. Tokens are taken in one by one, in one order, so that nothing
// depends on how a text was cut into steps or what ran beside it.
//
// The state of a value head lies in blocks of kDeltaColumns columns, each (K, kDeltaColumns), padded
// with zeros: a block stays in the first cache while a chunk's tokens go through it.
#include <algorithm>
#include <cmath>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

constexpr int64_t kConvolveColumns = 512;  // of an item
constexpr int kMaxTaps = 16;

int64_t blocks_of(int64_t width) { return (width + kDeltaColumns - 1) / kDeltaColumns; }

// The states of the step's sequences, ready to take in its tokens.
std::vector<float*> open_states(const Step& step, const KvPool& kv, int cell, int64_t floats) {
    StatePool& states = step.states(kv);
    require(cell >= 0 && static_cast<size_t>(cell) < states.cells.size() &&
                states.cells[cell] == floats,
            "recur: the state's cell is missing or has another size");
    std::vector<float*> opened;
    for (size_t s = 0; s + 1 < step.offsets.size(); ++s) {
        const int32_t first = step.offsets[s];
        opened.push_back(states.open(cell, step.slots[s], step.positions[first],
                                     step.offsets[s + 1] - first));
    }
    return opened;
}

// Columns [from, from + n) of one sequence's rows, from the last row to the first, so that a row is
// read by those after it before it changes. state (taps - 1, C), the oldest first.
void convolve_columns(Tensor& x, const Tensor& weight, const Step& step, size_t s, float* state,
                      int64_t from, int64_t n) {
    const KernelTable& table = kernels();
    const auto taps = static_cast<int>(weight.rows), kept = taps - 1;
    const int32_t first = step.offsets[s], last = step.offsets[s + 1];
    float before[(kMaxTaps - 1) * kConvolveColumns];
    for (int j = 0; j < kept; ++j)
        std::copy_n(state + j * x.cols + from, n, before + j * kConvolveColumns);
    // Row `i` of the sequence's inputs, those before this step counted from -1 down.
    const auto input = [&](int32_t i) {
        return i >= 0 ? x.row(first + i) + from : before + (i + kept) * kConvolveColumns;
    };
    const int32_t count = last - first;
    for (int j = 0; j < kept; ++j)
        std::copy_n(input(count - kept + j), n, state + j * x.cols + from);
    for (int32_t i = count - 1; i >= 0; --i) {
        const float* rows[kMaxTaps];
        for (int j = 0; j < taps; ++j) rows[j] = input(i - kept + j);
        table.convolve(rows, taps, weight.data() + from, weight.cols, n, x.row(first + i) + from);
    }
}

// The shapes of a delta rule, from those of its tensors.
struct DeltaShape {
    int64_t key_heads, value_heads, key_width, value_width;
    int64_t key_head(int64_t value_head, bool tiled) const {
        return tiled ? value_head % key_heads : value_head / (value_heads / key_heads);
    }
};

DeltaShape shape_of(const Tensor& qkv, const Tensor& a, const Tensor& out, int key_heads) {
    DeltaShape shape{key_heads, a.cols, 0, 0};
    require(key_heads >= 1 && a.cols % key_heads == 0,
            "delta_rule: value heads must be a multiple of key heads");
    require(out.cols % a.cols == 0 && qkv.cols > out.cols &&
                (qkv.cols - out.cols) % (2 * key_heads) == 0,
            "delta_rule: queries, keys and values do not fill the rows");
    shape.value_width = out.cols / a.cols;
    shape.key_width = (qkv.cols - out.cols) / (2 * key_heads);
    return shape;
}

// What one step's tokens bring beside their values: gates (T, Hv) and query . key (T, Hk).
struct Brought {
    std::vector<DeltaGate> gates;
    std::vector<float> matches;
};

DeltaGate gate_of(float a, float b, float decay, float dt_bias) {
    const double x = static_cast<double>(a) + dt_bias;
    const double softplus = x > 20.0 ? x : std::log1p(std::exp(x));
    return {static_cast<float>(std::exp(decay * softplus)),
            static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(b))))};
}

// Norms queries and keys in place, the queries over sqrt(K) too, and makes gates and matches.
void bring(Tensor& qkv, const DeltaGates& given, const DeltaShape& shape, int64_t count,
           Brought& out) {
    const KernelTable& table = kernels();
    const auto width = static_cast<double>(shape.key_width);
    constexpr double kEps = 1e-6;  // of the squares' sum, where rms_norm has it beside their mean
    const auto eps = static_cast<float>(kEps / width);
    const std::vector<float> by_query(shape.key_width, static_cast<float>(1.0 / width));
    const std::vector<float> by_key(shape.key_width, static_cast<float>(1.0 / std::sqrt(width)));
    out.gates.resize(static_cast<size_t>(count * shape.value_heads));
    out.matches.resize(static_cast<size_t>(count * shape.key_heads));
    parallel((count + 3) / 4, [&](int64_t item, int) {
        for (int64_t t = item * 4; t < std::min(count, item * 4 + 4); ++t) {
            float* row = qkv.row(t);
            for (int64_t h = 0; h < shape.key_heads; ++h) {
                float* q = row + h * shape.key_width;
                float* k = q + shape.key_heads * shape.key_width;
                table.rms_norm(q, by_query.data(), eps, shape.key_width, q);
                table.rms_norm(k, by_key.data(), eps, shape.key_width, k);
                out.matches[t * shape.key_heads + h] = table.dot(q, k, shape.key_width);
            }
            for (int64_t h = 0; h < shape.value_heads; ++h)
                out.gates[t * shape.value_heads + h] =
                    gate_of(given.a.row(t)[h], given.b.row(t)[h], given.decay.data()[h],
                            given.dt_bias.data()[h]);
        }
    });
}

}  // namespace

void convolve(Tensor& x, const Tensor& weight, const Step& step, const KvPool& kv, int cell) {
    require(x.rows >= step.count(), "convolve: too few rows");
    require(weight.cols == x.cols && weight.rows >= 2 && weight.rows <= kMaxTaps,
            "convolve: the weight's columns or taps do not fit");
    step.check(kv);
    const std::vector<float*> states = open_states(step, kv, cell, (weight.rows - 1) * x.cols);
    const int64_t parts = (x.cols + kConvolveColumns - 1) / kConvolveColumns;
    parallel(static_cast<int64_t>(states.size()) * parts, [&](int64_t item, int) {
        const auto s = static_cast<size_t>(item / parts);
        const int64_t from = item % parts * kConvolveColumns;
        convolve_columns(x, weight, step, s, states[s], from,
                         std::min(kConvolveColumns, x.cols - from));
    });
}

int64_t delta_floats(int64_t value_heads, int64_t key_width, int64_t value_width) {
    return value_heads * blocks_of(value_width) * key_width * kDeltaColumns;
}

void delta_rule(Tensor& qkv, const DeltaGates& given, int key_heads, bool tiled, const Step& step,
                const KvPool& kv, int cell, Tensor& out) {
    const int64_t count = step.count();
    const DeltaShape shape = shape_of(qkv, given.a, out, key_heads);
    require(qkv.rows >= count && given.a.rows >= count && given.b.rows >= count && out.rows >= count,
            "delta_rule: too few rows");
    require(given.b.cols == shape.value_heads && given.decay.rows == 1 &&
                given.decay.cols == shape.value_heads && given.dt_bias.rows == 1 &&
                given.dt_bias.cols == shape.value_heads,
            "delta_rule: one gate, decay and bias is needed for each value head");
    step.check(kv);
    const int64_t blocks = blocks_of(shape.value_width);
    const int64_t block_floats = shape.key_width * kDeltaColumns;
    const std::vector<float*> states = open_states(
        step, kv, cell, delta_floats(shape.value_heads, shape.key_width, shape.value_width));
    Brought brought;
    bring(qkv, given, shape, count, brought);
    const KernelTable& table = kernels();
    const int64_t items = shape.value_heads * blocks;  // of a sequence
    parallel(static_cast<int64_t>(states.size()) * items, [&](int64_t item, int) {
        const auto s = static_cast<size_t>(item / items);
        const int64_t head = item % items / blocks, block = item % blocks;
        const int64_t key_head = shape.key_head(head, tiled), column = block * kDeltaColumns;
        const int32_t first = step.offsets[s];
        const float* row = qkv.row(first);
        const int64_t keys = shape.key_heads * shape.key_width;
        table.delta_run(
            {.query = row + key_head * shape.key_width,
             .key = row + keys + key_head * shape.key_width,
             .value = row + 2 * keys + head * shape.value_width + column,
             .stride = qkv.cols,
             .gates = brought.gates.data() + first * shape.value_heads + head,
             .gate_stride = shape.value_heads,
             .matches = brought.matches.data() + first * shape.key_heads + key_head,
             .match_stride = shape.key_heads,
             .out = out.row(first) + head * shape.value_width + column,
             .out_stride = out.cols,
             .tokens = step.offsets[s + 1] - first,
             .width = static_cast<int>(shape.key_width),
             .columns = static_cast<int>(
                 std::min<int64_t>(kDeltaColumns, shape.value_width - column))},
            states[s] + (head * blocks + block) * block_floats);
    });
}

void norm_gate(Tensor& a, const Norm& norm, const Tensor& gate, int64_t count) {
    const int64_t width = norm.weight.cols;
    require(count >= 1 && a.rows >= count && gate.rows >= count, "norm_gate: too few rows");
    require(gate.cols == a.cols, "norm_gate: one gate is needed for each value");
    require(norm.weight.rows == 1 && a.cols % width == 0,
            "norm_gate: the columns are no multiple of the weight's");
    const KernelTable& table = kernels();
    parallel((count + 3) / 4, [&](int64_t item, int) {
        for (int64_t t = item * 4; t < std::min(count, item * 4 + 4); ++t)
            for (int64_t h = 0; h < a.cols; h += width) {
                float* head = a.row(t) + h;
                table.rms_norm(head, norm.weight.data(), norm.eps, width, head);
                table.silu_multiply(gate.row(t) + h, head, width, head);
            }
    });
}

void open_values(const Tensor& gates, int64_t count, Tensor& a) {
    require(count >= 1 && gates.rows >= count && a.rows >= count && gates.cols == a.cols,
            "open_values: one gate is needed for each value");
    const KernelTable& table = kernels();
    parallel((count + 3) / 4, [&](int64_t item, int) {
        for (int64_t t = item * 4; t < std::min(count, item * 4 + 4); ++t)
            table.sigmoid_multiply(gates.row(t), a.cols, a.row(t));
    });
}

}  // namespace freehold
