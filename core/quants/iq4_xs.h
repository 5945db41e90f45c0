// Room: core/quants. IQ4_XS: 256 elements, w = d (s - 32) level[q], scales of 32 elements.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockIQ4_XS {
    uint16_t d;           // float16
    uint16_t scales_h;    // two high bits of each scale
    uint8_t scales_l[4];  // four low bits
    uint8_t qs[128];      // nibbles: per 32 elements, low ones first
};
static_assert(sizeof(BlockIQ4_XS) == 2 + 2 + 4 + 128);

inline void split_iq4_xs(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockIQ4_XS block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    for (int b = 0; b < 8; ++b) {
        const int low = (block.scales_l[b / 2] >> (4 * (b % 2))) & 15;
        const int high = (block.scales_h >> (2 * b)) & 3;
        header[2 + b] = static_cast<uint8_t>(static_cast<int8_t>((low | high << 4) - 32));
        split_nibbles(block.qs + 16 * b, codes + 32 * b);
    }
}

inline void values_iq4_xs(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 256; ++i) {
        const float dl = d * static_cast<float>(static_cast<int8_t>(header[2 + i / 32]));
        out[i] = dl * static_cast<float>(kIq4Levels[codes[i]]);
    }
}

inline constexpr BlockTraits kIQ4_XS{23, "IQ4_XS", 256, sizeof(BlockIQ4_XS), kNibble, 10, 1,
                                 split_iq4_xs, values_iq4_xs};

}  // namespace freehold
