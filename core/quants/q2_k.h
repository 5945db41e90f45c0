// Room: core/quants. Q2_K: 256 elements, w = d s q - dmin m, scales of 16 elements.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ2_K {
    uint8_t scales[16];  // low nibble s, high nibble m
    uint8_t qs[64];      // two bits
    uint16_t d, dmin;    // float16
};
static_assert(sizeof(BlockQ2_K) == 16 + 64 + 2 + 2);

inline void split_q2_k(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ2_K block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    std::memcpy(header + 2, &block.dmin, 2);
    std::memcpy(header + 4, block.scales, 16);
    for (int run = 0; run < 8; ++run)  // halves of 128; each byte column holds four runs
        for (int j = 0; j < 32; ++j)
            codes[32 * run + j] = (block.qs[(run / 4) * 32 + j] >> (2 * (run % 4))) & 3;
}

inline void values_q2_k(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header), dmin = read_half(header + 2);
    for (int i = 0; i < 256; ++i) {
        const uint8_t scale = header[4 + i / 16];
        const float dl = d * static_cast<float>(scale & 15);
        const float ml = dmin * static_cast<float>(scale >> 4);
        out[i] = dl * static_cast<float>(codes[i]) - ml;
    }
}

inline void join_q2_k(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ2_K block;
    std::memcpy(&block.d, header, 2);
    std::memcpy(&block.dmin, header + 2, 2);
    std::memcpy(block.scales, header + 4, 16);
    for (int j = 0; j < 64; ++j) {
        const uint8_t* four = codes + (j / 32) * 128 + j % 32;
        block.qs[j] = static_cast<uint8_t>(four[0] | four[32] << 2 | four[64] << 4 | four[96] << 6);
    }
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ2_K{10, "Q2_K", 256, sizeof(BlockQ2_K), kCrumb, 20, 2,
                                 split_q2_k, values_q2_k, 0, 0, join_q2_k};

}  // namespace freehold
