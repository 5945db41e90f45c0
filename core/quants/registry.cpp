// Room: core/quants. The one table of block types.
#include "checkpoint.h"
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

constexpr BlockTraits kInt4x32Traits = int4_traits<kInt4x32, 32>("Int4x32");
constexpr BlockTraits kInt4x64Traits = int4_traits<kInt4x64, 64>("Int4x64");
constexpr BlockTraits kInt4x128Traits = int4_traits<kInt4x128, 128>("Int4x128");
constexpr BlockTraits kInt8x32Traits = int8_traits<kInt8x32, 32>("Int8x32");
constexpr BlockTraits kInt8x128Traits = int8_traits<kInt8x128, 128>("Int8x128");
constexpr BlockTraits kFp8x32Traits = fp8_traits<kFp8x32, 32>("Fp8x32");
constexpr BlockTraits kFp8x128Traits = fp8_traits<kFp8x128, 128>("Fp8x128");
constexpr BlockTraits kNvfp4Traits{kNvfp4, "Nvfp4", 32, 18, kNibble, 2, 0,
                                   split_nvfp4, values_nvfp4, 0, 2};
constexpr BlockTraits kMxfp4PairsTraits{kMxfp4Pairs, "Mxfp4Pairs", 32, 17, kNibble, 1, 0,
                                        split_mxfp4_pairs, values_mxfp4};

constexpr const BlockTraits* kTable[] = {&kF32,  &kF16,  &kBF16, &kQ4_0, &kQ4_1, &kQ5_0,
                                         &kQ5_1, &kQ8_0, &kQ2_K, &kQ3_K, &kQ4_K, &kQ5_K,
                                         &kQ6_K, &kIQ4_NL, &kIQ4_XS, &kMXFP4, &kFixed16,
                                         &kInt4x32Traits, &kInt4x64Traits, &kInt4x128Traits,
                                         &kInt8x32Traits, &kInt8x128Traits, &kFp8x32Traits,
                                         &kFp8x128Traits, &kNvfp4Traits, &kMxfp4PairsTraits};

}  // namespace

const BlockTraits* find_traits(int type) {
    for (const auto* traits : kTable)
        if (traits->type == type) return traits;
    return nullptr;
}

const BlockTraits* find_traits(const char* name) {
    for (const auto* traits : kTable)
        if (std::strcmp(traits->name, name) == 0) return traits;
    return nullptr;
}

}  // namespace freehold
