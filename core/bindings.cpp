// Room: core. The only file that sees Python. Releases the GIL around every op; a broken
// contract becomes a KernelError of freehold.errors.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"
#include "quants/checkpoint.h"
#include "quants/fixed16.h"
#include "quants/traits.h"

namespace nb = nanobind;
using namespace nb::literals;
namespace fh = freehold;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
// Rows may lie further apart than they are long.
using Strided = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using NumpyMatrix = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using Release = nb::call_guard<nb::gil_scoped_release>;

// A new (rows, cols) array that owns its memory.
NumpyMatrix own_matrix(std::unique_ptr<float[]> data, int64_t rows, int64_t cols) {
    float* raw = data.release();
    nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    return NumpyMatrix(raw, {static_cast<size_t>(rows), static_cast<size_t>(cols)}, owner);
}

// The same in a block, which may be one that was given back.
template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<2>> new_block(int64_t rows, int64_t cols) {
    const auto n = static_cast<size_t>(rows), each = static_cast<size_t>(cols);
    auto* memory = new fh::Borrowed(std::max<size_t>(n * each * sizeof(T), 1));
    nb::capsule owner(memory, [](void* p) noexcept { delete static_cast<fh::Borrowed*>(p); });
    return {reinterpret_cast<T*>(memory->data()), {n, each}, owner};
}

void pack_weight(fh::Weight& weight, int64_t start, int64_t count, Bytes raw) {
    nb::gil_scoped_release release;
    weight.pack(start, count, raw.data(), raw.size());
}

void keep_weight(fh::Weight& weight, int64_t start, int64_t count, Bytes raw, std::optional<Ints> order) {
    fh::require(!order || static_cast<int64_t>(order->size()) == count,
                "keep: the order must name a row for each");
    weight.keep(start, count, raw.data(), raw.size(), order ? order->data() : nullptr);
}

NumpyMatrix unpack_weight(const fh::Weight& weight) {
    auto data = std::make_unique<float[]>(static_cast<size_t>(weight.rows * weight.cols));
    for (int64_t r = 0; r < weight.rows; ++r) weight.unpack_row(r, data.get() + r * weight.cols);
    return own_matrix(std::move(data), weight.rows, weight.cols);
}

void fill_tensor(fh::Tensor& tensor, Matrix values) {
    fh::require(static_cast<int64_t>(values.shape(0)) <= tensor.rows &&
                    static_cast<int64_t>(values.shape(1)) == tensor.cols,
                "fill: shape differs from the tensor's");
    std::memcpy(tensor.data(), values.data(), values.size() * sizeof(float));
}

fh::Step* make_step(std::vector<int32_t> tokens, std::vector<int32_t> positions,
                    std::vector<int32_t> offsets, std::vector<std::vector<int32_t>> pages,
                    std::vector<int32_t> logit_rows, std::vector<int32_t> slots,
                    std::vector<int32_t> adapters) {
    auto step = std::make_unique<fh::Step>();
    step->tokens = std::move(tokens);
    step->positions = std::move(positions);
    step->offsets = std::move(offsets);
    step->pages = std::move(pages);
    step->logit_rows = std::move(logit_rows);
    step->slots = std::move(slots);
    fh::require(!step->offsets.empty() && step->offsets.size() == step->pages.size() + 1 &&
                    step->offsets.front() == 0 &&
                    step->offsets.back() == static_cast<int32_t>(step->tokens.size()),
                "step: offsets must span the tokens");
    fh::require(adapters.empty() || adapters.size() == step->pages.size(),
                "step: adapters must have one entry a sequence");
    step->adapters = std::move(adapters);
    fh::require(step->positions.size() == step->tokens.size(),
                "step: tokens and positions must have one entry a token");
    for (size_t s = 0; s + 1 < step->offsets.size(); ++s) {
        fh::require(step->offsets[s] < step->offsets[s + 1], "step: a sequence has no token");
        step->sequence.resize(static_cast<size_t>(step->offsets[s + 1]), static_cast<int32_t>(s));
    }
    return step.release();
}

