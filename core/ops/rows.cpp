// Room: core/ops. Embedding, reference unpacking, and the measure of memory bandwidth.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "../quants/traits.h"
#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {

constexpr int kRunElements = 16384;  // that a thread unpacks at once

void embed(const Weight& weight, const Step& step, Tensor& x) {
    require(x.rows >= step.count() && x.cols == weight.cols, "embed: output shape differs");
    for (const int32_t token : step.tokens)
        require(token >= 0 && token < weight.rows, "embed: token outside the vocabulary");
    parallel(step.count(), [&](int64_t t, int) { weight.unpack_row(step.tokens[t], x.row(t)); });
}

namespace {

// The values of blocks that lie one after another.
void values_of(const BlockTraits& traits, const uint8_t* raw, int64_t blocks, float* out) {
    if (traits.planes == kSingle) {
        std::memcpy(out, raw, static_cast<size_t>(blocks) * 4);
    } else if (traits.type == 1) {
        for (int64_t b = 0; b < blocks; ++b) out[b] = read_half(raw + 2 * b);
    } else if (traits.planes == kHalf) {
        for (int64_t b = 0; b < blocks; ++b) out[b] = bfloat_to_float(read_u16(raw + 2 * b));
    } else {
        uint8_t codes[256], header[32];
        for (int64_t b = 0; b < blocks; ++b, raw += traits.bytes, out += traits.elements) {
            traits.split(raw, codes, header);
            traits.values(codes, header, out);
        }
    }
}

}  // namespace

void dequantize(int type, const uint8_t* raw, size_t raw_bytes, float* out, int64_t count) {
    const BlockTraits* traits = find_traits(type);
    require(traits != nullptr && !traits->fixed() && traits->row_floats == 0,
            "dequantize: unsupported block type");
    require(count >= 0 && count % traits->elements == 0 &&
                raw_bytes == static_cast<size_t>(count / traits->elements) * traits->bytes,
            "dequantize: bytes do not match the number of elements");
    const int64_t blocks = count / traits->elements, run = std::max(1, kRunElements / traits->elements);
    parallel((blocks + run - 1) / run, [&](int64_t item, int) {
        const int64_t first = item * run;
        values_of(*traits, raw + first * traits->bytes, std::min(run, blocks - first),
                  out + first * traits->elements);
    });
}

double measure_bandwidth() {
    constexpr int64_t kFloats = int64_t{64} << 20;  // 256 MiB, larger than any cache here
    constexpr int64_t kChunk = kFloats / 64;
    const Memory memory(kFloats * sizeof(float));
    auto* data = reinterpret_cast<float*>(memory.data());
    parallel(64, [&](int64_t i, int) {
        for (int64_t k = 0; k < kChunk; k += 1024) data[i * kChunk + k] = 1.0f;  // touch pages
    });
    double best = 0.0;
    float sums[64];
    for (int round = 0; round < 5; ++round) {
        const auto start = std::chrono::steady_clock::now();
        parallel(64, [&](int64_t i, int) {
            sums[i] = kernels().read_all(data + i * kChunk, kChunk);
        });
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        const double rate = static_cast<double>(kFloats * sizeof(float)) / took.count();
        if (sums[0] >= 0.0f && rate > best) best = rate;
    }
    return best;
}

}  // namespace freehold
