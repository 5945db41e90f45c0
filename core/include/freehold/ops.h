// Room: core. The ops, the whole native API. Every op checks its contract first and throws
// ContractError; every result row depends on its own input row only, bit for bit.
#pragma once
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "freehold/kernels.h"
#include "freehold/types.h"

namespace freehold {

// A norm's weight (1, D) and epsilon.
struct Norm {
    const Tensor& weight;
    float eps;
};

// A layer norm's weight and bias (1, D) and epsilon.
struct LayerNorm {
    const Tensor& weight;
    const Tensor& bias;
    float eps;
};

// x[t] = row tokens[t] of weight (V, D).  Mutates: x.
void embed(const Weight& weight, const Step& step, Tensor& x);

class Deltas;

// What the adapters of a step's sequences add to products of n = norm(x): scale B A n, each its own
// matrices. Tokens without adapter, or whose adapter has no entry, are left alone. Where weights meet
// activations that are rounded to int8, so do an adapter's 8-bit matrices.
struct Added {
    const Step& step;
    const Deltas& deltas;
};

// outs[i] (T, N_i) = norm(x) (T, D) . weights[i]^T + biases[i]; one norm, several matrices.
// A null norm leaves x as it is; a null bias adds nothing. Adapters add to the first outs, as many as
// they have matrices for.  Mutates: outs.
void norm_project(const Tensor& x, const Norm* norm, int64_t count,
                  const std::vector<const Weight*>& weights,
                  const std::vector<const Tensor*>& biases, const std::vector<Tensor*>& outs,
                  const Added* added = nullptr);

// x (T, D) += a (T, N) . weight^T + bias, and likewise what adapters add to it.  Mutates: x.
void project_add(const Tensor& a, const Weight& weight, const Tensor* bias, int64_t count,
                 Tensor& x, const Added* added = nullptr);

// How a gate g opens what it meets, u: silu(g) u; gelu_tanh(g) u; or, both clamped to a limit (g
// from above alone), g sigmoid(slope g) (u + 1).
enum class Gate : int { kSilu = 0, kGeluTanh = 1, kClamped = 2 };
struct Gating {
    Gate kind = Gate::kSilu;
    float slope = 1.0f, limit = 0.0f;  // of a clamped gate
};

// out (T, F) = norm(x) . gate^T opening norm(x) . up^T, each with what adapters add to it; a null norm
// leaves x as it is.  Mutates: out.
void gate_up(const Tensor& x, const Norm* norm, const Weight& gate, const Weight& up,
             int64_t count, Tensor& out, const Gating& gating = {}, const Added* added = nullptr);

// x (T, D) += norm(y (T, D)), each run of as many columns as the norm has by itself.  Mutates: x.
void add_normed(const Tensor& y, const Norm& norm, int64_t count, Tensor& x);

// x *= factor; a factor of 0 clears, whatever x held.  Mutates: x.
void scale(Tensor& x, float factor, int64_t count);

// x (T, N) *= by (T, M), its N columns from `first` on.  Mutates: x.
void multiply_part(const Tensor& by, int64_t first, int64_t count, Tensor& x);

// x = cap tanh(x / cap).  Mutates: x.
void softcap(Tensor& x, float cap, int64_t count);

// How a router's logits become scores.
enum class Scoring : int { kSoftmax = 0, kSigmoid = 1 };

// How experts are chosen and what their results count. Groups of neighbouring experts compete
// first when there are several: a group's score is the sum of its `group_top` best.
struct RouterRule {
    int chosen = 1;  // k, experts a token
    Scoring scoring = Scoring::kSoftmax;
    bool renormalise = false;  // weights over their sum + epsilon
    double epsilon = 0.0;
    double scale = 1.0;
    int groups = 1, groups_kept = 1, group_top = 1;
};

// The experts of a step's tokens, (T, k) each, best first.
struct Routing {
    int64_t count = 0;
    int chosen = 0, experts = 0;
    std::vector<int32_t> ids;
    std::vector<float> weights;
};

// What routers add beside their matrix, (1, X) each or null: `offsets` to the logits, `bias` to the
// scores for the choice alone, `factors` to the weights of those chosen.
struct RouterTerms {
    const Tensor* bias = nullptr;
    const Tensor* offsets = nullptr;
    const Tensor* factors = nullptr;
};

// Chooses experts by the scores of norm(x) (T, D) . weight (X, D)^T; a chosen expert's weight comes
// from its score without the bias.  Mutates: out.
void route(const Tensor& x, const Norm& norm, const Weight& weight, const RouterTerms& terms,
           const RouterRule& rule, int64_t count, Routing& out);

// How experts work: their gates, the biases of their matrices, (X, F), (X, F) and (X, D) or null,
// and whether an expert's weight counts for what it is given or for what it gives.
struct ExpertRule {
    Gating gating;
    const Tensor* gate_bias = nullptr;
    const Tensor* up_bias = nullptr;
    const Tensor* down_bias = nullptr;
    bool weigh_inputs = false;
};

// out (T, D) += sum over the token's experts e of weight_e down_e(gate_e(n) opening up_e(n)), with
// n = norm(x), added in the order of e. Matrices are stacked: gate and up (X F, D), down (X D, F),
// F and D multiples of 16. Only chosen experts are read; out may be x.  Mutates: out.
void mix_experts(const Tensor& x, const Norm& norm, const Weight& gate, const Weight& up,
                 const Weight& down, const Routing& routing, const ExpertRule& rule, Tensor& out);

// a (T, N) *= sigmoid(gates (T, 1)), row by row.  Mutates: a.
void open_rows(const Tensor& gates, int64_t count, Tensor& a);

// A matrix (rows, cols) of an adapter, rounded to float16 or to 8 bits with a scale for 32 columns.
class Thin {
  public:
    Thin(const float* values, int64_t rows, int64_t cols, int bits);
    int64_t groups() const { return (rows + kGroupRows - 1) / kGroupRows; }
    size_t bytes() const { return group_bytes * static_cast<size_t>(groups()); }
    ThinView part(int64_t first_group, int64_t last_group) const;
    int64_t rows, cols;
    int bits;
    float unit;  // a power of two that all values are multiples of
    size_t group_bytes;

