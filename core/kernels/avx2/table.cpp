// Room: core/kernels. The avx2 table: the shared kernels built on this set's Simd.
#include "simd.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "../../quants/checkpoint.h"
#include "../../quants/fixed16.h"
#include "../../quants/traits.h"
#include "freehold/kernels.h"
#include "freehold/types.h"

namespace freehold::avx2 {

#include "../formats.h"
#include "../rows.h"
#include "../tile_many.h"
#include "../tile.h"
#include "../round.h"
#include "../attend.h"
#include "../latent.h"
#include "../encode.h"
#include "../draw.h"
#include "../recur.h"
#include "../adapt.h"
#include "../search.h"
#include "../search_lines.h"
#include "../feedback.h"
#include "../coded.h"
#include "../panels.h"
#include "../search_types.h"
#include "../table.h"

}  // namespace freehold::avx2

namespace freehold {
const KernelTable kAvx2Table = avx2::make_table<avx2::Simd>("avx2");
}
