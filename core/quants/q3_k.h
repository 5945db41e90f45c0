// Room: core/quants. Q3_K: 256 elements, w = d (s - 32) (q - 4), scales of 16 elements.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ3_K {
    uint8_t hmask[32];   // bit i/32 of byte i%32: the third bit of element i
    uint8_t qs[64];      // two bits
    uint8_t scales[12];  // sixteen 6-bit scales
    uint16_t d;          // float16
};
static_assert(sizeof(BlockQ3_K) == 32 + 64 + 12 + 2);

inline void split_q3_k(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ3_K block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    for (int i = 0; i < 16; ++i) {  // four low bits in bytes 0..7, two high bits in 8..11
        const int low = i < 8 ? block.scales[i] & 15 : block.scales[i - 8] >> 4;
        const int high = (block.scales[8 + i % 4] >> (2 * (i / 4))) & 3;
        header[2 + i] = static_cast<uint8_t>(static_cast<int8_t>((low | high << 4) - 32));
    }
    for (int run = 0; run < 8; ++run)
        for (int j = 0; j < 32; ++j) {
            const int low = (block.qs[(run / 4) * 32 + j] >> (2 * (run % 4))) & 3;
            codes[32 * run + j] =
                static_cast<uint8_t>(low | ((block.hmask[j] >> run) & 1) << 2);
        }
}

inline void values_q3_k(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 256; ++i) {
        const float dl = d * static_cast<float>(static_cast<int8_t>(header[2 + i / 16]));
        out[i] = dl * static_cast<float>(codes[i] - 4);
    }
}

inline void join_q3_k(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ3_K block;
    std::memcpy(&block.d, header, 2);
    std::memset(block.scales, 0, sizeof(block.scales));
    for (int i = 0; i < 16; ++i) {
        const int scale = static_cast<int8_t>(header[2 + i]) + 32;
        block.scales[i % 8] |= static_cast<uint8_t>((scale & 15) << (i < 8 ? 0 : 4));
        block.scales[8 + i % 4] |= static_cast<uint8_t>((scale >> 4) << (2 * (i / 4)));
    }
    for (int j = 0; j < 32; ++j) {
        int bits = 0;
        for (int run = 0; run < 8; ++run) bits |= (codes[32 * run + j] >> 2 & 1) << run;
        block.hmask[j] = static_cast<uint8_t>(bits);
    }
    for (int j = 0; j < 64; ++j) {
        const uint8_t* four = codes + (j / 32) * 128 + j % 32;
        block.qs[j] = static_cast<uint8_t>((four[0] & 3) | (four[32] & 3) << 2 |
                                           (four[64] & 3) << 4 | (four[96] & 3) << 6);
    }
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ3_K{11, "Q3_K", 256, sizeof(BlockQ3_K), kCrumb | kBit, 18, 1,
                                 split_q3_k, values_q3_k, 0, 0, join_q3_k};

}  // namespace freehold
