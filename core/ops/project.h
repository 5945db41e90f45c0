// Room: core/ops. Shared by the ops that multiply by a weight: activations made once, then
// tiles of 16 rows by up to 16 tokens.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "freehold/kernels.h"
#include "freehold/ops.h"

namespace freehold {

// Tokens [first, first + size) that meet a weight together.
struct Tile {
    int64_t first;
    int size;
};

// Which of its tiles a product is about to compute: tokens against a group of a weight.
struct Call {
    int which;
    int64_t group;
    Tile tile;
    int64_t at, of;  // its turn among all
};

class Activations;

// What goes on beside a product.
class Beside {
  public:
    static constexpr int64_t kMostRuns = 64;
    // While the activations are made, on any thread; what it finds wrong `check` throws afterwards.
    virtual void prepare(const Activations& acts) = 0;
    virtual void check() const = 0;
    // A thread begins with groups that follow one another; `at` is the first call's turn.
    virtual void begin(int64_t at, int64_t of) = 0;
    // What this call is to ask for; `runs` is room for kMostRuns of it.
    virtual Soon soon(const Call& call, const uint8_t** runs) const = 0;

  protected:
    ~Beside() = default;
};

// The activations of `count` tokens in the forms the given weights need.
class Activations {
  public:
    // Reads rows x(t) for t in [0, count); `norm` may be null, and so may what prepares meanwhile.
    Activations(const Tensor& x, const int32_t* rows, int64_t count, const Norm* norm,
                const std::vector<const Weight*>& weights, Beside* beside = nullptr);
    // Reads the first `cols` floats of rows x[rows[t]] (or x[t]), which are `stride` apart, laid
    // out for tiles the caller chose, which span [0, count) in order.
    Activations(const float* x, int64_t stride, int64_t cols, const int32_t* rows,
                std::vector<Tile> tiles, const std::vector<const Weight*>& weights);
    const uint8_t* at(const Weight& weight, int64_t token) const;
    bool rounded() const { return int8_ != nullptr; }  // to int8, for any of the weights
    ActToken rounded_token(int64_t token) const;
    const std::vector<Tile>& tiles() const { return tiles_; }
    int64_t count() const { return count_; }
    int64_t cols() const { return cols_; }

  private:
    void reserve(const std::vector<const Weight*>& weights);
    void put(const float* const* rows, Tile tile);
    std::vector<Tile> tiles_;
    int64_t count_, cols_;
    int64_t int8_token_ = 0, panel_token_ = 0, fixed_token_ = 0;  // bytes a token
    uint8_t* int8_ = nullptr;
    uint8_t* panels_ = nullptr;
    uint8_t* fixed_ = nullptr;
};

// Appends the tiles of tokens [first, first + count): full ones, then what the table's kernels take.
inline void append_tiles(const KernelTable& table, int64_t first, int64_t count,
                         std::vector<Tile>& tiles) {
    const int64_t most = table.max_tile, end = first + count;
    while (first < end) {
        const int64_t left = end - first;
        int64_t size = std::min(most, left);
        if (table.any_tile && left > most && left < 2 * most) size = (left + 1) / 2;  // two alike
        if (!table.any_tile)
            for (size = most; size > left;) size /= 2;
        tiles.push_back({first, static_cast<int>(size)});
        first += size;
    }
}

// Calls body(group, token, tile, out[tile][16]) for every tile of weight x activations, with the work
// split over the pool; it may change what is in out. `weights` may be several with the same activations; with
// `paired`, weights[0] and weights[1] are computed together into out[0] and out[1].
using TileBody = void (*)(void* context, int which, int64_t group, int64_t token, int tile,
                          float* out, float* second);
void multiply(const Activations& acts, const std::vector<const Weight*>& weights, bool paired,
              TileBody body, void* context, Beside* beside);

template <class Body>
void multiply(const Activations& acts, const std::vector<const Weight*>& weights, bool paired,
              Body&& body, Beside* beside = nullptr) {
    multiply(
        acts, weights, paired,
        [](void* context, int which, int64_t g, int64_t t, int tile, float* out,
           float* second) {
            (*static_cast<std::remove_reference_t<Body>*>(context))(which, g, t, tile, out, second);
        },
        &body, beside);
}

// How many of `groups` groups to hand to a thread at once; changes no result.
int64_t items_of(const Weight& weight, int64_t count, int64_t groups);

// Rows of the weight that a group really has.
inline int64_t valid_rows(const Weight& weight, int64_t group) {
    return std::min<int64_t>(kGroupRows, weight.rows - group * kGroupRows);
}

// The contracts of a projection and of its bias.
void check_projection(const Tensor& x, const Norm* norm, int64_t count, const Weight& weight);
void check_bias(const Tensor* bias, const Weight& weight);

}  // namespace freehold
