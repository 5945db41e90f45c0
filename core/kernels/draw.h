// Room: core/kernels. The weights a token is drawn by. Included by every instruction set inside
// its own namespace.

template <class S>
inline typename S::F load_some(const float* p, int n) {
    return n == S::lanes ? S::load(p) : S::load_part(p, n);
}

// weights[i] = e^((logits[i] - largest) * sharpness). Returns the largest logit; `total` gets the
// sum of the weights, added in an order that depends on the count only.
template <class S>
float weigh_logits(const float* logits, int64_t count, float sharpness, float* weights,
                   double* total) {
    const auto lowest = S::set(-INFINITY);
    auto top = lowest;
    for_vectors<S>(count, [&](int64_t i, int n) {
        top = S::max(top, S::keep_first(load_some<S>(logits + i, n), n, lowest));
    });
    const float largest = S::largest(top);
    if (weights == nullptr) return largest;
    constexpr int64_t kRun = 1024;  // floats summed before they meet the double
    double sum = 0;
    for (int64_t start = 0; start < count; start += kRun) {
        const int64_t run = count - start < kRun ? count - start : kRun;
        auto part = S::zero();
        for_vectors<S>(run, [&](int64_t i, int n) {
            const auto x = S::sub(load_some<S>(logits + start + i, n), S::set(largest));
            const auto e = S::keep_first(exponential<S>(S::mul(x, S::set(sharpness))), n,
                                         S::zero());
            S::store_part(weights + start + i, e, n);
            part = S::add(part, e);
        });
        sum += S::sum(part);
    }
    *total = sum;
    return largest;
}
