// Room: core/quants. IQ4_NL: 32 elements, w = d level[q].
#pragma once
#include "traits.h"

namespace freehold {

struct BlockIQ4_NL {
    uint16_t d;      // float16 scale
    uint8_t qs[16];  // nibbles: indices into kIq4Levels
};
static_assert(sizeof(BlockIQ4_NL) == 2 + 16);

inline void split_iq4_nl(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockIQ4_NL block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    split_nibbles(block.qs, codes);
}

inline void values_iq4_nl(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIq4Levels[codes[i]]);
}

inline void join_iq4_nl(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockIQ4_NL block;
    std::memcpy(&block.d, header, 2);
    join_nibbles(codes, block.qs);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kIQ4_NL{20, "IQ4_NL", 32, sizeof(BlockIQ4_NL), kNibble, 2, 1,
                                 split_iq4_nl, values_iq4_nl, 0, 0, join_iq4_nl};

}  // namespace freehold