  private:
    std::shared_ptr<Memory> memory_;
    uint8_t* data_;
};

// What adapters add to up to four matrices (N_i, D) that share an input n: scale_i (n . A_i^T) . B_i^T to
// output i. Each adapter has an index. Not to be changed while an op reads it.
class Deltas {
  public:
    struct Up {
        std::optional<Thin> matrix;  // B_i (N_i, r_i); none where nothing is added
        float scale;
    };
    static constexpr size_t kMostUps = 4;
    struct Entry {  // in one piece, since a step comes to thousands
        Thin down;  // the A_i one below the other, (sum of r_i, D)
        std::array<Up, kMostUps> every_up;
        size_t up_count;
        std::optional<Thin> next;  // what a step comes to after these; a hint
        std::span<const Up> ups() const { return {every_up.data(), up_count}; }
    };
    void put(int32_t index, const Thin& down, const std::vector<Up>& ups, const Thin* next = nullptr);
    void drop(int32_t index);  // an index without an entry is left alone
    void ask_for(int32_t index) const;  // it will be found soon
    const Entry* find(int32_t index) const;  // nullptr without an entry
    // The most that any entry ever had, of a token: values between the products, bytes of digits.
    int64_t most_ranks() const { return most_ranks_; }
    int64_t most_digits() const { return most_digits_; }

