// Room: core/quants. The eight 6-bit scales and minima that Q4_K and Q5_K share.
#pragma once
#include "traits.h"

namespace freehold {

// packed[12] -> out[8] scales, out[8] minima.
inline void split_scales_k4(const uint8_t* packed, uint8_t* out) {
    for (int j = 0; j < 4; ++j) {
        out[j] = packed[j] & 63;
        out[8 + j] = packed[4 + j] & 63;
        out[4 + j] = static_cast<uint8_t>((packed[8 + j] & 15) | (packed[j] >> 6) << 4);
        out[12 + j] = static_cast<uint8_t>((packed[8 + j] >> 4) | (packed[4 + j] >> 6) << 4);
    }
}

// The way back.
inline void join_scales_k4(const uint8_t* in, uint8_t* packed) {
    for (int j = 0; j < 4; ++j) {
        packed[j] = static_cast<uint8_t>(in[j] | (in[4 + j] >> 4) << 6);
        packed[4 + j] = static_cast<uint8_t>(in[8 + j] | (in[12 + j] >> 4) << 6);
        packed[8 + j] = static_cast<uint8_t>((in[4 + j] & 15) | in[12 + j] << 4);
    }
}

inline void values_k4(const uint8_t* codes, const uint8_t* header, float* out) {
    const float d = read_half(header), dmin = read_half(header + 2);
    for (int i = 0; i < 256; ++i) {
        const float dl = d * static_cast<float>(header[4 + i / 32]);
        const float ml = dmin * static_cast<float>(header[12 + i / 32]);
        out[i] = dl * static_cast<float>(codes[i]) - ml;
    }
}

}  // namespace freehold
