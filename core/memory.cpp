// Room: core. Owns the memory of tensors, weights and KV pages, and rearranges weights.
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "freehold/threads.h"
#include "freehold/types.h"
#include "quants/codes.h"
#include "quants/fixed16.h"

namespace freehold {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;

size_t round_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

}  // namespace

Memory::Memory(size_t bytes) {
    // Over-reserve so that the block starts on a large page; untouched space costs nothing.
    size_ = round_up(std::max<size_t>(bytes, 1), 4096);
    const size_t slack = size_ >= kLargePage ? kLargePage : 0;
    void* raw = mmap(nullptr, size_ + slack, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) throw std::bad_alloc();
    auto address = reinterpret_cast<uintptr_t>(raw);
    if (slack != 0) {
        const uintptr_t start = round_up(address, kLargePage);
        if (start > address) munmap(raw, start - address);
        const uintptr_t end = address + size_ + slack, used = start + size_;
        if (end > used) munmap(reinterpret_cast<void*>(used), end - used);
        address = start;
        madvise(reinterpret_cast<void*>(start), size_, MADV_HUGEPAGE);
    }
    data_ = reinterpret_cast<uint8_t*>(address);
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

Memory::~Memory() {
    if (data_ != nullptr) munmap(data_, size_);
}

namespace {

constexpr size_t kLeastSpare = size_t{64} << 10;  // bytes of a block that is worth keeping
constexpr size_t kMostSpare = size_t{256} << 20;  // of all of them together
std::mutex spare_mutex;
bool spare_kept = false;
std::vector<Memory> spare;  // the oldest first
size_t spare_bytes = 0;

// The one that was used last, of which most is still in a cache, of the very size or near it.
std::vector<Memory>::iterator find_spare(size_t bytes) {
    const size_t size = round_up(bytes, 4096);
    const auto find = [&](auto&& fits) {
        const auto found = std::find_if(spare.rbegin(), spare.rend(), fits);
        return found == spare.rend() ? spare.end() : std::prev(found.base());
    };
    const auto same = find([&](const Memory& each) { return each.size() == size; });
    if (same != spare.end()) return same;
    return find([&](const Memory& each) { return each.size() >= size && each.size() / 2 <= size; });
}

}  // namespace

Borrowed::Borrowed(size_t bytes) {
    const std::lock_guard lock(spare_mutex);
    const auto found = find_spare(bytes);
    if (found == spare.end()) {
        memory_ = Memory(bytes);
        return;
    }
    memory_ = std::move(*found);
    spare_bytes -= memory_.size();
    spare.erase(found);
}

Borrowed::~Borrowed() {
    const std::lock_guard lock(spare_mutex);
    if (memory_.size() < kLeastSpare || !spare_kept) return;
    spare_bytes += memory_.size();
    spare.push_back(std::move(memory_));
    while (spare_bytes > kMostSpare) {
        spare_bytes -= spare.front().size();
        spare.erase(spare.begin());
    }
}

void keep_spare_memory(bool keep) {
    const std::lock_guard lock(spare_mutex);
    spare_kept = keep;
    if (keep) return;
    spare.clear();
    spare_bytes = 0;
}

// A block lives as long as anything in it.
uint8_t* place_bytes(size_t bytes, std::shared_ptr<Memory>& owner) {
    constexpr size_t kBlockBytes = size_t{32} << 20;
    static std::mutex mutex;
    static std::weak_ptr<Memory> current;
    static size_t used = 0;
    const std::lock_guard lock(mutex);
    bytes = round_up(bytes, 64);
    owner = current.lock();
    if (!owner || used + bytes > owner->size()) {
        const auto block = std::make_shared<Borrowed>(std::max(bytes, kBlockBytes));
        owner = std::shared_ptr<Memory>(block, &block->memory());
        current = owner;
        used = 0;
    }
    uint8_t* place = owner->data() + used;
    used += bytes;
    return place;
}

Tensor::Tensor(int64_t rows_, int64_t cols_) : rows(rows_), cols(cols_) {
    require(rows >= 1 && cols >= 1, "a tensor needs at least one row and one column");
    require(rows <= INT64_MAX / 8 / cols, "a tensor is too large");
    memory_ = Memory(static_cast<size_t>(rows * cols) * sizeof(float));
}

Weight::Weight(int type, int64_t rows_, int64_t cols_, bool in_place)
    : traits(find_traits(type)), rows(rows_), cols(cols_) {
    require(traits != nullptr, "weight: unsupported block type");
    require(rows >= 1 && cols >= 1 && rows <= INT32_MAX && cols <= INT32_MAX,
            "weight: rows or columns out of range");
    require(cols % traits->elements == 0, "weight: columns must be whole blocks");
    groups = (rows + kGroupRows - 1) / kGroupRows;
    if (traits->plain() || traits->fixed()) {
        block_bytes = static_cast<size_t>(kGroupRows) * traits->bytes;
    } else {
        block_bytes = static_cast<size_t>(kGroupRows) * traits->header_bytes +
                      static_cast<size_t>(traits->elements / kBlock) * plane_bytes(traits->planes);
    }
    group_bytes = traits->fixed() ? fixed_group_bytes(cols)
                                  : block_bytes * static_cast<size_t>(cols / traits->elements) +
                                        sizeof(float) * kGroupRows * traits->row_floats;
    require(!in_place || traits->plain(), "weight: only floats can stay in place");
    if (in_place) kept_.resize(static_cast<size_t>(rows));
    else data_ = place_bytes(bytes(), memory_);
}

namespace {

// Sixteen bytes of each of as many rows become columns, kGroupRows units apart. Each round puts the
// rows of either half alternately; after as many rounds as a row's number has bits, all have turned.
template <class Unit>
void turn(const uint8_t* const* rows, int64_t at, Unit* out) {
    constexpr int n = 16 / sizeof(Unit);
    typedef Unit Vector __attribute__((vector_size(16)));
    Vector now[n], next[n];
    for (int r = 0; r < n; ++r) std::memcpy(&now[r], rows[r] + at, 16);
    for (int round = 1; round < n; round *= 2) {
        for (int r = 0; r < n / 2; ++r) {
            const Vector a = now[r], b = now[r + n / 2];
            if constexpr (n == 8) {
                next[2 * r] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
                next[2 * r + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
            } else {
                next[2 * r] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
                next[2 * r + 1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            }
        }
        std::copy_n(next, n, now);
    }
    for (int k = 0; k < n; ++k) std::memcpy(out + k * kGroupRows, &now[k], 16);
}

// Sixteen rows of floats side by side; zeros where there is none.
template <class Unit>
void pack_floats(const Weight& w, const uint8_t* const* sources, uint8_t* out) {
    auto* units = reinterpret_cast<Unit*>(out);
    constexpr int n = 16 / sizeof(Unit);
    int64_t done = 0;
    if (std::find(sources, sources + kGroupRows, nullptr) == sources + kGroupRows)
        for (; done + n <= w.cols; done += n)
            for (int r = 0; r < kGroupRows; r += n)
                turn(sources + r, done * static_cast<int64_t>(sizeof(Unit)), units + done * kGroupRows + r);
    for (int r = 0; r < kGroupRows; ++r)
        for (int64_t k = done; k < w.cols; ++k) {
            Unit& to = units[k * kGroupRows + r];
            if (sources[r] == nullptr) to = 0;
            else std::memcpy(&to, sources[r] + k * sizeof(Unit), sizeof(Unit));
        }
}

// One group of float32 rows -> scales and whole numbers, to nearest even.
void pack_fixed(const Weight& w, const uint8_t* const* sources, uint8_t* out) {
    for (int64_t first = 0; first < w.cols; first += kFixedBlock) {
        const int64_t width = std::min<int64_t>(kFixedBlock, w.cols - first);
        auto* scales = reinterpret_cast<float*>(out + fixed_group_bytes(first));
        auto* codes = reinterpret_cast<int16_t*>(scales + kGroupRows);
        for (int r = 0; r < kGroupRows; ++r) {
            float row[kFixedBlock] = {}, largest = 0.0f;
            if (sources[r] != nullptr)
                std::memcpy(row, sources[r] + first * sizeof(float), width * sizeof(float));
            for (int64_t k = 0; k < width; ++k) largest = std::max(largest, std::fabs(row[k]));
            scales[r] = largest / kFixedLevels;
            const float inverse = largest > 1e-30f ? kFixedLevels / largest : 0.0f;
            for (int64_t k = 0; k < width; ++k)
                codes[k / 2 * 2 * kGroupRows + 2 * r + k % 2] =
                    static_cast<int16_t>(std::nearbyint(row[k] * inverse));
        }
    }
}

// Field `f` of `size` bytes that starts at byte `at` of every row's header: 16 rows side by side.
void put_field(uint8_t* head, int at, int size, int r, const uint8_t* field) {
    std::memcpy(head + kGroupRows * at + size * r, field, static_cast<size_t>(size));
}

// The size of the header's field that starts at byte `at`.
int field_size(const BlockTraits& t, int at) {
    if (at < 4 * t.header_singles) return 4;
    return at < 4 * t.header_singles + 2 * t.header_halves ? 2 : 1;
}

// One group: sixteen rows of file blocks -> the rows' own floats, then headers and code planes,
// block after block.
void pack_group(const Weight& w, const uint8_t* const* sources, uint8_t* out) {
    const BlockTraits& t = *w.traits;
    const int row_bytes = 4 * t.row_floats;
    for (int r = 0; r < kGroupRows; ++r)
        for (int at = 0; at < row_bytes; at += 4) {
            // A row of padding is 0 / 1: no kernel may divide by zero there.
            const float filler = at == 0 ? 0.0f : 1.0f;
            const auto* field = reinterpret_cast<const uint8_t*>(&filler);
            put_field(out, at, 4, r, sources[r] ? sources[r] + at : field);
        }
    out += kGroupRows * row_bytes;
    uint8_t codes[kGroupRows][256], header[32];
    alignas(16) uint8_t rows[kGroupRows][kBlock];
    const int sub_blocks = t.elements / kBlock;
    for (int64_t b = 0; b < w.cols / t.elements; ++b) {
        uint8_t* head = out + b * w.block_bytes;
        uint8_t* planes = head + kGroupRows * t.header_bytes;
        for (int r = 0; r < kGroupRows; ++r) {
            if (sources[r] == nullptr) {
                std::memset(codes[r], 0, sizeof(codes[r]));
                std::memset(header, 0, sizeof(header));
            } else {
                t.split(sources[r] + row_bytes + b * t.bytes, codes[r], header);
            }
            for (int at = 0; at < t.header_bytes; at += field_size(t, at))
                put_field(head, at, field_size(t, at), r, header + at);
        }
        for (int s = 0; s < sub_blocks; ++s, planes += plane_bytes(t.planes)) {
            for (int r = 0; r < kGroupRows; ++r)
                std::memcpy(rows[r], codes[r] + s * kBlock, kBlock);
            write_planes(t.planes, rows, planes);
        }
    }
}

}  // namespace

void Weight::keep(int64_t start, int64_t count, const uint8_t* raw, size_t raw_bytes,
                  const int32_t* order) {
    const size_t row_bytes = traits->row_bytes(cols);
    require(!kept_.empty(), "keep: the weight is not in place");
    require(start >= 0 && count >= 1 && count <= rows - start, "keep: rows outside the weight");
    require(raw_bytes % row_bytes == 0, "keep: rows must be whole");
    const auto given = static_cast<int64_t>(raw_bytes / row_bytes);
    require(order != nullptr || given == count, "keep: wrong number of bytes");
    for (int64_t r = 0; r < count; ++r) {
        const int64_t row = order ? order[r] : r;
        require(row >= 0 && row < given, "keep: the order names a row that is not there");
        kept_[static_cast<size_t>(start + r)] = raw + static_cast<size_t>(row) * row_bytes;
    }
}

const uint8_t* Weight::repacked(int64_t g, int which) const {
    static thread_local Memory rooms[2];
    Memory& room = rooms[which];
    if (room.size() < group_bytes) room = Memory(group_bytes);
    const uint8_t* sources[kGroupRows] = {};
    const int64_t first = g * kGroupRows;
    std::copy_n(kept_.data() + first, std::min<int64_t>(kGroupRows, rows - first), sources);
    if (traits->planes == kSingle) pack_floats<uint32_t>(*this, sources, room.data());
    else pack_floats<uint16_t>(*this, sources, room.data());
    return room.data();
}

void Weight::pack(int64_t start, int64_t count, const uint8_t* raw, size_t raw_bytes) {
    require(kept_.empty(), "pack: the weight is in place");
    const auto row_bytes = static_cast<int64_t>(traits->row_bytes(cols));
    require(start >= 0 && start % kGroupRows == 0 && count >= 1 && count <= rows - start,
            "pack: rows outside the weight");
    require(start + count == rows || count % kGroupRows == 0, "pack: a chunk must be whole groups");
    require(raw_bytes == static_cast<size_t>(count * row_bytes), "pack: wrong number of bytes");
    parallel((count + kGroupRows - 1) / kGroupRows, [&](int64_t g, int) {
        const uint8_t* sources[kGroupRows] = {};
        for (int64_t r = 0; r < kGroupRows && g * kGroupRows + r < count; ++r)
            sources[r] = raw + (g * kGroupRows + r) * row_bytes;
        uint8_t* out = data_ + (start / kGroupRows + g) * group_bytes;
        if (traits->planes == kSingle) return pack_floats<uint32_t>(*this, sources, out);
        if (traits->planes == kHalf) return pack_floats<uint16_t>(*this, sources, out);
        if (traits->fixed()) return pack_fixed(*this, sources, out);
        pack_group(*this, sources, out);
    });
}

namespace {

float read_float(const Weight& w, const uint8_t* p) {
    if (w.traits->planes == kSingle) {
        float v;
        std::memcpy(&v, p, 4);
        return v;
    }
    return w.traits->type == 1 ? half_to_float(read_u16(p)) : bfloat_to_float(read_u16(p));
}

}  // namespace

void Weight::unpack_row(int64_t row, float* out) const {
    require(row >= 0 && row < rows, "unpack: row outside the weight");
    const BlockTraits& t = *traits;
    if (!kept_.empty()) {
        const uint8_t* from = kept_[static_cast<size_t>(row)];
        for (int64_t k = 0; k < cols; ++k) out[k] = from ? read_float(*this, from + k * t.bytes) : 0.0f;
        return;
    }
    const uint8_t* base = group(row / kGroupRows);
    const int r = static_cast<int>(row % kGroupRows);
    if (t.plain()) {
        for (int64_t k = 0; k < cols; ++k)
            out[k] = read_float(*this, base + (k * kGroupRows + r) * t.bytes);
        return;
    }
    if (t.fixed()) {
        for (int64_t k = 0; k < cols; ++k) {
            const int64_t first = k / kFixedBlock * kFixedBlock, at = k - first;
            const auto* scales = reinterpret_cast<const float*>(base + fixed_group_bytes(first));
            const auto* codes = reinterpret_cast<const int16_t*>(scales + kGroupRows);
            out[k] = scales[r] * codes[at / 2 * 2 * kGroupRows + 2 * r + at % 2];
        }
        return;
    }
    uint8_t codes[256], header[32];
    const int sub_blocks = t.elements / kBlock, own = 4 * t.row_floats;
    for (int at = 0; at < own; at += 4)
        std::memcpy(header + at, base + kGroupRows * at + 4 * r, 4);
    base += kGroupRows * own;
    for (int64_t b = 0; b < cols / t.elements; ++b) {
        const uint8_t* head = base + b * block_bytes;
        for (int at = 0; at < t.header_bytes; at += field_size(t, at)) {
            const int size = field_size(t, at);
            std::memcpy(header + own + at, head + kGroupRows * at + size * r, static_cast<size_t>(size));
        }
        for (int s = 0; s < sub_blocks; ++s)
            read_planes(t.planes,
                        head + kGroupRows * t.header_bytes + s * plane_bytes(t.planes), r,
                        codes + s * kBlock);
        t.values(codes, header, out + b * t.elements);
    }
}

namespace {

// Bytes of one head's keys or values in a page: codes, then scales if there are 8 bits.
size_t side_bytes(int padded, int bits) {
    const size_t scales = bits == 8 ? static_cast<size_t>((padded + kKvGroup - 1) / kKvGroup) : 0;
    return kPageTokens * (static_cast<size_t>(padded) * (bits / 8) + scales * sizeof(uint16_t));
}

int whole_vectors(int width) { return (width + 15) / 16 * 16; }

}  // namespace

KvPool::KvPool(const std::vector<LayerKv>& layers, int64_t pages_, int bits_)
    : bits(bits_), pages(pages_) {
    require(bits == 16 || bits == 8, "kv pool: keys and values have 16 or 8 bits");
    require(!layers.empty() && pages >= 1, "kv pool: no layers or no pages");
    require(layers.size() <= 4096 && pages <= INT32_MAX, "kv pool: shape out of range");
    for (const LayerKv& kept : layers) {
        require(kept.heads >= 0 && kept.heads <= 4096, "kv pool: heads out of range");
        Layer layer{kept, 0, 0, page_stride_, 0, 0};
        if (kept.heads > 0) {
            require(kept.key_width >= 2 && kept.key_width <= 4096 && kept.value_width >= 1 &&
                        kept.value_width <= 4096, "kv pool: head width out of range");
            require(!kept.latent || (kept.heads == 1 && kept.value_width <= kept.key_width),
                    "kv pool: a latent layer has one head, its values the start of its key");
            layer.key_padded = whole_vectors(kept.key_width);
            layer.value_padded = whole_vectors(kept.value_width);
            const size_t key_bytes = side_bytes(layer.key_padded, bits);
            layer.value_offset = kept.latent ? 0 : key_bytes;
            layer.head_bytes = key_bytes + (kept.latent ? 0 : side_bytes(layer.value_padded, bits));
            page_stride_ += layer.head_bytes * static_cast<size_t>(kept.heads);
        }
        layers_.push_back(layer);
    }
    // An odd number of 4 KiB between pages: a power of two would put a head's pages all in the
    // same cache sets and memory banks.
    page_stride_ = round_up(std::max<size_t>(page_stride_, 1), 4096);
    if (page_stride_ / 4096 % 2 == 0) page_stride_ += 4096;
    require(static_cast<size_t>(pages) <= SIZE_MAX / 4 / page_stride_, "kv pool: too large");
    memory_ = Memory(page_stride_ * static_cast<size_t>(pages));
}

const KvPool::Layer& KvPool::layer(int index) const {
    require(index >= 0 && static_cast<size_t>(index) < layers_.size(),
            "kv pool: layer outside the pool");
    const Layer& found = layers_[static_cast<size_t>(index)];
    require(found.heads > 0, "kv pool: the layer keeps nothing in pages");
    return found;
}

void KvPool::copy(int64_t source, int64_t target) {
    require(source >= 0 && source < pages && target >= 0 && target < pages,
            "kv pool: page outside the pool");
    const auto at = [&](int64_t page) { return memory_.data() + page_stride_ * page; };
    if (source != target) std::memcpy(at(target), at(source), page_stride_);
}

uint16_t* KvPool::keys(const Layer& layer, int64_t page, int head) const {
    // Pages outermost: memory becomes resident only as tokens arrive.
    return reinterpret_cast<uint16_t*>(memory_.data() + page_stride_ * page + layer.offset +
                                       static_cast<size_t>(head) * layer.head_bytes);
}

uint16_t* KvPool::values(const Layer& layer, int64_t page, int head) const {
    return keys(layer, page, head) + layer.value_offset / sizeof(uint16_t);
}

Step Step::wanted() const {
    Step out;
    out.adapters = adapters;
    out.pages.resize(pages.size());
    out.offsets.push_back(0);
    auto row = logit_rows.begin();
    for (size_t s = 0; s < pages.size(); ++s) {
        for (; row != logit_rows.end() && *row < offsets[s + 1]; ++row) {
            require(*row >= (row == logit_rows.begin() ? 0 : row[-1] + 1),
                    "step: the logit rows must ascend");
            out.logit_rows.push_back(static_cast<int32_t>(out.tokens.size()));
            out.tokens.push_back(tokens[*row]);
            out.positions.push_back(positions[*row]);
            out.sequence.push_back(static_cast<int32_t>(s));
        }
        out.offsets.push_back(static_cast<int32_t>(out.tokens.size()));
    }
    require(row == logit_rows.end(), "step: logit row outside the step");
    return out;
}

void Step::check(const KvPool& kv) const {
    const auto t = tokens.size();
    require(t >= 1 && t <= INT32_MAX && positions.size() == t && sequence.size() == t,
            "step: tokens and positions must have one entry a token");
    require(offsets.size() == pages.size() + 1 && offsets.front() == 0 &&
                offsets.back() == static_cast<int32_t>(t), "step: offsets must span the tokens");
    for (size_t s = 0; s + 1 < offsets.size(); ++s) {
        require(offsets[s] < offsets[s + 1], "step: a sequence has no token");
        for (int32_t i = offsets[s]; i < offsets[s + 1]; ++i)
            require(positions[i] >= 0 && positions[i] - positions[offsets[s]] == i - offsets[s],
                    "step: positions must count up within a sequence");
        const int64_t last = positions[offsets[s + 1] - 1];
        require(static_cast<int64_t>(pages[s].size()) * kPageTokens > last,
                "step: a sequence has too few pages");
        for (const int32_t page : pages[s])
            require(page >= 0 && page < kv.pages, "step: page outside the pool");
    }
    for (const int32_t row : logit_rows)
        require(row >= 0 && row < static_cast<int32_t>(t), "step: logit row outside the step");
}

}  // namespace freehold
