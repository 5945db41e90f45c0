// Room: core/ops. What both ways of quantizing share: rows in, lanes of blocks, rows of bytes out.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "../quants/traits.h"
#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {

constexpr int kMaxBlock = 256;  // elements

// A matrix to be written in a type; checked, and with each row's largest number.
struct Rows {
    const float* values;
    int64_t rows, cols;
    const BlockTraits* traits;
    BlockSearch search;
    std::vector<float> largest;
};

Rows check_rows(const char* op, const float* values, int64_t rows, int64_t cols,
                const char* type_name);

// What columns count, about 1 on average and none of them nothing.
std::vector<float> check_importance(const char* op, const float* importance, int64_t cols);

// Gives each lane the unit of its row, a power of two near the largest number; lanes past the last
// row have unit 1.
inline void set_units(const Rows& from, int64_t first, int lanes, BlockScales& block) {
    for (int r = 0; r < lanes; ++r) {
        const float largest = first + r < from.rows ? from.largest[first + r] : 0.0f;
        const int power = largest > 0.0f ? std::min(std::max(std::ilogb(largest), -60), 126) : 0;
        block.unit[r] = std::ldexp(1.0f, power);
        block.inverse_unit[r] = std::ldexp(1.0f, -power);
    }
}

// Has the next `count` floats of a row come in while those before them are used: rows lie far apart.
inline void ask_for(const float* next, int count) {
    for (int i = 0; i < count; i += 16) __builtin_prefetch(next + i);
}

// One lane's block: levels (elements, lanes) to the bytes of the file.
inline void write_block(const Rows& from, const BlockScales& block, const float* levels, int lanes,
                        int lane, uint8_t* out) {
    const BlockTraits& traits = *from.traits;
    const int runs = from.search.runs, halves = traits.header_halves;
    uint8_t codes[kMaxBlock], header[32];
    for (int i = 0; i < traits.elements; ++i)
        codes[i] = from.search.codes.of[static_cast<int>(levels[i * lanes + lane]) + 128];
    if (halves > 0) std::memcpy(header, &block.d[lane], 2);
    if (halves > 1) std::memcpy(header + 2, &block.dmin[lane], 2);
    uint8_t* rest = header + 2 * halves;
    const int bytes = traits.header_bytes - 2 * halves;
    for (int b = 0; b < bytes && b < runs; ++b) rest[b] = block.scales[b][lane];
    for (int b = 0; b < runs && halves == 2 && bytes > 0; ++b) {
        if (bytes == runs) rest[b] |= static_cast<uint8_t>(block.mins[b][lane] << 4);
        else rest[runs + b] = block.mins[b][lane];
    }
    traits.join(codes, header, out);
}

}  // namespace freehold
