// Room: core/quants. What a block type is: how a file block splits into codes and a header,
// and how those give values. Nothing here knows an instruction set.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace freehold {

// Which bit planes of the codes are stored, in this order, per 32 elements of 16 rows.
enum Plane : int {
    kNibble = 1,  // 256 bytes: low four bits
    kCrumb = 2,   // 128 bytes: two bits (the upper two when there are nibbles)
    kBit = 4,     //  64 bytes: one bit above the others
    kByte = 8,    // 512 bytes: the whole code
    kHalf = 16,   // 1024 bytes: a 16-bit float
    kSingle = 32, // 2048 bytes: a 32-bit float
    kFixed = 64,  // 13-bit whole numbers in pairs, see quants/fixed16.h
    kMini = 128   //  512 bytes: an 8-bit float, column after column of 16 rows
};

constexpr int plane_bytes(int planes) {
    return (planes & kNibble ? 256 : 0) + (planes & kCrumb ? 128 : 0) + (planes & kBit ? 64 : 0) +
           (planes & (kByte | kMini) ? 512 : 0) + (planes & kHalf ? 1024 : 0) + (planes & kSingle ? 2048 : 0);
}

struct BlockTraits {
    int type;  // ggml's type number
    const char* name;
    int elements;      // per block
    int bytes;         // per block, in a file
    int planes;        // of the rearranged codes
    int header_bytes;  // per block and row: float32 fields, float16 fields, then single bytes
    int header_halves;
    // One file block -> codes[elements] (unsigned) and header[header_bytes].
    void (*split)(const uint8_t* block, uint8_t* codes, uint8_t* header);
    // The reference values of a block, the same float operations as the gguf package. The header
    // comes after the row's own floats, if the type has any.
    void (*values)(const uint8_t* codes, const uint8_t* header, float* out);
    int header_singles = 0;
    int row_floats = 0;  // float32 numbers before a row's blocks, once for the whole row
    // The way back from `split`; null where nothing is written in this type.
    void (*join)(const uint8_t* codes, const uint8_t* header, uint8_t* block) = nullptr;
    bool floating() const { return (planes & (kHalf | kSingle | kMini)) != 0; }  // meets floats
    bool plain() const { return (planes & (kHalf | kSingle)) != 0; }  // numbers, no blocks
    bool fixed() const { return planes == kFixed; }
    size_t row_bytes(int64_t cols) const {  // of a file's row
        return 4 * static_cast<size_t>(row_floats) + static_cast<size_t>(cols / elements) * bytes;
    }
};

const BlockTraits* find_traits(int type);  // nullptr when the type is not supported
const BlockTraits* find_traits(const char* name);  // likewise

inline float half_to_float(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    const uint32_t rest = h & 0x7fffu;
    uint32_t bits;
    if (rest >= 0x7c00u) {
        bits = sign | 0x7f800000u | ((rest & 0x3ffu) << 13);
    } else if (rest >= 0x400u) {
        bits = sign | ((rest << 13) + 0x38000000u);
    } else {  // subnormal: an exact product
        const float value = static_cast<float>(rest) * 0x1p-24f;
        std::memcpy(&bits, &value, 4);
        bits |= sign;
    }
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

inline uint16_t float_to_half(float f) {  // round to nearest even, as vcvtps2ph does
    uint32_t x;
    std::memcpy(&x, &f, 4);
    const uint16_t sign = static_cast<uint16_t>((x >> 16) & 0x8000u);
    x &= 0x7fffffffu;
    if (x > 0x7f800000u) return sign | 0x7e00u;
    if (x >= 0x477ff000u) return sign | 0x7c00u;
    if (x < 0x38800000u) {  // a subnormal half: let float addition do the rounding
        float magnitude;
        std::memcpy(&magnitude, &x, 4);
        magnitude += 0.5f;
        uint32_t bits;
        std::memcpy(&bits, &magnitude, 4);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
    }
    x += 0xfffu + ((x >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((x - 0x38000000u) >> 13));
}

inline float bfloat_to_float(uint16_t b) {
    const uint32_t bits = static_cast<uint32_t>(b) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

inline uint16_t float_to_bfloat(float f) {  // round to nearest even; f is finite
    uint32_t x;
    std::memcpy(&x, &f, 4);
    return static_cast<uint16_t>((x + 0x7fffu + (x >> 16 & 1u)) >> 16);
}

inline uint16_t read_u16(const uint8_t* p) {
    uint16_t v;
    std::memcpy(&v, p, 2);
    return v;
}

inline float read_half(const uint8_t* p) { return half_to_float(read_u16(p)); }

// The 16 levels of IQ4_NL and IQ4_XS (ggml's kvalues_iq4nl).
inline constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
// E2M1 doubled, so that the levels are whole; the scale is halved instead.
inline constexpr int8_t kMxfp4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e-128): an E8M0 scale halved for the doubled levels; subnormal below e = 2.
inline float e8m0_half(uint8_t e) {
    uint32_t bits = e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

// E4M3 without infinities: 1 sign, 4 exponent, 3 mantissa bits. As a float16 it is 2^8 too small.
inline float e4m3_to_float(uint8_t v) {
    return 256.0f * half_to_float(static_cast<uint16_t>((v & 0x80u) << 8 | (v & 0x7fu) << 7));
}

inline float read_single(const uint8_t* p) {
    float v;
    std::memcpy(&v, p, 4);
    return v;
}

// Low nibbles are even elements: the layout of every packed safetensors type.
inline void split_pairs(const uint8_t* qs, int elements, uint8_t* codes) {
    for (int j = 0; j < elements / 2; ++j) {
        codes[2 * j] = qs[j] & 15;
        codes[2 * j + 1] = qs[j] >> 4;
    }
}

// Low nibbles are elements 0..15, high nibbles 16..31: the layout of every 32-element type.
inline void split_nibbles(const uint8_t* qs, uint8_t* codes) {
    for (int j = 0; j < 16; ++j) {
        codes[j] = qs[j] & 15;
        codes[j + 16] = qs[j] >> 4;
    }
}

inline void join_nibbles(const uint8_t* codes, uint8_t* qs) {
    for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
}

// Adds to 32 codes their fifth bits, element i's in bit i.
inline void split_fifths(const uint8_t* qh, uint8_t* codes) {
    for (int i = 0; i < 32; i += 8) {
        // Byte k of `bits` keeps bit k; what is left of it carries into bit 7, which becomes bit 4.
        const uint64_t bits = qh[i / 8] * 0x0101010101010101u & 0x8040201008040201u;
        const uint64_t fifths = (bits + 0x7f7f7f7f7f7f7f7fu) >> 3 & 0x1010101010101010u;
        uint64_t eight;
        std::memcpy(&eight, codes + i, 8);
        eight |= fifths;
        std::memcpy(codes + i, &eight, 8);
    }
}

// The fifth bits of 32 codes.
inline void join_fifths(const uint8_t* codes, uint8_t* qh) {
    for (int byte = 0; byte < 4; ++byte) {
        int bits = 0;
        for (int i = 0; i < 8; ++i) bits |= (codes[8 * byte + i] >> 4 & 1) << i;
        qh[byte] = static_cast<uint8_t>(bits);
    }
}

}  // namespace freehold
