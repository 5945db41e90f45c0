// Room: core. The plain data every op works on. Knows no model, file or Python.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace freehold {

// Thrown when a caller breaks an op's contract; bindings.cpp maps it to KernelError.
struct ContractError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require(bool ok, const char* what) {
    if (!ok) throw ContractError(what);
}

constexpr int kGroupRows = 16;     // weight rows interleaved into one group
constexpr int kBlock = 32;         // elements that kernels take at once
constexpr int kActScale = 16;      // elements that share one activation scale
constexpr int kPageTokens = 64;    // tokens in one KV page
constexpr int kKvGroup = 32;       // elements of an int8 key or value that share a scale
constexpr int kSegmentPages = 4;   // pages that form one softmax block
constexpr int kSegmentTokens = kPageTokens * kSegmentPages;

// Anonymous memory in whole pages, zero on first touch; large pages are asked for.
class Memory {
  public:
    Memory() = default;
    explicit Memory(size_t bytes);
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory();
    uint8_t* data() const { return data_; }
    size_t size() const { return size_; }

  private:
    uint8_t* data_ = nullptr;
    size_t size_ = 0;
};

// A block for a while, not cleared. While spare memory is kept, it lies ready afterwards for who wants
// as much next: new pages have to be cleared, which takes as long as a fifth of what is done with them.
class Borrowed {
  public:
    Borrowed() = default;
    explicit Borrowed(size_t bytes);
    Borrowed(Borrowed&& other) noexcept = default;
    Borrowed& operator=(Borrowed&& other) noexcept = default;
    ~Borrowed();
    uint8_t* data() const { return memory_.data(); }
    size_t size() const { return memory_.size(); }
    Memory& memory() { return memory_; }

  private:
    Memory memory_;
};
void keep_spare_memory(bool keep);  // without `keep`, what lies ready is given back

// A place for `bytes` of something that lives as long as `owner`. Such places follow one another in
// large blocks: a layer's matrices stream as one run, and small ones get large pages too.
uint8_t* place_bytes(size_t bytes, std::shared_ptr<Memory>& owner);

// A row-major float32 matrix, (rows, cols).
class Tensor {
  public:
    Tensor(int64_t rows, int64_t cols);
    float* row(int64_t r) const { return reinterpret_cast<float*>(memory_.data()) + r * cols; }
    float* data() const { return row(0); }
    int64_t rows, cols;

  private:
    Memory memory_;
};

struct BlockTraits;

// A weight matrix (rows, cols) rearranged so kernels stream it: groups of 16 rows,
// each group the blocks of its columns in order, each block the headers of its 16 rows
// followed by their codes: one ascending stream. Padding rows are zero.
class Weight {
  public:
    // One that is `in_place` holds nothing: its floats stay where `keep` says.
    Weight(int type, int64_t rows, int64_t cols, bool in_place = false);
    // Fills rows [start, start + count) from file blocks. `start` must be a multiple of 16.
    void pack(int64_t start, int64_t count, const uint8_t* raw, size_t raw_bytes);
    // Rows [start, start + count) are those at `raw`, of which `order` names one for each when given.
    // They must outlive the weight, which repacks a group whenever it is used.
    void keep(int64_t start, int64_t count, const uint8_t* raw, size_t raw_bytes, const int32_t* order);
    void unpack_row(int64_t row, float* out) const;
    // Valid until the thread asks an in-place weight for its next group with the same `which`, of two.
    const uint8_t* group(int64_t g, int which = 0) const {
        return kept_.empty() ? data_ + g * group_bytes : repacked(g, which);
    }
    size_t bytes() const { return group_bytes * static_cast<size_t>(groups); }

    const BlockTraits* traits;
    int64_t rows, cols, groups;
    size_t block_bytes, group_bytes;

  private:
    const uint8_t* repacked(int64_t g, int which) const;
    std::vector<const uint8_t*> kept_;  // where each row lies that is not ours
    std::shared_ptr<Memory> memory_;  // shared with the weights made before and after it
    uint8_t* data_ = nullptr;
};