  private:
    std::vector<std::optional<Entry>> entries_;
    int64_t most_ranks_ = 0, most_digits_ = 0;
};

// gate (T, F) = gate opening up; with `norm_project` the same bits as `gate_up`.  Mutates: gate.
void gate_rows(const Tensor& up, int64_t count, Tensor& gate, const Gating& gating = {});

// cos and sin of position * frequency, times `scale`, for each token of the step.
void make_rotation(const Step& step, std::span<const float> frequencies, float scale,
                   Rotation& out);

// Rotates q (T, H A) and k (T, G A) in place, in every head the columns from `first` on, and
// writes k, v (T, G A_v) into the step's pages. A latent layer takes no v. Without k nothing is
// written, for layers that look at another one's keys.  Mutates: q, k, kv.
void rotate_write(Tensor& q, Tensor* k, const Tensor* v, const Rotation* rotation,
                  const Step& step, KvPool& kv, int layer, int first = 0);

// Which keys a query sees, besides none after its own, and what becomes of its scores.
struct AttendRule {
    float scale = 1.0f;
    int32_t window = 0;   // at most so many keys, its own among them; 0: no bound
    int32_t chunk = 0;    // none before the last multiple of this; 0: no bound
    float softcap = 0.0f;           // scores become c tanh(score / c); 0: they stay
    const Tensor* sinks = nullptr;  // (1, H) scores that join the softmax's sum without a value
};

// out (T, H A_v): causal attention of q (T, H A) over the step's pages.  Mutates: out.
void attend(const Tensor& q, const KvPool& kv, int layer, const Step& step, const AttendRule& rule,
            Tensor& out);

// A matrix for each head: out (T, H (N + R)) = x (T, H (K + R)) with the first K columns of head h
// times rows [h N, (h + 1) N) of weight (H N, K), N a multiple of 16; R more come along as they
// are.  Mutates: out.
void project_heads(const Tensor& x, const Weight& weight, int heads, int64_t count, Tensor& out);

// RMS norm of the first columns of each row of x, as many as the weight has, in place.  Mutates: x.
void norm_first(Tensor& x, const Norm& norm, int64_t count);

// RMS norm of every run of weights[i].cols elements of the rows of parts[i], in place: of each
// head, or of all heads together.  Mutates: parts.
void norm_heads(const std::vector<Tensor*>& parts, const std::vector<const Tensor*>& weights,
                float eps, int64_t count);

// q[t] *= 1 + beta ln(1 + floor((position + ahead) / trained_tokens)).  Mutates: q.
void scale_late(Tensor& q, const Step& step, float beta, int32_t trained_tokens,
                int32_t ahead = 0);

// logits (S, V) = norm(x[rows]) . weight^T for the step's logit rows.  Mutates: logits.
void head(const Tensor& x, const Norm& norm, const Weight& weight, const Step& step,
          Tensor& logits);

// How the next token of a sequence is drawn; temperature 0 takes the likeliest.
struct Draw {
    float temperature;
    int32_t top_k;  // 0: all
    float top_p, min_p;
    double uniform;  // [0, 1)
};

// tokens[s] = the token drawn from row s of logits (S, V); -1 where every token is masked.
void sample(const float* logits, int64_t vocabulary, const std::vector<Draw>& draws,
            int32_t* tokens);

// How far a model's predictions are from its source's: sum of p log(p / q) in nats, and of either row
// of logits the logarithm of its exponentials' sum.
struct Divergence {
    double kl, source_sum, model_sum;
};

// Of each row of source and model (T, V); KL of the source from the model.
void diverge(const float* source, const float* model, int64_t vocabulary,
             std::span<Divergence> rows);

// Sets the logits (V,) whose bit is 0 in `allowed` (ceil(V / 32) words) to minus infinity.
void mask_logits(float* logits, int64_t vocabulary, const uint32_t* allowed);

// x (T, C) = silu(sum over j of weight (J, C)[j] x[t - J + 1 + j]), columns apart from each other;
// inputs before the step come from the cell, (J - 1) C floats.  Mutates: x, the states.
void convolve(Tensor& x, const Tensor& weight, const Step& step, const KvPool& kv, int cell);

// How strongly each value head of a token forgets and learns: a, b (T, Hv), and of the layer decay
// and dt_bias (1, Hv), with fade = exp(decay softplus(a + dt_bias)) and beta = sigmoid(b).
struct DeltaGates {
    const Tensor &a, &b, &decay, &dt_bias;
};

// The size of delta_rule's cell.
int64_t delta_floats(int64_t value_heads, int64_t key_width, int64_t value_width);

// The gated delta rule over rows of queries (Hk, K), keys (Hk, K) and values (Hv, V), each query and
// key over its length (squares + 1e-6), the query over sqrt(K) too. Per value head, with its state
// S (K, V) in the cell: S <- fade S; u = beta (v - k^T S); S <- S + k u; out (T, Hv V) = S^T q. Value
// head h has key head h / (Hv / Hk), or h % Hk where heads are tiled.
// Mutates: qkv's queries and keys, the states, out.  Source: arXiv 2412.06464.
void delta_rule(Tensor& qkv, const DeltaGates& gates, int key_heads, bool tiled, const Step& step,
                const KvPool& kv, int cell, Tensor& out);

// a (T, N) = norm of each run of the weight's width times silu(gate (T, N)).  Mutates: a.
void norm_gate(Tensor& a, const Norm& norm, const Tensor& gate, int64_t count);

// a (T, N) *= sigmoid(gates (T, N)), value by value.  Mutates: a.
void open_values(const Tensor& gates, int64_t count, Tensor& a);

// x[t] (T, D) = norm(words[token] + types[type] + positions[place]).  Mutates: x.
void embed_packed(const Tensor& words, const Tensor& positions, const Tensor* types,
                  const LayerNorm& norm, const Packed& packed, Tensor& x);

// outs[i] (T, N_i) = activation(x (T, D) . weights[i]^T + biases[i]).  Mutates: outs.
void project(const Tensor& x, int64_t count, const std::vector<const Weight*>& weights,
             const std::vector<const Tensor*>& biases, Activation activation,
             const std::vector<Tensor*>& outs);

// x (T, D) = norm(x + a (T, N) . weight^T + bias).  Mutates: x.
void project_add_norm(const Tensor& a, const Weight& weight, const Tensor* bias,
                      const LayerNorm& norm, int64_t count, Tensor& x);

// out (T, H A): every token of a text attends to all of it.  Mutates: out.
void attend_packed(const Tensor& q, const Tensor& k, const Tensor& v, const Packed& packed,
                   int heads, float scale, Tensor& out);

// How a text's tokens become one row.
enum class Pooling : int { kMean = 0, kFirst = 1, kLast = 2, kMax = 3, kMeanRoot = 4 };

// out (S, D): a row for each text, of length 1 if `normalise`.  Mutates: out.
void pool(const Tensor& x, const Packed& packed, Pooling kind, bool normalise, Tensor& out);

// Values of whole file blocks, the reference unpacking.
void dequantize(int type, const uint8_t* raw, size_t raw_bytes, float* out, int64_t count);

// Bytes a second when every thread reads its share of a large buffer once.
double measure_bandwidth();

// Writes values (R, C), finite and within float16, as blocks of a file: out (R, row bytes). The scales
// of a block are those that a search finds to lose least, each element's square counted by the
// importance (C,) of its column; without it large weights count more.  Mutates: out.
void quantize_rows(const float* values, int64_t rows, int64_t cols, const char* type_name,
                   const float* importance, uint8_t* out);

// A lower triangle (cols, cols).
struct Lower {
    const float* at;
    int64_t cols;
};

// The same, column after column: what a column loses, those after it in its run make up for, by the
// run's lower L, whose L^T L is the Hessian; runs are whole blocks, side by side. Without importance a
// column's is its diagonal's square.  Mutates: out.
void quantize_rows_with_feedback(const float* values, int64_t rows, int64_t cols,
                                 const char* type_name, const std::vector<Lower>& runs,
                                 const float* importance, uint8_t* out);

// The lower triangle of out (C, C) = x^T x / T for x (T, C), rows `stride` apart, of codes of 8 or 12
// bits; its diagonal, of floats. What is above it is of no use.  Mutates: out.
void mean_products(const float* x, int64_t stride, int64_t count, int64_t cols, float* out);

// out (C, C), lower, with out^T out the matrix (C, C) after this: what lies off its diagonal times
// `keep`, the diagonal plus `add`. Only the lower triangle is looked at. False, and nothing of use in
// out, where that is not positive. `coded` multiplies codes of 8 or 12 bits, in half the
// time: out^T out is then off by some thousandths of the diagonals, which is for a matrix whose `keep`
// is well below one.  Mutates: out.
bool feedback_factor(const float* matrix, int64_t cols, float keep, float add, bool coded,
                     float* out);

}  // namespace freehold
