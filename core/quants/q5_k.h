// Room: core/quants. Q5_K: 256 elements, w = d s q - dmin m, scales of 32 elements.
#pragma once
#include "k4_scales.h"

namespace freehold {

struct BlockQ5_K {
    uint16_t d, dmin;    // float16
    uint8_t scales[12];  // eight 6-bit scales and minima
    uint8_t qh[32];      // bit i/32 of byte i%32: the fifth bit of element i
    uint8_t qs[128];     // nibbles: per 64 elements, low ones first
};
static_assert(sizeof(BlockQ5_K) == 2 + 2 + 12 + 32 + 128);

inline void split_q5_k(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ5_K block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    std::memcpy(header + 2, &block.dmin, 2);
    split_scales_k4(block.scales, header + 4);
    for (int run = 0; run < 4; ++run)
        for (int j = 0; j < 32; ++j) {
            const uint8_t bits = static_cast<uint8_t>(block.qh[j] >> (2 * run));
            codes[64 * run + j] =
                static_cast<uint8_t>((block.qs[32 * run + j] & 15) | (bits & 1) << 4);
            codes[64 * run + 32 + j] =
                static_cast<uint8_t>((block.qs[32 * run + j] >> 4) | (bits & 2) << 3);
        }
}

inline void values_q5_k(const uint8_t* codes, const uint8_t* header, float* out) {
    values_k4(codes, header, out);
}

inline void join_q5_k(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ5_K block;
    std::memcpy(&block.d, header, 2);
    std::memcpy(&block.dmin, header + 2, 2);
    join_scales_k4(header + 4, block.scales);
    for (int j = 0; j < 32; ++j) {
        int bits = 0;
        for (int run = 0; run < 8; ++run) bits |= (codes[32 * run + j] >> 4 & 1) << run;
        block.qh[j] = static_cast<uint8_t>(bits);
    }
    for (int j = 0; j < 128; ++j) {
        const uint8_t* two = codes + (j / 32) * 64 + j % 32;
        block.qs[j] = static_cast<uint8_t>((two[0] & 15) | two[32] << 4);
    }
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ5_K{13, "Q5_K", 256, sizeof(BlockQ5_K), kNibble | kBit, 20, 2,
                                 split_q5_k, values_q5_k, 0, 0, join_q5_k};

}  // namespace freehold
