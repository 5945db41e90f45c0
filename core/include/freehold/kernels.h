// Room: core. The table of functions that each instruction set provides. One reduction order
// a function: a result depends on its own row and weight only, never on tile or thread.
#pragma once
#include <cstdint>

#include "types.h"

namespace freehold {

constexpr int kMaxTile = 16;
constexpr int kLatentRows = 32;  // query rows that share an unpacked page
// Bytes of one activation block and token: 32 codes and eight numbers, see tile.h. A token has one
// float more, after its blocks.
constexpr int kActBytes = 64;
constexpr int64_t act_bytes(int64_t cols) { return cols / kBlock * kActBytes + 4; }
constexpr int kTileTypes = 26;  // block types that weights come in
constexpr int kThinBlock = 32;  // columns of an adapter's matrix that share a scale

// rows[0] to rows[tile - 1] -> blocks of 32 codes a token, then the per-token numbers; see tile.h.
using RoundFn = void (*)(const float* const* rows, int64_t cols, uint8_t* act, int tile);
// The `m`th of `tile` tokens alone.
using RowFn = void (*)(const float* x, int64_t cols, uint8_t* act, int m, int tile);
// What a thin matrix adds to one token: factor w . values, where there are groups. In 8 bits the values
// may have been rounded to digits, see adapt.h.
struct Raise {
    const uint8_t* groups = nullptr;
    size_t group_bytes = 0;
    int64_t cols = 0;
    float factor = 0.0f;
    int bits = 0;
    const float* values = nullptr;
    uint8_t* digits = nullptr;  // null: not rounded
};

// Memory that will be read soon: group `group` of the matrices that `tokens` will be raised by, and runs
// of kSoonLines lines of 64 bytes. A product that waits for no memory itself may ask for it meanwhile.
constexpr int kSoonLines = 5;
class Soon {
  public:
    Soon() = default;
    Soon(const Raise* tokens, int64_t token_count, int64_t group, const uint8_t* const* runs,
         int64_t run_count)
        : token_(tokens), end_token_(tokens + token_count), group_(group), run_(runs),
          end_run_(runs + run_count) {}
    // Asks for as much at each of `steps` calls of ask().
    void spread(int64_t steps) {
        tokens_ = (end_token_ - token_ + steps - 1) / steps;
        runs_ = (end_run_ - run_ + steps - 1) / steps;
    }
    void ask() {
        for (int64_t i = 0; i < tokens_ && token_ != end_token_; ++i, ++token_) {
            const uint8_t* own = token_->groups + static_cast<size_t>(group_) * token_->group_bytes;
            for (size_t line = 0; line < token_->group_bytes; line += 64)
                __builtin_prefetch(own + line, 0, 2);
        }
        for (int64_t i = 0; i < runs_ && run_ != end_run_; ++i, ++run_)
            for (int line = 0; line < kSoonLines; ++line) __builtin_prefetch(*run_ + 64 * line, 0, 2);
    }

