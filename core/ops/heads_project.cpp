// Room: core/ops. A matrix for each head: queries into a latent space, and attended latents back.
#include <algorithm>
#include <cstring>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"
#include "../quants/traits.h"
#include "project.h"

namespace freehold {
namespace {

// Every head's tokens in tiles: the places of head h are [h T, (h + 1) T).
struct Places {
    std::vector<Tile> tiles;
    std::vector<int32_t> rows;  // of each place, the run of columns it reads: t H + h
    int64_t head_tiles;
};

Places places_of(int64_t heads, int64_t count, const KernelTable& table) {
    Places places;
    places.rows.resize(static_cast<size_t>(heads * count));
    for (int64_t h = 0; h < heads; ++h) {
        for (int64_t t = 0; t < count; ++t)
            places.rows[h * count + t] = static_cast<int32_t>(t * heads + h);
        append_tiles(table, h * count, count, places.tiles);
    }
    places.head_tiles = static_cast<int64_t>(places.tiles.size()) / heads;
    return places;
}

}  // namespace

void project_heads(const Tensor& x, const Weight& weight, int heads, int64_t count, Tensor& out) {
    require(heads >= 1 && x.cols % heads == 0 && out.cols % heads == 0 && weight.rows % heads == 0,
            "project_heads: the columns or the weight's rows are no multiple of the heads");
    const int64_t from = x.cols / heads, to = out.cols / heads, n = weight.rows / heads;
    const int64_t rest = from - weight.cols;
    require(n % kGroupRows == 0, "project_heads: a head's rows must be a multiple of 16");
    require(rest >= 0 && to == n + rest, "project_heads: head widths differ from the weight's");
    require(count >= 1 && count <= x.rows && count <= out.rows && count <= INT32_MAX / heads,
            "project_heads: more tokens than rows");
    require(&x != &out, "project_heads: in place");
    const KernelTable& table = kernels();
    const TileFn tile_fn = table.tile_for(weight.traits->type);
    const Places places = places_of(heads, count, table);
    const Activations acts(x.data(), from, weight.cols, places.rows.data(), places.tiles, {&weight});
    const int64_t groups = n / kGroupRows;
    const int64_t chunk = items_of(weight, count, groups);
    const int64_t chunks = (groups + chunk - 1) / chunk;
    parallel(heads * chunks, [&](int64_t item, int) {
        alignas(64) float result[kMaxTile * kGroupRows];
        const int64_t h = item / chunks, first = item % chunks * chunk;
        const int64_t last = std::min(groups, first + chunk);
        for (int64_t g = first; g < last; ++g) {
            const uint8_t* group = weight.group(h * groups + g);
            for (int64_t i = h * places.head_tiles; i < (h + 1) * places.head_tiles; ++i) {
                const auto [place, size] = places.tiles[i];
                tile_fn(group, weight.cols, acts.at(weight, place), size, result, {});
                for (int m = 0; m < size; ++m)
                    std::memcpy(out.row(place + m - h * count) + h * to + g * kGroupRows,
                                result + m * kGroupRows, sizeof(float) * kGroupRows);
            }
        }
        for (int64_t t = 0; first == 0 && rest > 0 && t < count; ++t)
            std::copy_n(x.row(t) + h * from + weight.cols, rest, out.row(t) + h * to + n);
    });
}

void norm_first(Tensor& x, const Norm& norm, int64_t count) {
    require(norm.weight.rows == 1 && norm.weight.cols <= x.cols,
            "norm_first: the weight is wider than a row");
    require(count >= 1 && count <= x.rows, "norm_first: more tokens than rows");
    const KernelTable& table = kernels();
    parallel((count + 15) / 16, [&](int64_t item, int) {
        for (int64_t t = item * 16; t < std::min(count, item * 16 + 16); ++t)
            table.rms_norm(x.row(t), norm.weight.data(), norm.eps, norm.weight.cols, x.row(t));
    });
}

}  // namespace freehold
