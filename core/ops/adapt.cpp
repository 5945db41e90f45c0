// Room: core/ops. Adapters: what each sequence's own low-rank matrices add to a projection. A
// step's tokens are grouped by adapter for the first product, whose results are few.
#include "adapt.h"

#include <sched.h>

#include <algorithm>
#include <cmath>

#include "../quants/traits.h"
#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "freehold/threads.h"

namespace freehold {
namespace {

constexpr int kMaxTokens = 4;             // of a tile
constexpr int64_t kItemTokens = 16;       // of the first product
constexpr size_t kLine = 64;              // bytes of the cache
constexpr size_t kRunBytes = kSoonLines * kLine;

// Grows and is reused; one a calling thread, so two callers never share it.
uint8_t* scratch(int which, size_t bytes) {
    static thread_local Memory buffers[3];
    if (buffers[which].size() < bytes) buffers[which] = Memory(bytes + bytes / 4);
    return buffers[which].data();
}
float* float_scratch(int which, int64_t count) {
    return reinterpret_cast<float*>(scratch(which, static_cast<size_t>(count) * sizeof(float)));
}

int tile_of(int64_t count) { return count >= 4 ? 4 : count >= 2 ? 2 : 1; }

// Sixteen rows of float32, already over the unit, as the kernels read them.
void pack_halves(const float* const* rows, float inverse, int64_t cols, uint8_t* out) {
    auto* to = reinterpret_cast<uint16_t*>(out);
    for (int64_t k = 0; k < cols; ++k)
        for (int r = 0; r < kGroupRows; ++r)
            to[k * kGroupRows + r] = rows[r] ? float_to_half(rows[r][k] * inverse) : 0;
}

void pack_bytes(const float* const* rows, float inverse, int64_t cols, uint8_t* out) {
    for (int64_t first = 0; first < cols; first += kThinBlock) {
        const int64_t width = std::min<int64_t>(kThinBlock, cols - first);
        auto* scales = reinterpret_cast<uint16_t*>(out);
        uint8_t* codes = out + 2 * kGroupRows;
        const int64_t in_fours = width / 4 * 4;
        for (int r = 0; r < kGroupRows; ++r) {
            float largest = 0.0f;
            for (int64_t k = 0; rows[r] && k < width; ++k)
                largest = std::max(largest, std::fabs(rows[r][first + k] * inverse));
            scales[r] = float_to_half(largest / 127.0f);
            const float scale = half_to_float(scales[r]);
            for (int64_t k = 0; k < width; ++k) {
                const float code = scale > 0.0f && rows[r] ? rows[r][first + k] * inverse / scale : 0;
                // A scale too small for float16 to hold well would give codes past 127.
                const auto whole = static_cast<int>(std::nearbyint(std::clamp(code, -127.0f, 127.0f)));
                const int64_t at = k < in_fours ? k / 4 * 4 * kGroupRows + 4 * r + k % 4
                                                : k * kGroupRows + r;
                codes[at] = static_cast<uint8_t>(whole + 128);
            }
        }
        out += 2 * kGroupRows + width * kGroupRows;
    }
}

int64_t runs_of(const Thin& matrix) {
    return static_cast<int64_t>((matrix.bytes() + kRunBytes - 1) / kRunBytes);
}

size_t thin_group_bytes(int64_t cols, int bits) {
    const int64_t blocks = (cols + kThinBlock - 1) / kThinBlock;
    return static_cast<size_t>(bits == 16 ? cols * kGroupRows * 2
                                          : blocks * 2 * kGroupRows + cols * kGroupRows);
}

}  // namespace

Thin::Thin(const float* values, int64_t rows_, int64_t cols_, int bits_)
    : rows(rows_), cols(cols_), bits(bits_) {
    require(bits == 8 || bits == 16, "thin: values have 8 or 16 bits");
    require(rows >= 1 && cols >= 1 && rows <= INT32_MAX && cols <= INT32_MAX,
            "thin: rows or columns out of range");
    float largest = 0.0f;
    for (int64_t i = 0; i < rows * cols; ++i) {
        require(std::isfinite(values[i]), "thin: a value is not finite");
        largest = std::max(largest, std::fabs(values[i]));
    }
    // A power of two, so that the largest is below 2: nothing is out of float16's reach.
    int exponent = 0;
    std::frexp(largest, &exponent);
    exponent = std::clamp(exponent, -100, 100);
    unit = std::ldexp(1.0f, exponent);
    const float inverse = std::ldexp(1.0f, -exponent);
    group_bytes = thin_group_bytes(cols, bits);
    // A line more, so that the places of many adapters do not all share sets of the caches.
    data_ = place_bytes(bytes() + kLine, memory_);
    parallel((rows + kGroupRows - 1) / kGroupRows, [&](int64_t g, int) {
        const float* sources[kGroupRows] = {};
        for (int64_t r = 0; r < std::min<int64_t>(kGroupRows, rows - g * kGroupRows); ++r)
            sources[r] = values + (g * kGroupRows + r) * cols;
        uint8_t* to = data_ + g * group_bytes;
        if (bits == 16) pack_halves(sources, inverse, cols, to);
        else pack_bytes(sources, inverse, cols, to);
    });
}

ThinView Thin::part(int64_t first_group, int64_t last_group) const {
    return {data_ + first_group * group_bytes, cols,
            std::min(rows, last_group * kGroupRows) - first_group * kGroupRows};
}

void Deltas::put(int32_t index, const Thin& down, const std::vector<Up>& ups, const Thin* next) {
    require(index >= 0 && index < 4096, "deltas: index out of range");
    require(ups.size() <= kMostUps, "deltas: too many outputs");
    int64_t ranks = 0, digits = 0;
    for (const Up& up : ups) {
        if (!up.matrix) continue;
        digits += digit_bytes(up.matrix->cols);
        require(std::isfinite(up.scale), "deltas: a scale is not finite");
        ranks += up.matrix->cols;
    }
    require(ranks == down.rows, "deltas: the ranks do not add up to the rows of the first matrix");
    if (entries_.size() <= static_cast<size_t>(index)) entries_.resize(index + 1);
    most_ranks_ = std::max(most_ranks_, ranks);
    most_digits_ = std::max(most_digits_, digits);
    Entry& entry = entries_[index].emplace(Entry{down, {}, ups.size(), {}});
    std::copy(ups.begin(), ups.end(), entry.every_up.begin());
    if (next) entry.next = *next;
}

void Deltas::drop(int32_t index) {
    if (index >= 0 && static_cast<size_t>(index) < entries_.size()) entries_[index].reset();
}

const Deltas::Entry* Deltas::find(int32_t index) const {
    if (index < 0 || static_cast<size_t>(index) >= entries_.size()) return nullptr;
    return entries_[index] ? &*entries_[index] : nullptr;
}

void Deltas::ask_for(int32_t index) const {
    if (index < 0 || static_cast<size_t>(index) >= entries_.size()) return;
    const auto* at = reinterpret_cast<const uint8_t*>(&entries_[index]);
    for (size_t line = 0; line < sizeof(entries_[index]); line += kLine)
        __builtin_prefetch(at + line);
}

Additions::Additions(const Added& added, const Tensor& x, const Norm* norm, int64_t count,
                     const std::vector<const Weight*>& weights)
    : step_(added.step), deltas_(added.deltas), x_(x), norm_(norm), weights_(weights), count_(count),
      values_(float_scratch(0, count * deltas_.most_ranks())),
      digits_(scratch(1, static_cast<size_t>(count) * deltas_.most_digits())) {
    require(step_.count() <= count, "adapters: more tokens than rows");
}

void Additions::prepare(const Activations& acts) {
    if (acts.rounded()) acts_ = &acts;
    try {
        append();
        if (none()) return;
        raises_.resize(weights_.size() * static_cast<size_t>(count_));
        taken_ = std::vector<std::atomic<bool>>(items_.size());
        lay_out();
    } catch (...) {
        wrong_ = std::current_exception();
    }
}

void Additions::check() const {
    if (wrong_) std::rethrow_exception(wrong_);
}

// The items of each adapter that the step's sequences have.
void Additions::append() {
    std::vector<int32_t> present(step_.adapters);
    std::sort(present.begin(), present.end());
    present.erase(std::unique(present.begin(), present.end()), present.end());
    for (const int32_t index : present) deltas_.ask_for(index);
    for (const int32_t index : present) {
        const Deltas::Entry* entry = deltas_.find(index);
        if (entry == nullptr) continue;
        entries_.push_back(entry);
        if (entry->next) next_runs_ += runs_of(*entry->next);
        require(entry->down.cols == x_.cols, "adapters: input width differs from the matrix's");
        require(entry->ups().size() <= weights_.size(), "adapters: more matrices than outputs");
        for (size_t i = 0; i < entry->ups().size(); ++i)
            require(!entry->ups()[i].matrix || entry->ups()[i].matrix->rows == weights_[i]->rows,
                    "adapters: output width differs from the matrix's rows");
        const auto first = static_cast<int64_t>(tokens_.size());
        for (size_t s = 0; s < step_.adapters.size(); ++s)
            if (step_.adapters[s] == index)
                for (int32_t t = step_.offsets[s]; t < step_.offsets[s + 1]; ++t)
                    tokens_.push_back(t);
        const auto last = static_cast<int64_t>(tokens_.size());
        for (int64_t at = first; at < last; at += kItemTokens)
            items_.push_back({entry, at, std::min(last, at + kItemTokens)});
        width_ = std::max(width_, entry->down.rows);
    }
}

bool Additions::in_digits(const Thin& up) const {
    return acts_ != nullptr && up.bits == 8 && up.cols % 4 == 0;
}

// Places for what lies between the products, and where each token's second product finds it.
void Additions::lay_out() {
    uint8_t* to = digits_;
    for (const Item& item : items_)
        for (int64_t at = item.first; at < item.last; ++at) {
            const float* values = values_ + at * width_;
            for (size_t i = 0; i < item.entry->ups().size(); ++i) {
                if (!item.entry->ups()[i].matrix) continue;
                const auto& [matrix, scale] = item.entry->ups()[i];
                const bool rounded = in_digits(*matrix);
                raise_of(i, tokens_[at]) = {matrix->part(0, 0).groups, matrix->group_bytes,
                                            matrix->cols, scale * matrix->unit, matrix->bits,
                                            values, rounded ? to : nullptr};
                values += matrix->cols;
                if (rounded) to += digit_bytes(matrix->cols);
                else some_floats_ = true;
            }
        }
}

// h (places, width) = norm(x) . A^T for the places of an item.
void Additions::lower(const Item& item) {
    const KernelTable& table = kernels();
    const Thin& down = item.entry->down;
    const bool codes = acts_ != nullptr && down.bits == 8;
    float* normed = norm_ && !codes ? float_scratch(2, kMaxTokens * x_.cols) : nullptr;
    for (int64_t at = item.first; at < item.last;) {
        const int tile = tile_of(item.last - at);
        const float* rows[kMaxTokens];
        ActToken rounded[kMaxTokens];
        float* to[kMaxTokens];
        for (int m = 0; m < tile; ++m) {
            const int32_t token = tokens_[at + m];
            to[m] = values_ + (at + m) * width_;
            if (codes) rounded[m] = acts_->rounded_token(token);
            rows[m] = x_.row(token);
            if (normed == nullptr) continue;
            float* row = normed + m * x_.cols;
            table.rms_norm(rows[m], norm_->weight.data(), norm_->eps, x_.cols, row);
            rows[m] = row;
        }
        const ThinView all = down.part(0, down.groups());
        if (codes) table.thin_codes(all, rounded, tile, down.unit, to);
        else table.thin[down.bits == 8](all, rows, tile, down.unit, false, to);
        at += tile;
    }
    for (int64_t at = item.first; at < item.last; ++at)
        for (size_t i = 0; i < item.entry->ups().size(); ++i) {
            const Raise& each = raise_of(i, tokens_[at]);
            if (each.digits) table.round_digits(each.values, each.cols, each.digits);
        }
}

void Additions::begin(int64_t at, int64_t of) {
    const auto count = static_cast<int64_t>(items_.size());
    if (done_.load(std::memory_order_relaxed) == count) return;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t item = (count * at / of + i) % count;
        if (taken_[item].exchange(true, std::memory_order_relaxed)) continue;
        lower(items_[item]);
        done_.fetch_add(1, std::memory_order_release);
    }
}

