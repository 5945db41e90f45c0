// Room: core/quants. Q6_K: 256 elements, w = d s (q - 32), scales of 16 elements.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ6_K {
    uint8_t ql[128];    // low nibbles
    uint8_t qh[64];     // upper two bits
    int8_t scales[16];
    uint16_t d;         // float16
};
static_assert(sizeof(BlockQ6_K) == 128 + 64 + 16 + 2);

inline void split_q6_k(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ6_K block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    std::memcpy(header + 2, block.scales, 16);
    for (int half = 0; half < 2; ++half) {  // of 128; nibbles pair i with i + 64
        const uint8_t* low = block.ql + 64 * half;
        const uint8_t* high = block.qh + 32 * half;
        uint8_t* out = codes + 128 * half;
        for (int j = 0; j < 32; ++j) {
            out[j] = static_cast<uint8_t>((low[j] & 15) | (high[j] & 3) << 4);
            out[32 + j] = static_cast<uint8_t>((low[32 + j] & 15) | (high[j] & 12) << 2);
            out[64 + j] = static_cast<uint8_t>((low[j] >> 4) | (high[j] & 48));
            out[96 + j] = static_cast<uint8_t>((low[32 + j] >> 4) | (high[j] & 192) >> 2);
        }
    }
}

inline void values_q6_k(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 256; ++i) {
        const float dl = d * static_cast<float>(static_cast<int8_t>(header[2 + i / 16]));
        out[i] = dl * static_cast<float>(codes[i] - 32);
    }
}

inline void join_q6_k(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ6_K block;
    std::memcpy(&block.d, header, 2);
    std::memcpy(block.scales, header + 2, 16);
    for (int j = 0; j < 128; ++j) {
        const uint8_t* two = codes + (j / 64) * 128 + j % 64;
        block.ql[j] = static_cast<uint8_t>((two[0] & 15) | two[64] << 4);
    }
    for (int j = 0; j < 64; ++j) {
        const uint8_t* four = codes + (j / 32) * 128 + j % 32;
        block.qh[j] = static_cast<uint8_t>(four[0] >> 4 | (four[32] >> 4) << 2 |
                                           (four[64] >> 4) << 4 | (four[96] >> 4) << 6);
    }
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ6_K{14, "Q6_K", 256, sizeof(BlockQ6_K), kNibble | kCrumb, 18, 1,
                                 split_q6_k, values_q6_k, 0, 0, join_q6_k};

}  // namespace freehold
