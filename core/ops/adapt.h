// Room: core/ops. What adapters add to a product, while it is computed.
#pragma once
#include <atomic>
#include <exception>
#include <vector>

#include "freehold/kernels.h"
#include "freehold/ops.h"
#include "project.h"

namespace freehold {

// The values between the two thin products are made by the threads that begin, and `raise` waits only
// for those that another thread is at.
class Additions final : public Beside {
  public:
    // For the first `count` tokens of x and products with these weights. 8-bit matrices meet the
    // activations as rounded for the weights, if there are any such; all others norm(x) itself.
    Additions(const Added& added, const Tensor& x, const Norm* norm, int64_t count,
              const std::vector<const Weight*>& weights);
    // Groups the tokens by adapter, and finds room for what each adds.
    void prepare(const Activations& acts) override;
    void check() const override;
    bool none() const { return items_.empty(); }
    // to (tile, rows of stride) += scale h . B^T for the rows that a group has, and the tokens that
    // have an adapter.
    void raise(size_t output, int64_t group, int64_t token, int tile, float* to, int64_t stride);
    // A thread's share of the values between the products, and of those that nobody has begun.
    void begin(int64_t at, int64_t of) override;
    // The second matrices of the next group, and a share of what each adapter comes to next.
    Soon soon(const Call& call, const uint8_t** runs) const override;

  private:
    struct Item {  // places [first, last), all of one adapter
        const Deltas::Entry* entry;
        int64_t first, last;
    };
    void append();
    bool in_digits(const Thin& up) const;
    void lay_out();
    void lower(const Item& item);
    void wait() const;
    void raise_floats(const Raise* tokens, int tile, int64_t group, int rows, float* to,
                      int64_t stride) const;
    Raise& raise_of(size_t output, int64_t token) {
        return raises_[output * static_cast<size_t>(count_) + static_cast<size_t>(token)];
    }
    const Raise& raise_of(size_t output, int64_t token) const {
        return raises_[output * static_cast<size_t>(count_) + static_cast<size_t>(token)];
    }

    const Step& step_;
    const Deltas& deltas_;
    const Tensor& x_;
    const Norm* norm_;
    const std::vector<const Weight*>& weights_;
    const Activations* acts_ = nullptr;  // null unless rounded to int8
    std::exception_ptr wrong_;     // what was found while others worked
    std::vector<int32_t> tokens_;  // of each place: sorted by adapter
    std::vector<Item> items_;
    std::vector<Raise> raises_;    // (outputs, count)
    const int64_t count_;
    int64_t width_ = 0;            // of a place's values between the products
    float* values_;                // (places, width)
    uint8_t* digits_;              // of each place
    bool some_floats_ = false;
    std::vector<const Deltas::Entry*> entries_;  // of the adapters that are there
    int64_t next_runs_ = 0;        // of the matrices that they come to next
    std::vector<std::atomic<bool>> taken_;    // items
    std::atomic<int64_t> done_{0};
};

}  // namespace freehold