fh::KvPool* make_pool(const std::vector<std::tuple<int, int, int, bool>>& layers, int64_t pages,
                      int bits) {
    std::vector<fh::LayerKv> kept;
    for (const auto& [heads, key_width, value_width, latent] : layers)
        kept.push_back({heads, key_width, value_width, latent});
    return std::make_unique<fh::KvPool>(kept, pages, bits).release();
}

std::vector<int32_t> sample(Matrix logits, const std::vector<float>& temperature,
                            const std::vector<int32_t>& top_k, const std::vector<float>& top_p,
                            const std::vector<float>& min_p, const std::vector<double>& uniform) {
    const size_t count = logits.shape(0);
    fh::require(temperature.size() == count && top_k.size() == count && top_p.size() == count &&
                    min_p.size() == count && uniform.size() == count && logits.shape(1) >= 1,
                "sample: one parameter of each kind is needed for each row");
    std::vector<fh::Draw> draws(count);
    for (size_t s = 0; s < count; ++s)
        draws[s] = {temperature[s], top_k[s], top_p[s], min_p[s], uniform[s]};
    std::vector<int32_t> tokens(count);
    nb::gil_scoped_release release;
    fh::sample(logits.data(), static_cast<int64_t>(logits.shape(1)), draws, tokens.data());
    return tokens;
}

std::vector<std::tuple<double, double, double>> diverge(Matrix source, Matrix model) {
    fh::require(source.shape(0) == model.shape(0) && source.shape(1) == model.shape(1) &&
                    source.shape(1) >= 1, "diverge: logits of one shape are needed");
    std::vector<fh::Divergence> rows(source.shape(0));
    nb::gil_scoped_release release;
    fh::diverge(source.data(), model.data(), static_cast<int64_t>(source.shape(1)), rows);
    std::vector<std::tuple<double, double, double>> out;
    for (const auto& row : rows) out.emplace_back(row.kl, row.source_sum, row.model_sum);
    return out;
}

void mask_logits(FloatsOut logits, Words allowed) {
    fh::require(allowed.size() == (logits.size() + 31) / 32,
                "mask_logits: one bit is needed for each logit");
    fh::mask_logits(logits.data(), static_cast<int64_t>(logits.size()), allowed.data());
}

fh::Packed* make_packed(std::vector<int32_t> tokens, std::vector<int32_t> offsets,
                        std::vector<int32_t> types, int32_t first_position) {
    auto packed = std::make_unique<fh::Packed>(
        fh::Packed{std::move(tokens), std::move(offsets), std::move(types), first_position});
    packed->check();
    return packed.release();
}

NumpyMatrix dequantize(int type, Bytes raw, int64_t count) {
    fh::require(count >= 1 && count <= INT64_MAX / 8, "dequantize: count out of range");
    constexpr int64_t kMany = 1 << 18;  // which have pages of their own
    NumpyMatrix out = count >= kMany ? new_block<float>(1, count)
                                     : own_matrix(std::make_unique_for_overwrite<float[]>(count), 1, count);
    nb::gil_scoped_release release;
    fh::dequantize(type, raw.data(), raw.size(), out.data(), count);
    return out;
}

// The thread count for as long as this lives.
class ThreadCount {
  public:
    explicit ThreadCount(std::optional<int> count) : before_(fh::thread_count()) {
        if (count) fh::set_thread_count(*count);
    }
    ~ThreadCount() {
        if (before_ != fh::thread_count()) fh::set_thread_count(before_);
    }
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;

  private:
    const int before_;
};

nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>> quantize_rows(Matrix weights, const std::string& type_name,
                         std::optional<Floats> importance, const std::vector<Matrix>& factors,
                         std::optional<int> threads) {
    const auto rows = static_cast<int64_t>(weights.shape(0));
    const auto cols = static_cast<int64_t>(weights.shape(1));
    fh::require(!importance || static_cast<int64_t>(importance->size()) == cols,
                "quantize: one importance is needed for each column");
    std::vector<fh::Lower> runs;
    for (const Matrix& factor : factors) {
        fh::require(factor.shape(0) == factor.shape(1), "quantize: a factor must be square");
        runs.push_back({factor.data(), static_cast<int64_t>(factor.shape(0))});
    }
    const fh::BlockTraits* traits = fh::find_traits(type_name.c_str());
    const size_t row_bytes = traits == nullptr ? 0 : traits->row_bytes(cols);
    auto out = new_block<uint8_t>(rows, static_cast<int64_t>(row_bytes));
    const float* counts = importance ? importance->data() : nullptr;
    nb::gil_scoped_release release;
    const ThreadCount limit(threads);
    if (!runs.empty())
        fh::quantize_rows_with_feedback(weights.data(), rows, cols, type_name.c_str(), runs, counts,
                                        out.data());
    else
        fh::quantize_rows(weights.data(), rows, cols, type_name.c_str(), counts, out.data());
    return out;
}

NumpyMatrix mean_products(Strided x) {
    const auto cols = static_cast<int64_t>(x.shape(1));
    fh::require(x.size() == 0 || cols == 1 || x.stride(1) == 1,
                "mean_products: columns must lie side by side");
    NumpyMatrix out = new_block<float>(cols, cols);
    nb::gil_scoped_release release;
    fh::mean_products(x.data(), x.stride(0), static_cast<int64_t>(x.shape(0)), cols, out.data());
    return out;
}

std::optional<NumpyMatrix> feedback_factor(Matrix matrix, float keep, float add, bool coded) {
    const auto cols = static_cast<int64_t>(matrix.shape(1));
    fh::require(static_cast<int64_t>(matrix.shape(0)) == cols, "feedback_factor: not square");
    std::optional<NumpyMatrix> out = new_block<float>(cols, cols);
    bool positive = false;
    {
        nb::gil_scoped_release release;
        positive = fh::feedback_factor(matrix.data(), cols, keep, add, coded, out->data());
    }
    if (!positive) out.reset();
    return out;
}

// `value` of an enumeration that ends at `last`.
template <class Kind>
Kind kind_of(int value, Kind last) {
    fh::require(value >= 0 && value <= static_cast<int>(last),
                "unknown activation, gate, pooling or scoring");
    return static_cast<Kind>(value);
}

