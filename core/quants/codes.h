// Room: core/quants. Writes and reads the bit planes of 16 interleaved rows.
// Within a plane, byte 4 r + i of vector j belongs to row r, element 4 j + i of the 32.
#pragma once
#include "freehold/types.h"
#include "traits.h"

namespace freehold {

// rows[16][32] codes -> the planes of one sub-block, plane_bytes(planes) long.
inline void write_planes(int planes, const uint8_t rows[16][kBlock], uint8_t* out) {
    uint32_t unit[8][16];  // unit[j][r]: four codes of row r
    for (int r = 0; r < 16; ++r)
        for (int j = 0; j < 8; ++j) std::memcpy(&unit[j][r], rows[r] + 4 * j, 4);
    if (planes & kNibble) {
        for (int j = 0; j < 4; ++j)
            for (int r = 0; r < 16; ++r) {
                const uint32_t packed =
                    (unit[j][r] & 0x0f0f0f0fu) | (unit[j + 4][r] & 0x0f0f0f0fu) << 4;
                std::memcpy(out + 64 * j + 4 * r, &packed, 4);
            }
        out += 256;
    }
    if (planes & kCrumb) {
        const int low = planes & kNibble ? 4 : 0;
        for (int v = 0; v < 2; ++v)
            for (int r = 0; r < 16; ++r) {
                uint32_t packed = 0;
                for (int f = 0; f < 4; ++f)
                    packed |= (unit[v + 2 * f][r] >> low & 0x03030303u) << (2 * f);
                std::memcpy(out + 64 * v + 4 * r, &packed, 4);
            }
        out += 128;
    }
    if (planes & kBit) {
        const int place = planes & kNibble ? 4 : 2;
        for (int j = 0; j < 8; ++j) {
            uint64_t mask = 0;
            for (int r = 0; r < 16; ++r) {
                const uint32_t bits = unit[j][r] >> place & 0x01010101u;
                mask |= static_cast<uint64_t>((bits * 0x10204080u) >> 28) << (4 * r);
            }
            std::memcpy(out + 8 * j, &mask, 8);
        }
        out += 64;
    }
    if (planes & kByte)
        for (int j = 0; j < 8; ++j) std::memcpy(out + 64 * j, unit[j], 64);
    if (planes & kMini)
        for (int r = 0; r < 16; ++r)
            for (int k = 0; k < kBlock; ++k) out[16 * k + r] = rows[r][k];
}

// The 32 codes of row `r` from the planes of one sub-block.
inline void read_planes(int planes, const uint8_t* in, int r, uint8_t codes[kBlock]) {
    const int base = planes & kNibble ? 256 : 0;
    for (int k = 0; k < kBlock; ++k) {
        const int j = k / 4, i = 4 * r + k % 4;
        uint8_t code = 0;
        if (planes & kNibble) code = in[64 * (j % 4) + i] >> (j < 4 ? 0 : 4) & 15;
        if (planes & kCrumb) {
            const int two = in[base + 64 * (j % 2) + i] >> (2 * (j / 2)) & 3;
            code = static_cast<uint8_t>(code | two << (planes & kNibble ? 4 : 0));
        }
        if (planes & kBit) {
            const int bit = in[base + (planes & kCrumb ? 128 : 0) + 8 * j + i / 8] >> (i % 8) & 1;
            code = static_cast<uint8_t>(code | bit << (planes & kNibble ? 4 : 2));
        }
        if (planes & kByte) code = in[64 * j + i];
        if (planes & kMini) code = in[16 * k + r];
        codes[k] = code;
    }
}

}  // namespace freehold
