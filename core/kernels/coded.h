// Room: core/kernels. Products of columns of small whole numbers: the smallest tile of a large product.
// Included by every instruction set inside its own namespace. Panels are 2 lanes wide; a word of
// 32 bits holds a column's codes in two or four rows.

struct Pairs {
    template <class S> static typename S::B side(typename S::B v) { return v; }
    template <class S> static typename S::I dot(typename S::I acc, typename S::B row, typename S::B col) {
        return S::dot_pairs(acc, row, col);
    }
};
struct Quads {  // one side must be above zero: 128 is added, and taken away again by `start`
    template <class S> static typename S::B side(typename S::B v) { return S::bit_xor(v, S::set_bytes(128)); }
    template <class S> static typename S::I dot(typename S::I acc, typename S::B row, typename S::B col) {
        return S::dot(acc, col, row);
    }
};

// out (kCodedRows, 2 lanes), rows `stride` apart, += by a^T b; a points at kCodedRows of a panel's
// columns. Sums of `words` begin with `start` and must fit 32 bits.
template <class S, class Kind>
void multiply_coded(const int32_t* a, const int32_t* b, int64_t words, const int32_t* start,
                    const float* by_row, const float* by_col, float* out, int64_t stride) {
    typename S::I sums[kCodedRows][2];
    for (int i = 0; i < kCodedRows; ++i) sums[i][0] = sums[i][1] = S::set_int(start[i]);
    for (int64_t k = 0; k < words; ++k, a += 2 * S::lanes, b += 2 * S::lanes) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(b);
        const auto first = Kind::template side<S>(S::load_bytes(bytes));
        const auto second = Kind::template side<S>(S::load_bytes(bytes + 4 * S::lanes));
#pragma GCC unroll 4
        for (int i = 0; i < kCodedRows; ++i) {
            const auto row = S::repeat4(reinterpret_cast<const int8_t*>(a + i));
            sums[i][0] = Kind::template dot<S>(sums[i][0], row, first);
            sums[i][1] = Kind::template dot<S>(sums[i][1], row, second);
        }
    }
    for (int i = 0; i < kCodedRows; ++i, out += stride)
        for (int part = 0; part < 2; ++part) {
            const auto by = S::mul(S::set(by_row[i]), S::load(by_col + part * S::lanes));
            float* to = out + part * S::lanes;
            S::store(to, S::fma(S::to_float(sums[i][part]), by, S::load(to)));
        }
}

// Bytes where the instruction set sums their products exactly and faster.
template <class S>
constexpr MultiplyCodedFn multiply_bytes() {
    if constexpr (S::exact_bytes) return multiply_coded<S, Quads>;
    else return nullptr;
}