void bind_data(nb::module_& m) {
    nb::class_<fh::Tensor>(m, "Tensor")
        .def(nb::init<int64_t, int64_t>(), "rows"_a, "cols"_a)
        .def_ro("rows", &fh::Tensor::rows)
        .def_ro("cols", &fh::Tensor::cols)
        .def("fill", &fill_tensor, "values"_a)
        .def("numpy", [](fh::Tensor& t) {
            return NumpyMatrix(t.data(), {static_cast<size_t>(t.rows), static_cast<size_t>(t.cols)},
                               nb::find(&t));
        });
    nb::class_<fh::Weight>(m, "Weight")
        .def(nb::init<int, int64_t, int64_t, bool>(), "block_type"_a, "rows"_a, "cols"_a,
             "in_place"_a = false)
        .def_ro("rows", &fh::Weight::rows)
        .def_ro("cols", &fh::Weight::cols)
        .def_prop_ro("type", [](const fh::Weight& w) { return w.traits->type; })
        .def_prop_ro("bytes", &fh::Weight::bytes)
        .def("pack", &pack_weight, "start"_a, "count"_a, "raw"_a)
        .def("keep", &keep_weight, "start"_a, "count"_a, "raw"_a, "order"_a = nb::none(),
             nb::keep_alive<1, 4>())
        .def("unpack", &unpack_weight);
    nb::class_<fh::StatePool>(m, "StatePool")
        .def(nb::init<std::vector<int64_t>, int64_t>(), "cells"_a, "slots"_a)
        .def_ro("slots", &fh::StatePool::slots)
        .def_prop_ro("slot_bytes", &fh::StatePool::slot_bytes)
        .def("copy", &fh::StatePool::copy, "source"_a, "target"_a, Release());
    nb::class_<fh::KvPool>(m, "KvPool")
        .def(nb::new_(&make_pool), "layers"_a, "pages"_a, "bits"_a = 16)
        .def_ro("bits", &fh::KvPool::bits)
        .def_ro("pages", &fh::KvPool::pages)
        .def_rw("states", &fh::KvPool::states, nb::arg().none())
        .def_prop_ro("page_bytes", &fh::KvPool::page_bytes)
        .def("copy", &fh::KvPool::copy, "source"_a, "target"_a, Release());
    nb::class_<fh::Step>(m, "Step")
        .def(nb::new_(&make_step), "tokens"_a, "positions"_a, "offsets"_a, "pages"_a,
             "logit_rows"_a, "slots"_a = std::vector<int32_t>(),
             "adapters"_a = std::vector<int32_t>())
        .def_prop_ro("count", &fh::Step::count)
        .def_prop_ro("adapted",
                     [](const fh::Step& s) {
                         return std::any_of(s.adapters.begin(), s.adapters.end(),
                                            [](int32_t index) { return index >= 0; });
                     })
        .def_ro("logit_rows", &fh::Step::logit_rows)
        .def("wanted", &fh::Step::wanted);
    nb::class_<fh::Packed>(m, "Packed")
        .def(nb::new_(&make_packed), "tokens"_a, "offsets"_a,
             "types"_a = std::vector<int32_t>(), "first_position"_a = 0)
        .def_prop_ro("count", &fh::Packed::count)
        .def_prop_ro("texts", [](const fh::Packed& p) { return p.offsets.size() - 1; });
    nb::class_<fh::Rotation>(m, "Rotation").def(nb::init<>());
    nb::class_<fh::Gating>(m, "Gating")
        .def(nb::new_([](int kind, float slope, float limit) {
                 return fh::Gating{kind_of(kind, fh::Gate::kClamped), slope, limit};
             }),
             "kind"_a = 0, "slope"_a = 1.0f, "limit"_a = 0.0f);
}

std::optional<fh::Norm> norm_of(const fh::Tensor* weight, float eps) {
    return weight ? std::optional<fh::Norm>({*weight, eps}) : std::nullopt;
}
template <class T>
const T* pointer(const std::optional<T>& value) {
    return value ? &*value : nullptr;
}

// Both or none.
std::optional<fh::Added> added_of(const fh::Step* step, const fh::Deltas* deltas) {
    fh::require((step == nullptr) == (deltas == nullptr), "deltas without a step, or the reverse");
    if (step == nullptr) return std::nullopt;
    return fh::Added{*step, *deltas};
}

