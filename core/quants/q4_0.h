// Room: core/quants. Q4_0: 32 elements, w = d (q - 8).
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ4_0 {
    uint16_t d;      // float16 scale
    uint8_t qs[16];  // nibbles
};
static_assert(sizeof(BlockQ4_0) == 2 + 16);

inline void split_q4_0(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ4_0 block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    split_nibbles(block.qs, codes);
}

inline void values_q4_0(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes[i] - 8);
}

inline void join_q4_0(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ4_0 block;
    std::memcpy(&block.d, header, 2);
    join_nibbles(codes, block.qs);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ4_0{2, "Q4_0", 32, sizeof(BlockQ4_0), kNibble, 2, 1,
                                 split_q4_0, values_q4_0, 0, 0, join_q4_0};

}  // namespace freehold
