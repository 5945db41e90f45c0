// Room: core. Owns the memory of recurrent states and checks whose turn it is.
#include <algorithm>
#include <cstring>

#include "freehold/types.h"

namespace freehold {

StatePool::StatePool(std::vector<int64_t> cells_, int64_t slots_)
    : cells(std::move(cells_)), slots(slots_) {
    require(!cells.empty() && cells.size() <= 1 << 16, "state pool: no cells, or too many");
    require(slots >= 1 && slots <= INT32_MAX, "state pool: no slots, or too many");
    for (const int64_t floats : cells) {
        require(floats >= 1 && floats <= int64_t{1} << 32, "state pool: cell size out of range");
        starts_.push_back(slot_floats_);
        slot_floats_ += (floats + 15) / 16 * 16;  // cells start on a vector
    }
    require(slot_floats_ <= INT64_MAX / 8 / slots, "state pool: too large");
    lengths_.resize(static_cast<size_t>(slots) * cells.size());
    memory_ = Memory(slot_bytes() * static_cast<size_t>(slots));
}

float* StatePool::at(int cell, int64_t slot) const {
    require(cell >= 0 && static_cast<size_t>(cell) < cells.size(), "state: cell outside the pool");
    require(slot >= 0 && slot < slots, "state: slot outside the pool");
    return reinterpret_cast<float*>(memory_.data()) + slot * slot_floats_ + starts_[cell];
}

float* StatePool::open(int cell, int64_t slot, int32_t position, int32_t count) {
    float* state = at(cell, slot);
    int32_t& length = lengths_[static_cast<size_t>(slot) * cells.size() + cell];
    if (position == 0) std::fill_n(state, cells[cell], 0.0f);
    require(position == 0 || position == length,
            "state: the tokens do not follow those it has taken in");
    length = position + count;
    return state;
}

void StatePool::copy(int64_t from, int64_t to) {
    if (from == to) return;
    std::memcpy(at(0, to), at(0, from), slot_bytes());
    const size_t count = cells.size();
    std::copy_n(lengths_.begin() + from * count, count, lengths_.begin() + to * count);
}

StatePool& Step::states(const KvPool& kv) const {
    require(kv.states != nullptr, "step: the pool keeps no recurrent states");
    require(slots.size() == pages.size(), "step: a sequence has no slot for its state");
    std::vector<int32_t> sorted(slots);
    std::sort(sorted.begin(), sorted.end());
    require(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
            "step: two sequences have the same slot");
    require(sorted.empty() || (sorted.front() >= 0 && sorted.back() < kv.states->slots),
            "step: slot outside the pool");
    return *kv.states;
}

}  // namespace freehold