void bind_ops(nb::module_& m) {
    m.def("embed", &fh::embed, "weight"_a, "step"_a, "x"_a, Release());
    m.def(
        "norm_project",
        [](const fh::Tensor& x, const fh::Tensor* norm, float eps, int64_t count,
           const std::vector<const fh::Weight*>& weights,
           const std::vector<const fh::Tensor*>& biases, const std::vector<fh::Tensor*>& outs,
           const fh::Step* step, const fh::Deltas* deltas) {
            fh::norm_project(x, pointer(norm_of(norm, eps)), count, weights, biases, outs,
                             pointer(added_of(step, deltas)));
        },
        "x"_a, "norm"_a.none(), "eps"_a, "count"_a, "weights"_a, "biases"_a, "outs"_a,
        "step"_a = nb::none(), "deltas"_a = nb::none(), Release());
    m.def(
        "project_add",
        [](const fh::Tensor& a, const fh::Weight& weight, const fh::Tensor* bias, int64_t count,
           fh::Tensor& x, const fh::Step* step, const fh::Deltas* deltas) {
            fh::project_add(a, weight, bias, count, x, pointer(added_of(step, deltas)));
        },
        "a"_a, "weight"_a, "bias"_a.none(), "count"_a, "x"_a, "step"_a = nb::none(),
        "deltas"_a = nb::none(), Release());
    m.def(
        "gate_up",
        [](const fh::Tensor& x, const fh::Tensor* norm, float eps, const fh::Weight& gate,
           const fh::Weight& up, int64_t count, fh::Tensor& out, const fh::Gating& gating,
           const fh::Step* step, const fh::Deltas* deltas) {
            fh::gate_up(x, pointer(norm_of(norm, eps)), gate, up, count, out, gating,
                        pointer(added_of(step, deltas)));
        },
        "x"_a, "norm"_a.none(), "eps"_a, "gate"_a, "up"_a, "count"_a, "out"_a,
        "gating"_a = fh::Gating{}, "step"_a = nb::none(), "deltas"_a = nb::none(), Release());
    m.def(
        "add_normed",
        [](const fh::Tensor& y, const fh::Tensor& norm, float eps, int64_t count, fh::Tensor& x) {
            fh::add_normed(y, {norm, eps}, count, x);
        },
        "y"_a, "norm"_a, "eps"_a, "count"_a, "x"_a, Release());
    m.def("scale", &fh::scale, "x"_a, "factor"_a, "count"_a, Release());
    m.def("multiply_part", &fh::multiply_part, "by"_a, "first"_a, "count"_a, "x"_a, Release());
    m.def("softcap", &fh::softcap, "x"_a, "cap"_a, "count"_a, Release());
    m.def(
        "make_rotation",
        [](const fh::Step& step, Floats frequencies, float scale, fh::Rotation& out) {
            fh::make_rotation(step, {frequencies.data(), frequencies.size()}, scale, out);
        },
        "step"_a, "frequencies"_a, "scale"_a, "out"_a);
    m.def("rotate_write", &fh::rotate_write, "q"_a, "k"_a.none(), "v"_a.none(),
          "rotation"_a.none(), "step"_a, "kv"_a, "layer"_a, "first"_a = 0, Release());
    m.def(
        "attend",
        [](const fh::Tensor& q, const fh::KvPool& kv, int layer, const fh::Step& step, float scale,
           fh::Tensor& out, int32_t window, int32_t chunk, const fh::Tensor* sinks, float softcap) {
            fh::attend(q, kv, layer, step, {scale, window, chunk, softcap, sinks}, out);
        },
        "q"_a, "kv"_a, "layer"_a, "step"_a, "scale"_a, "out"_a, "window"_a = 0, "chunk"_a = 0,
        "sinks"_a = nb::none(), "softcap"_a = 0.0f, Release());
    m.def("project_heads", &fh::project_heads, "x"_a, "weight"_a, "heads"_a, "count"_a, "out"_a,
          Release());
    m.def(
        "norm_first",
        [](fh::Tensor& x, const fh::Tensor& norm, float eps, int64_t count) {
            fh::norm_first(x, {norm, eps}, count);
        },
        "x"_a, "norm"_a, "eps"_a, "count"_a, Release());
    m.def("norm_heads", &fh::norm_heads, "parts"_a, "weights"_a, "eps"_a, "count"_a, Release());
    m.def("scale_late", &fh::scale_late, "q"_a, "step"_a, "beta"_a, "trained_tokens"_a,
          "ahead"_a = 0, Release());
    m.def(
        "head",
        [](const fh::Tensor& x, const fh::Tensor& norm, float eps, const fh::Weight& weight,
           const fh::Step& step, fh::Tensor& logits) {
            fh::head(x, {norm, eps}, weight, step, logits);
        },
        "x"_a, "norm"_a, "eps"_a, "weight"_a, "step"_a, "logits"_a, Release());
    m.def("sample", &sample, "logits"_a, "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a,
          "uniform"_a);
    m.def("diverge", &diverge, "source"_a, "model"_a);
    m.def("mask_logits", &mask_logits, "logits"_a, "allowed"_a);
    m.def("dequantize", &dequantize, "block_type"_a, "raw"_a, "count"_a);
    m.def("measure_bandwidth", &fh::measure_bandwidth, Release());
}

