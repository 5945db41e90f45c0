// Room: core/quants. Q5_0: 32 elements, w = d (q - 16).
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ5_0 {
    uint16_t d;      // float16 scale
    uint8_t qh[4];   // bit i: the fifth bit of element i
    uint8_t qs[16];  // nibbles
};
static_assert(sizeof(BlockQ5_0) == 2 + 4 + 16);

inline void split_q5_0(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ5_0 block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    split_nibbles(block.qs, codes);
    split_fifths(block.qh, codes);
}

inline void values_q5_0(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes[i] - 16);
}

inline void join_q5_0(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ5_0 block;
    std::memcpy(&block.d, header, 2);
    join_fifths(codes, block.qh);
    join_nibbles(codes, block.qs);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ5_0{6, "Q5_0", 32, sizeof(BlockQ5_0), kNibble | kBit, 2, 1,
                                 split_q5_0, values_q5_0, 0, 0, join_q5_0};

}  // namespace freehold