// What recurrent layers keep of each sequence, whatever its length: a slot has cells of float32. Each
// cell knows how many tokens it has taken in, so that no token is taken in twice or out of turn.
class StatePool {
  public:
    StatePool(std::vector<int64_t> cells, int64_t slots);
    float* at(int cell, int64_t slot) const;
    // Readies a cell to take in tokens [position, position + count): empties it for a first token.
    float* open(int cell, int64_t slot, int32_t position, int32_t count);
    void copy(int64_t from, int64_t to);
    size_t slot_bytes() const { return slot_floats_ * sizeof(float); }
    std::vector<int64_t> cells;  // floats of each
    int64_t slots;

  private:
    std::vector<int64_t> starts_;
    std::vector<int32_t> lengths_;  // (slots, cells) tokens taken in
    int64_t slot_floats_ = 0;
    Memory memory_;
};

// What a layer keeps of each token: a key and a value for each of its heads; nothing where it has
// no heads. A latent layer has one head and keeps its key alone: the value is the key's start.
struct LayerKv {
    int heads, key_width, value_width;
    bool latent = false;
};

// Pages of kPageTokens tokens, each with every layer's heads; see ops/attend.cpp for the layout.
// With 8 bits the codes of a head's keys are followed by their float16 scales (groups, P), and its
// values likewise.
class KvPool {
  public:
    // A layer, and where its heads lie in a page.
    struct Layer : LayerKv {
        int key_padded, value_padded;  // widths in whole vectors
        size_t offset, value_offset, head_bytes;
    };
    KvPool(const std::vector<LayerKv>& layers, int64_t pages, int bits = 16);
    const Layer& layer(int index) const;  // throws if it keeps nothing
    uint16_t* keys(const Layer& layer, int64_t page, int head) const;  // (A, P), or (P, A_padded)
    uint16_t* values(const Layer& layer, int64_t page, int head) const;  // (P, A_padded)
    size_t page_bytes() const { return page_stride_; }
    void copy(int64_t source, int64_t target);  // a page of every layer; throws outside the pool
    std::shared_ptr<StatePool> states;  // null where no layer is recurrent
    int bits;
    int64_t pages;

  private:
    std::vector<Layer> layers_;
    size_t page_stride_ = 0;
    Memory memory_;
};

// The tokens of one step, packed sequence after sequence.
struct Step {
    std::vector<int32_t> tokens;       // (T,)
    std::vector<int32_t> positions;    // (T,)
    std::vector<int32_t> offsets;      // (S + 1,) first token of each sequence
    std::vector<std::vector<int32_t>> pages;  // per sequence: page ids, in token order
    std::vector<int32_t> logit_rows;   // tokens whose logits are wanted
    std::vector<int32_t> slots;        // per sequence: its recurrent state; or empty
    std::vector<int32_t> sequence;     // (T,) derived: the sequence of each token
    std::vector<int32_t> adapters;     // (S,) the adapter of each sequence, -1 for none; or empty
    int64_t count() const { return static_cast<int64_t>(tokens.size()); }
    void check(const KvPool& kv) const;
    // The tokens whose logits are wanted, for ops that take each token alone: it has no pages.
    Step wanted() const;  // throws unless the logit rows ascend
    StatePool& states(const KvPool& kv) const;  // throws if a sequence has no slot of its own
};

// The tokens of whole texts, packed one after another; a text's positions count from
// `first_position`. No types means type 0 throughout.
struct Packed {
    std::vector<int32_t> tokens;   // (T,)
    std::vector<int32_t> offsets;  // (S + 1,) first token of each text
    std::vector<int32_t> types;    // (T,) or empty
    int32_t first_position = 0;
    int64_t count() const { return static_cast<int64_t>(tokens.size()); }
    void check() const;
};

// cos and sin of every token of a step, (T, A_rotated / 2) each.
struct Rotation {
    int half = 0;
    std::vector<float> cosine, sine;
};

}  // namespace freehold