void bind_encoder_ops(nb::module_& m) {
    m.def(
        "embed_packed",
        [](const fh::Tensor& words, const fh::Tensor& positions, const fh::Tensor* types,
           const fh::Tensor& norm, const fh::Tensor& norm_bias, float eps,
           const fh::Packed& packed, fh::Tensor& x) {
            fh::embed_packed(words, positions, types, {norm, norm_bias, eps}, packed, x);
        },
        "words"_a, "positions"_a, "types"_a.none(), "norm"_a, "norm_bias"_a, "eps"_a, "packed"_a,
        "x"_a, Release());
    m.def(
        "project",
        [](const fh::Tensor& x, int64_t count, const std::vector<const fh::Weight*>& weights,
           const std::vector<const fh::Tensor*>& biases, int activation,
           const std::vector<fh::Tensor*>& outs) {
            fh::project(x, count, weights, biases, kind_of(activation, fh::Activation::kRelu),
                        outs);
        },
        "x"_a, "count"_a, "weights"_a, "biases"_a, "activation"_a, "outs"_a, Release());
    m.def(
        "project_add_norm",
        [](const fh::Tensor& a, const fh::Weight& weight, const fh::Tensor* bias,
           const fh::Tensor& norm, const fh::Tensor& norm_bias, float eps, int64_t count,
           fh::Tensor& x) {
            fh::project_add_norm(a, weight, bias, {norm, norm_bias, eps}, count, x);
        },
        "a"_a, "weight"_a, "bias"_a.none(), "norm"_a, "norm_bias"_a, "eps"_a, "count"_a, "x"_a,
        Release());
    m.def("attend_packed", &fh::attend_packed, "q"_a, "k"_a, "v"_a, "packed"_a, "heads"_a,
          "scale"_a, "out"_a, Release());
    m.def(
        "pool",
        [](const fh::Tensor& x, const fh::Packed& packed, int kind, bool normalise,
           fh::Tensor& out) {
            fh::pool(x, packed, kind_of(kind, fh::Pooling::kMeanRoot), normalise, out);
        },
        "x"_a, "packed"_a, "kind"_a, "normalise"_a, "out"_a, Release());
}

void bind_expert_ops(nb::module_& m) {
    nb::class_<fh::RouterRule>(m, "RouterRule")
        .def(nb::new_([](int chosen, int scoring, bool renormalise, double epsilon, double scale,
                         int groups, int groups_kept, int group_top) {
                 return fh::RouterRule{chosen,  kind_of(scoring, fh::Scoring::kSigmoid),
                                       renormalise, epsilon, scale, groups, groups_kept, group_top};
             }),
             nb::kw_only(), "chosen"_a, "scoring"_a = 0, "renormalise"_a = false,
             "epsilon"_a = 0.0, "scale"_a = 1.0, "groups"_a = 1, "groups_kept"_a = 1,
             "group_top"_a = 1);
    nb::class_<fh::Routing>(m, "Routing")
        .def(nb::init<>())
        .def_ro("count", &fh::Routing::count)
        .def_ro("chosen", &fh::Routing::chosen)
        .def_ro("ids", &fh::Routing::ids)
        .def_ro("weights", &fh::Routing::weights);
    m.def(
        "route",
        [](const fh::Tensor& x, const fh::Tensor& norm, float eps, const fh::Weight& weight,
           const fh::Tensor* bias, const fh::RouterRule& rule, int64_t count, fh::Routing& out,
           const fh::Tensor* offsets, const fh::Tensor* factors) {
            fh::route(x, {norm, eps}, weight, {bias, offsets, factors}, rule, count, out);
        },
        "x"_a, "norm"_a, "eps"_a, "weight"_a, "bias"_a.none(), "rule"_a, "count"_a, "out"_a,
        nb::kw_only(), "offsets"_a = nb::none(), "factors"_a = nb::none(), Release());
    m.def(
        "mix_experts",
        [](const fh::Tensor& norm, float eps, const fh::Weight& gate, const fh::Weight& up,
           const fh::Weight& down, const fh::Routing& routing, fh::Tensor& x, fh::Tensor* out,
           const fh::Gating& gating, const fh::Tensor* gate_bias, const fh::Tensor* up_bias,
           const fh::Tensor* down_bias, bool weigh_inputs) {
            fh::mix_experts(x, {norm, eps}, gate, up, down, routing,
                            {gating, gate_bias, up_bias, down_bias, weigh_inputs}, out ? *out : x);
        },
        "norm"_a, "eps"_a, "gate"_a, "up"_a, "down"_a, "routing"_a, "x"_a, "out"_a = nb::none(),
        nb::kw_only(), "gating"_a = fh::Gating{}, "gate_bias"_a = nb::none(),
        "up_bias"_a = nb::none(), "down_bias"_a = nb::none(), "weigh_inputs"_a = false, Release());
    m.def("open_rows", &fh::open_rows, "gates"_a, "count"_a, "a"_a, Release());
}