void Additions::wait() const {
    const auto count = static_cast<int64_t>(items_.size());
    for (int spins = 0; done_.load(std::memory_order_acquire) != count; ++spins)
        if (spins > 4096) sched_yield();  // who makes them may have lost its core
}

void Additions::raise(size_t output, int64_t group, int64_t token, int tile, float* to,
                      int64_t stride) {
    if (none()) return;
    wait();
    const KernelTable& table = kernels();
    const Raise* tokens = &raise_of(output, token);
    const auto rows = static_cast<int>(
        std::min<int64_t>(kGroupRows, weights_[output]->rows - group * kGroupRows));
    table.raise_digits(tokens, tile, group, rows, to, stride);
    if (some_floats_) raise_floats(tokens, tile, group, rows, to, stride);
}

void Additions::raise_floats(const Raise* tokens, int tile, int64_t group, int rows, float* to,
                             int64_t stride) const {
    const KernelTable& table = kernels();
    for (int m = 0; m < tile;) {
        const Raise& first = tokens[m];
        int alike = 1;
        while (m + alike < tile && tokens[m + alike].groups == first.groups) ++alike;
        alike = tile_of(alike);
        if (first.groups != nullptr && first.digits == nullptr) {
            const float* from[kMaxTokens];
            float* rows_to[kMaxTokens];
            for (int i = 0; i < alike; ++i) {
                from[i] = tokens[m + i].values;
                rows_to[i] = to + (m + i) * stride;
            }
            const uint8_t* own = first.groups + static_cast<size_t>(group) * first.group_bytes;
            table.thin[first.bits == 8]({own, first.cols, rows}, from, alike, first.factor, true,
                                        rows_to);
        }
        m += alike;
    }
}

Soon Additions::soon(const Call& call, const uint8_t** runs) const {
    if (none()) return {};
    int64_t count = 0;
    int64_t skipped = next_runs_ * call.at / call.of;
    int64_t wanted = std::min(next_runs_ * (call.at + 1) / call.of - skipped, kMostRuns);
    for (size_t i = 0; wanted > 0 && i < entries_.size(); ++i) {
        if (!entries_[i]->next) continue;
        const int64_t own = runs_of(*entries_[i]->next);
        const uint8_t* from = entries_[i]->next->part(0, 0).groups;
        for (; skipped < own && wanted > 0; ++skipped, --wanted)
            runs[count++] = from + static_cast<size_t>(skipped) * kRunBytes;
        skipped -= std::min(skipped, own);
    }
    const auto outputs = static_cast<int64_t>(weights_.size());
    const bool last = (call.group + 1) * kGroupRows >= weights_[call.which]->rows;
    const int64_t which = last && call.which + 1 < outputs ? call.which + 1 : call.which;
    return {&raise_of(which, call.tile.first), call.tile.size, last ? 0 : call.group + 1, runs, count};
}

}  // namespace freehold
