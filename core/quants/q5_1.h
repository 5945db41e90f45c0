// Room: core/quants. Q5_1: 32 elements, w = d q + m.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ5_1 {
    uint16_t d, m;   // float16 scale and minimum
    uint8_t qh[4];   // bit i: the fifth bit of element i
    uint8_t qs[16];  // nibbles
};
static_assert(sizeof(BlockQ5_1) == 2 + 2 + 4 + 16);

inline void split_q5_1(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ5_1 block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    std::memcpy(header + 2, &block.m, 2);
    split_nibbles(block.qs, codes);
    split_fifths(block.qh, codes);
}

inline void values_q5_1(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header), m = read_half(header + 2);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes[i]) + m;
}

inline void join_q5_1(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ5_1 block;
    std::memcpy(&block.d, header, 2);
    std::memcpy(&block.m, header + 2, 2);
    join_fifths(codes, block.qh);
    join_nibbles(codes, block.qs);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ5_1{7, "Q5_1", 32, sizeof(BlockQ5_1), kNibble | kBit, 4, 2,
                                 split_q5_1, values_q5_1, 0, 0, join_q5_1};

}  // namespace freehold