void bind_recurrent_ops(nb::module_& m) {
    m.def("convolve", &fh::convolve, "x"_a, "weight"_a, "step"_a, "kv"_a, "cell"_a, Release());
    m.def("delta_floats", &fh::delta_floats, "value_heads"_a, "key_width"_a, "value_width"_a);
    m.def(
        "delta_rule",
        [](fh::Tensor& qkv, const fh::Tensor& a, const fh::Tensor& b, const fh::Tensor& decay,
           const fh::Tensor& dt_bias, int key_heads, bool tiled, const fh::Step& step,
           const fh::KvPool& kv, int cell, fh::Tensor& out) {
            fh::delta_rule(qkv, {a, b, decay, dt_bias}, key_heads, tiled, step, kv, cell, out);
        },
        "qkv"_a, "a"_a, "b"_a, "decay"_a, "dt_bias"_a, "key_heads"_a, "tiled"_a, "step"_a, "kv"_a,
        "cell"_a, "out"_a, Release());
    m.def(
        "norm_gate",
        [](fh::Tensor& a, const fh::Tensor& norm, float eps, const fh::Tensor& gate,
           int64_t count) { fh::norm_gate(a, {norm, eps}, gate, count); },
        "a"_a, "norm"_a, "eps"_a, "gate"_a, "count"_a, Release());
    m.def("open_values", &fh::open_values, "gates"_a, "count"_a, "a"_a, Release());
}

void bind_adapter_ops(nb::module_& m) {
    nb::class_<fh::Thin>(m, "Thin")
        .def(nb::new_([](Matrix values, int bits) {
                 const auto rows = static_cast<int64_t>(values.shape(0));
                 const auto cols = static_cast<int64_t>(values.shape(1));
                 nb::gil_scoped_release release;
                 return fh::Thin(values.data(), rows, cols, bits);
             }),
             "values"_a, "bits"_a)
        .def_ro("rows", &fh::Thin::rows)
        .def_ro("cols", &fh::Thin::cols)
        .def_ro("bits", &fh::Thin::bits)
        .def_prop_ro("bytes", &fh::Thin::bytes);
    nb::class_<fh::Deltas>(m, "Deltas")
        .def(nb::init<>())
        .def(
            "put",
            [](fh::Deltas& deltas, int32_t index, const fh::Thin& down,
               const std::vector<const fh::Thin*>& ups, const std::vector<float>& scales,
               const fh::Thin* next) {
                fh::require(ups.size() == scales.size(), "deltas: one scale is needed an output");
                std::vector<fh::Deltas::Up> taken(ups.size());
                for (size_t i = 0; i < ups.size(); ++i) {
                    if (ups[i] != nullptr) taken[i].matrix = *ups[i];
                    taken[i].scale = scales[i];
                }
                deltas.put(index, down, taken, next);
            },
            "index"_a, "down"_a, "ups"_a, "scales"_a, "following"_a = nb::none())
        .def("drop", &fh::Deltas::drop, "index"_a);
    m.def("gate_rows", &fh::gate_rows, "up"_a, "count"_a, "gate"_a, "gating"_a = fh::Gating{},
          Release());
}

