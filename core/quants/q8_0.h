// Room: core/quants. Q8_0: 32 elements, w = d q; codes are stored as q + 128.
#pragma once
#include "traits.h"

namespace freehold {

struct BlockQ8_0 {
    uint16_t d;     // float16 scale
    int8_t qs[32];  // signed codes
};
static_assert(sizeof(BlockQ8_0) == 2 + 32);

inline void split_q8_0(const uint8_t* bytes, uint8_t* codes, uint8_t* header) {
    BlockQ8_0 block;
    std::memcpy(&block, bytes, sizeof(block));
    std::memcpy(header, &block.d, 2);
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(block.qs[i] + 128);
}

inline void values_q8_0(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes[i] - 128);
}

inline void join_q8_0(const uint8_t* codes, const uint8_t* header, uint8_t* bytes) {
    BlockQ8_0 block;
    std::memcpy(&block.d, header, 2);
    for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<int8_t>(codes[i] - 128);
    std::memcpy(bytes, &block, sizeof(block));
}

inline constexpr BlockTraits kQ8_0{8, "Q8_0", 32, sizeof(BlockQ8_0), kByte, 2, 1,
                                 split_q8_0, values_q8_0, 0, 0, join_q8_0};

}  // namespace freehold
