// Room: core/quants. Fixed16: float32 weights rounded when they are loaded; no file has this type.
//
// A row's 128 columns share a float scale, w = d q with |q| <= 4095. Activations are rounded alike,
// so that 128 products sum exactly in 32 bits: 128 * 4095 * 4095 < 2^31. A group of 16 rows lies as
// blocks of 128 columns (the last may be shorter): 16 scales, then for each pair of columns 16
// pairs of int16, one a row.
#pragma once
#include "freehold/types.h"
#include "traits.h"

namespace freehold {

constexpr int kFixedType = 1016;     // beyond every number of a file's types
constexpr int kFixedBlock = 128;     // columns that share a scale
constexpr float kFixedLevels = 4095.0f;

// Bytes of the first `cols` columns of a group.
constexpr size_t fixed_group_bytes(int64_t cols) {
    return static_cast<size_t>(cols + kFixedBlock - 1) / kFixedBlock * kGroupRows * sizeof(float) +
           static_cast<size_t>(cols) * kGroupRows * sizeof(int16_t);
}

// Bytes of one token's rounded activations: per block a scale and 128 codes.
constexpr int64_t fixed_token_bytes(int64_t cols) {
    return (cols + kFixedBlock - 1) / kFixedBlock *
           static_cast<int64_t>(sizeof(float) + kFixedBlock * sizeof(int16_t));
}

// What `pack` takes is float32, 32 at a time as all kernels do.
inline constexpr BlockTraits kFixed16{kFixedType, "Fixed16", kBlock, kBlock * sizeof(float),
                                      kFixed, 0, 0, nullptr, nullptr};

}  // namespace freehold