void bind_quantizers(nb::module_& m) {
    m.def(
        "quantize_rows",
        [](Matrix weights, const std::string& type_name, std::optional<Floats> importance,
           std::optional<int> threads) {
            return quantize_rows(weights, type_name, importance, {}, threads);
        },
        "weights"_a, "type_name"_a, "importance"_a = nb::none(), nb::kw_only(),
        "threads"_a = nb::none());
    m.def(
        "quantize_rows_with_feedback",
        [](Matrix weights, const std::string& type_name, const std::vector<Matrix>& factors,
           std::optional<Floats> importance, std::optional<int> threads) {
            fh::require(!factors.empty(), "quantize_rows_with_feedback: a factor is needed");
            return quantize_rows(weights, type_name, importance, factors, threads);
        },
        "weights"_a, "type_name"_a, "factors"_a, "importance"_a = nb::none(), nb::kw_only(),
        "threads"_a = nb::none());
    m.def("keep_spare_memory", &fh::keep_spare_memory, "keep"_a);
    m.def("mean_products", &mean_products, "x"_a);
    m.def("feedback_factor", &feedback_factor, "matrix"_a, "keep"_a = 1.0f, "add"_a = 0.0f,
          "coded"_a = false);
    m.def("can_quantize_to", [](const std::string& type_name) {
        const fh::BlockTraits* traits = fh::find_traits(type_name.c_str());
        return traits != nullptr && (traits->type == 1 || traits->type == 30 ||
                                     fh::kernels().search(traits->type).type >= 0);
    });
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);
    nb::register_exception_translator(
        [](const std::exception_ptr& pointer, void*) {
            try {
                std::rethrow_exception(pointer);
            } catch (const fh::ContractError& error) {
                const bool isa = std::string_view(error.what()).starts_with("isa:");
                const nb::object kind = nb::module_::import_("freehold.errors")
                                            .attr(isa ? "UnsupportedIsa" : "ContractBroken");
                PyErr_SetObject(kind.ptr(), kind(error.what()).ptr());
            }
        });
    m.attr("PAGE_TOKENS") = fh::kPageTokens;
    m.attr("GROUP_ROWS") = fh::kGroupRows;
    m.attr("FIXED16") = fh::kFixedType;
    m.attr("INT4_X32") = static_cast<int>(fh::kInt4x32);
    m.attr("INT4_X64") = static_cast<int>(fh::kInt4x64);
    m.attr("INT4_X128") = static_cast<int>(fh::kInt4x128);
    m.attr("INT8_X32") = static_cast<int>(fh::kInt8x32);
    m.attr("INT8_X128") = static_cast<int>(fh::kInt8x128);
    m.attr("FP8_X32") = static_cast<int>(fh::kFp8x32);
    m.attr("FP8_X128") = static_cast<int>(fh::kFp8x128);
    m.attr("NVFP4") = static_cast<int>(fh::kNvfp4);
    m.attr("MXFP4_PAIRS") = static_cast<int>(fh::kMxfp4Pairs);
    bind_data(m);
    bind_ops(m);
    bind_encoder_ops(m);
    bind_expert_ops(m);
    bind_recurrent_ops(m);
    bind_adapter_ops(m);
    bind_quantizers(m);
    m.def("supports_type", [](int type) { return fh::find_traits(type) != nullptr; });
    m.def("isa_name", &fh::active_isa);
    m.def("isa_available", &fh::isa_available);
    m.def("force_isa", &fh::force_isa);
    m.def("threads", &fh::thread_count);
    m.def("set_threads", &fh::set_thread_count);
    m.def("usable_cores", &fh::usable_cores);
}
