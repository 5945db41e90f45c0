// Room: core/quants. The types that quantized safetensors become when they are loaded; no file has
// them as they are here, so their numbers lie beyond every number of a file's types.
//
// Int4 and Int8: w = f d (q - z), with a float16 scale d and a zero point z for a block, and a
// float32 factor f for the row: 2^k where scales are bfloat16, the scale itself where a row has one.
// Fp8: w = d e4m3[q], a float32 scale for a block; meets activations as floats.
// Nvfp4: w = (f d / g) e2m1[q], an E4M3 scale d for 16 elements; a row has factor f and divisor g,
// of which one is 1, since publishers write either.
// Mxfp4: the MXFP4 of ggml, but with even elements in low nibbles.
#pragma once
#include "traits.h"

namespace freehold {

enum CheckpointType : int {
    kInt4x32 = 1100,
    kInt4x64,
    kInt4x128,
    kInt8x32,
    kInt8x128,
    kFp8x32,
    kFp8x128,
    kNvfp4,
    kMxfp4Pairs
};

// A file block: float16 scale, zero point, codes.
template <int elements>
void split_int4(const uint8_t* block, uint8_t* codes, uint8_t* header) {
    std::memcpy(header, block, 3);
    split_pairs(block + 3, elements, codes);
}

template <int elements>
void split_int8(const uint8_t* block, uint8_t* codes, uint8_t* header) {
    std::memcpy(header, block, 3);
    std::memcpy(codes, block + 3, elements);
}

template <int elements>
void values_affine(const uint8_t* codes, const uint8_t* header, float* out) {
    const float scale = read_half(header + 4) * read_single(header);
    for (int i = 0; i < elements; ++i) out[i] = scale * static_cast<float>(codes[i] - header[6]);
}

// A file block: float32 scale, codes.
template <int elements>
void split_fp8(const uint8_t* block, uint8_t* codes, uint8_t* header) {
    std::memcpy(header, block, 4);
    std::memcpy(codes, block + 4, elements);
}

template <int elements>
void values_fp8(const uint8_t* codes, const uint8_t* header, float* out) {
    const float scale = read_single(header);
    for (int i = 0; i < elements; ++i) out[i] = e4m3_to_float(codes[i]) * scale;
}

// A file block: two E4M3 scales, then sixteen bytes of pairs.
inline void split_nvfp4(const uint8_t* block, uint8_t* codes, uint8_t* header) {
    std::memcpy(header, block, 2);
    split_pairs(block + 2, 32, codes);
}

inline void values_nvfp4(const uint8_t* codes, const uint8_t* header, float* out) {
    const float factor = read_single(header), divisor = read_single(header + 4);
    for (int i = 0; i < 32; ++i) {
        const float scale = e4m3_to_float(header[8 + i / 16]) * factor / divisor;
        out[i] = 0.5f * scale * static_cast<float>(kMxfp4Levels[codes[i]]);
    }
}

inline void split_mxfp4_pairs(const uint8_t* block, uint8_t* codes, uint8_t* header) {
    header[0] = block[0];
    split_pairs(block + 1, 32, codes);
}

template <int type, int elements>
constexpr BlockTraits int4_traits(const char* name) {
    return {type, name, elements, 3 + elements / 2, kNibble, 3, 1,
            split_int4<elements>, values_affine<elements>, 0, 1};
}

template <int type, int elements>
constexpr BlockTraits int8_traits(const char* name) {
    return {type, name, elements, 3 + elements, kByte, 3, 1,
            split_int8<elements>, values_affine<elements>, 0, 1};
}

template <int type, int elements>
constexpr BlockTraits fp8_traits(const char* name) {
    return {type, name, elements, 4 + elements, kMini, 4, 0,
            split_fp8<elements>, values_fp8<elements>, 1, 0};
}

}  // namespace freehold
