// Room: core/quants. MXFP4: 32 elements, w = 2^(e-128) level[q], levels doubled E2M1.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockMXFP4 {
    uint8_t e;       // E8M0 scale
    uint8_t qs[16];  // nibbles: indices into kMxfp4Levels
};
static_assert(sizeof(BlockMXFP4) == 1 + 16);

inline void split_mxfp4(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockMXFP4 block;
    std::memcpy(&block, bytes, sizeof(block));
    header[0] = block.e;
    split_nibbles(block.qs, codes);
}

inline void values_mxfp4(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = e8m0_half(header[0]);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kMxfp4Levels[codes[i]]);
}

inline void join_mxfp4(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockMXFP4 block;
    block.e = header[0];
    join_nibbles(codes, block.qs);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kMXFP4{39, "MXFP4", 32, sizeof(BlockMXFP4), kNibble, 1, 0,
                                 split_mxfp4, values_mxfp4, 0, 0, join_mxfp4};

}  // namespace freehold
