// Room: core/quants. Q4_1: 32 elements, w = d q + m.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ4_1 {
    uint16_t d, m;   // float16 scale and minimum
    uint8_t qs[16];  // nibbles
};
static_assert(sizeof(BlockQ4_1) == 2 + 2 + 16);

inline void split_q4_1(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ4_1 block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    std::memcpy(header + 2, &block.m, 2);
    split_nibbles(block.qs, codes);
}

inline void values_q4_1(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header), m = read_half(header + 2);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes[i]) + m;
}

inline void join_q4_1(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ4_1 block;
    std::memcpy(&block.d, header, 2);
    std::memcpy(&block.m, header + 2, 2);
    join_nibbles(codes, block.qs);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ4_1{3, "Q4_1", 32, sizeof(BlockQ4_1), kNibble, 4, 2,
                                 split_q4_1, values_q4_1, 0, 0, join_q4_1};

}  // namespace freehold
