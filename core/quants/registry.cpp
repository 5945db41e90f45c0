// Room: core/quants. The one table of block types.
#include "fixed16.h"
#include "iq4_nl.h"
#include "iq4_xs.h"
#include "mxfp4.h"
#include "q2_k.h"
#include "q3_k.h"
#include "q4_0.h"
#include "q4_1.h"
#include "q4_k.h"
#include "q5_0.h"
#include "q5_1.h"
#include "q5_k.h"
#include "q6_k.h"
#include "q8_0.h"

namespace freehold {
namespace {

// Floats have no codes: rows of 16-bit or 32-bit numbers interleaved as they are.
constexpr BlockTraits kF32{0, "F32", 1, 4, kSingle, 0, 0, nullptr, nullptr};
constexpr BlockTraits kF16{1, "F16", 1, 2, kHalf, 0, 0, nullptr, nullptr};
constexpr BlockTraits kBF16{30, "BF16", 1, 2, kHalf, 0, 0, nullptr, nullptr};

constexpr const BlockTraits* kTable[] = {&kF32,  &kF16,  &kBF16, &kQ4_0, &kQ4_1, &kQ5_0,
                                         &kQ5_1, &kQ8_0, &kQ2_K, &kQ3_K, &kQ4_K, &kQ5_K,
                                         &kQ6_K, &kIQ4_NL, &kIQ4_XS, &kMXFP4, &kFixed16};

}  // namespace

const BlockTraits* find_traits(int type) {
    for (const auto* traits : kTable)
        if (traits->type == type) return traits;
    return nullptr;
}

}  // namespace freehold