  private:
    const Raise *token_ = nullptr, *end_token_ = nullptr;
    int64_t group_ = 0;
    const uint8_t* const *run_ = nullptr, *const *end_run_ = nullptr;
    int64_t tokens_ = 0, runs_ = 0;  // of a step
};
// out[m * 16 + r] = row r of the group . token m, for `tile` tokens.
using TileFn = void (*)(const uint8_t* group, int64_t cols, const uint8_t* act, int tile,
                        float* out, Soon* soon);

// One query row: a head of a token.
struct QueryRow {
    const float* q;     // (A,)
    float* out;         // (A_v,)
    int32_t keys;       // it may see keys [first, keys)
    int32_t first;
};

// A sequence's pages of one layer and KV head.
struct PageView {
    const uint16_t* const* keys;    // per page: (A, P), or latent rows (P, A_padded)
    const uint16_t* const* values;  // per page: (P, A_padded)
    const uint16_t* after;  // what is looked at after a segment of these; a hint
    int key_width, key_padded, value_padded;
    float scale;
    float softcap;  // 0: none
};

// The state of a row's softmax: largest score, sum of exponentials, weighted values.
struct RowState {
    float largest, sum;
};

// Whole groups of a thin matrix, as kernels/adapt.h lays them out.
struct ThinView {
    const uint8_t* groups;
    int64_t cols, rows;
};

// The `place`th of the `tile` tokens whose activation blocks begin at `act`.
struct ActToken {
    const uint8_t* act;
    int place, tile;
};

constexpr int kDigitBytes = 2 * kThinBlock + 4;  // of a block, after the token's float32 scale
constexpr int64_t digit_bytes(int64_t cols) {
    return 4 + (cols + kThinBlock - 1) / kThinBlock * kDigitBytes;
}

// How a projection ends, besides its bias.
enum class Activation : int { kNone = 0, kGelu = 1, kGeluTanh = 2, kRelu = 3 };

// One head of a sequence, every token seeing every other; rows of q, k, v and out are `stride`
// floats apart.
struct HeadView {
    const float *q, *k, *v;
    float* out;
    int64_t stride;
    int tokens, width;
    float scale;
};

constexpr int kDeltaColumns = 32;  // of a recurrent state that lie together

// What a token does to the state of a value head.
struct DeltaGate {
    float fade, beta;
};

// Tokens of one sequence meet up to kDeltaColumns columns of a value head's state. Rows of query,
// key and value are `stride` floats apart; matches are query . key.
struct DeltaRun {
    const float *query, *key, *value;
    int64_t stride;
    const DeltaGate* gates;
    int64_t gate_stride;
    const float* matches;
    int64_t match_stride;
    float* out;
    int64_t out_stride;
    int tokens, width, columns;  // width: of a key
};

// What depends on how pages hold keys and values.
struct PageKernels {
    void (*store_key)(uint16_t* page, int slot, const float* k, int width, int padded);
    void (*store_value)(uint16_t* page, int slot, const float* v, int width, int padded);
    int rows;  // query rows that one call may have
    // Softmax over one segment: state and values (rows, padded). `scratch` holds a page of floats
    // where keys are latent rows.
    void (*attend_segment)(const PageView& view, int segment, const QueryRow* rows, int count,
                           RowState* state, float* values, float* scratch);
};

constexpr int kMaxLanes = 16;     // floats of a vector
constexpr int kBlockRuns = 16;    // runs of a block at most
constexpr int kFeedUnit = 32;     // columns that are rounded before the columns after them move
constexpr int kFeedVectors = 3;   // vectors of rows that move at once
constexpr int kFeedTile = 4;      // columns that do
constexpr int kFeedLevels = 8191; // of products' codes: the sum of a unit's products fits 32 bits
constexpr int kPanelRows = 6;     // rows of a float product's tile
constexpr int kCodedRows = 4;     // rows of a tile of codes' products

// A block of as many rows as a vector has lanes, see search.h: what their numbers were divided by,
// the scales that were found, and how a file says them.
struct BlockScales {
    alignas(64) float unit[kMaxLanes], inverse_unit[kMaxLanes];
    alignas(64) float scale[kBlockRuns][kMaxLanes], offset[kBlockRuns][kMaxLanes];
    uint16_t d[kMaxLanes], dmin[kMaxLanes];
    uint8_t scales[kBlockRuns][kMaxLanes], mins[kBlockRuns][kMaxLanes];
};

// [j][k]: how much of what a unit's column j gained its column k > j has to lose.
using FeedFactor = float[kFeedUnit][kFeedUnit];

// The same for a tile of columns after the unit, and a unit's errors (kFeedUnit, kFeedVectors lanes):
// codes of which two columns lie side by side, to be multiplied by a scale for each column or row.
struct FeedTile {
    int16_t codes[kFeedUnit / 2][kFeedTile][2];
    float scale[kFeedTile];
};
struct FeedErrors {
    alignas(64) int16_t codes[kFeedUnit * kFeedVectors * kMaxLanes];
    alignas(64) float scale[kFeedVectors * kMaxLanes];
};

struct BlockCodes {
    uint8_t of[256];  // the code of level i - 128
};

// How blocks of a type are written; `type` is -1 where they are not. Shapes: x, own, w and levels
// (run * runs, lanes), of a unit (kFeedUnit, lanes).
struct BlockSearch {
    int type = -1;
    int run, runs;  // elements that share a scale, and how many such runs a block has
    void (*fit)(const float* x, const float* w, BlockScales& block, float* levels);
    void (*choose)(const float* x, const float* w, BlockScales& block);
    void (*feed)(int first_run, float* x, const float* own, const float* w,
                 const FeedFactor& factor, BlockScales& block, float* levels, float* errors,
                 int error_stride);
    BlockCodes codes;
};

using MultiplyCodedFn = void (*)(const int32_t* a, const int32_t* b, int64_t words,
                                 const int32_t* start, const float* by_row, const float* by_col,
                                 float* out, int64_t stride);

struct KernelTable {
    const char* name;
    int max_tile;
    bool any_tile;            // tiles of every size up to it, not only powers of two
    RoundFn quantize_tile;  // to int8 blocks
    RowFn panel_row;        // to float32 panels, for float weights
    RowFn fixed_row;        // to 13-bit blocks, for Fixed16 weights
    TileFn tile_for(int type) const;
    TileFn tiles[kTileTypes];
    int types[kTileTypes];
    void (*rms_norm)(const float* x, const float* weight, float eps, int64_t cols, float* out);
    void (*add)(float* x, const float* y, int64_t n);
    void (*add_scaled)(float* x, const float* y, float factor, int64_t n);  // x += factor y
    void (*silu_multiply)(const float* gate, const float* up, int64_t n, float* out);
    // Rotates pairs (i, i + half) of one head in place.
    void (*rotate)(float* head, const float* cosine, const float* sine, int half);
    PageKernels pages[4];  // float16, int8; then the same for latent layers
    // Folds a later segment's state into an earlier one's.
    void (*merge)(RowState& into, float* values, const RowState& from, const float* more, int n);
    void (*finish)(const RowState& state, float sink, const float* values, int width, float* out);
    // Weights for drawing, or the largest logit alone when `weights` is null; see draw.h.
    float (*weigh_logits)(const float* logits, int64_t count, float sharpness, float* weights,
                          double* total);
    void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps,
                       int64_t cols, float* out);
    // to (tile, 16 of stride) = activation(tile result + bias), added to what is there if `adds`;
    // `n` <= 16 columns. A null bias adds nothing.
    void (*settle)(const float* result, int tile, const float* bias, Activation kind, bool adds,
                   float* to, int64_t stride, int n);
    // Rows [first, last) of a head's attention; `scratch` has head_scratch(tokens, width) floats.
    void (*attend_head)(const HeadView& view, int first, int last, float* scratch);
    // A depthwise convolution's output for one token, `count` taps, and the gates of recur.h.
    void (*convolve)(const float* const* taps, int count, const float* weight, int64_t stride,
                     int64_t n, float* out);
    void (*sigmoid_multiply)(const float* gate, int64_t n, float* x);
    float (*dot)(const float* a, const float* b, int64_t n);
    void (*delta_run)(const DeltaRun& run, float* state);
    // to[m][0 .. rows) = factor w . x[m] for `tile` tokens, 1, 2 or 4, added to what is there if
    // `adds`; float16, 8 bits.
    void (*thin[2])(const ThinView& w, const float* const* x, int tile, float factor, bool adds,
                    float* const* to);
    // The same for 8 bits and tokens that are rounded as for a product of whole blocks; adds nothing.
    void (*thin_codes)(const ThinView& w, const ActToken* tokens, int tile, float factor,
                       float* const* to);
    void (*round_digits)(const float* values, int64_t cols, uint8_t* digits);
    // to (tile, rows of stride) += what group `group` adds to the tokens that have digits.
    void (*raise_digits)(const Raise* tokens, int tile, int64_t group, int rows, float* to,
                         int64_t stride);
    // Sums a buffer; used to measure memory bandwidth.
    float (*read_all)(const float* p, int64_t n);
    int lanes;
    BlockSearch (*search)(int type);
    void (*code_errors)(const float* errors, FeedErrors& out);
    // x (kFeedUnit, kFeedVectors lanes) loses what an earlier unit's errors make of it.
    void (*spread_errors)(const FeedTile* tiles, const FeedErrors& errors, float* x);
    // out (kPanelRows, 2 lanes) = a^T b over `depth` rows of panels.
    void (*multiply_panels)(const float* a, const float* b, int64_t depth, float* out);
    // out (kCodedRows, 2 lanes) += by_row by_col (start + a^T b) of 16-bit codes; the same of bytes,
    // or null. See coded.h.
    MultiplyCodedFn multiply_pairs, multiply_bytes;
};

extern const KernelTable kGenericTable;
extern const KernelTable kAvx2Table;
extern const KernelTable kAvx512Table;

const KernelTable& kernels();              // the active table
const char* active_isa();
bool isa_available(const char* name);      // compiled in and supported here
void force_isa(const char* name);          // throws ContractError when not available
constexpr const char* kIsaNames[] = {"generic", "avx2", "avx512"};

}  // namespace freehold
