// Room: core/kernels. What encoders need: products of 13-bit whole numbers, layer norm, the ends of
// projections, and attention in which every token of a sequence sees every other.
// Included by every instruction set inside its own namespace.
//
// Activations of a tile of M tokens, per block of 128 columns: float scales[M], then
// int16 codes[M][128], of which the last block may use fewer.

constexpr int kFixedBytes = sizeof(float) + kFixedBlock * sizeof(int16_t);  // of a token

// M tokens of a tile meet a block of `left` columns; adds to what earlier blocks gave.
template <class S, int M>
inline void fixed_block(const float* row_scales, const float* scales, const int8_t* codes,
                        int64_t left, bool first, float* out) {
    constexpr int parts = kGroupRows / S::lanes;  // all at once: each pair of codes is fetched once
    const auto* p = reinterpret_cast<const uint8_t*>(row_scales + kGroupRows);
    typename S::I sums[M][parts];
    for (auto& token : sums)
        for (auto& sum : token) sum = S::set_int(0);
#pragma GCC unroll 2
    for (int64_t k = 0; k < left; k += 2, p += 4 * kGroupRows) {
        typename S::B w[parts];
#pragma GCC unroll 16
        for (int part = 0; part < parts; ++part)
            w[part] = S::load_bytes(p + 4 * S::lanes * part);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            const auto pair = S::repeat4(codes + (m * kFixedBlock + k) * sizeof(int16_t));
#pragma GCC unroll 16
            for (int part = 0; part < parts; ++part)
                sums[m][part] = S::dot_pairs(sums[m][part], w[part], pair);
        }
    }
    for (int m = 0; m < M; ++m) {
        for (int part = 0; part < parts; ++part) {
            float* to = out + kGroupRows * m + S::lanes * part;
            const auto before = first ? S::zero() : S::load(to);
            const auto both = S::mul(S::load(row_scales + S::lanes * part), S::set(scales[m]));
            S::store(to, S::fma(S::to_float(sums[m][part]), both, before));
        }
    }
}

// A result's order: whole numbers within a block (exact), then block after block in float32. All
// tokens meet a block's weights while these are in the nearest cache.
template <class S>
void tile_fixed(const uint8_t* group, int64_t cols, const uint8_t* act, int tile, float* out,
                Soon*) {
    for (int64_t first = 0; first < cols; first += kFixedBlock, act += tile * kFixedBytes) {
        const int64_t left = cols - first < kFixedBlock ? cols - first : kFixedBlock;
        const auto* scales = reinterpret_cast<const float*>(act);
        const auto* codes = reinterpret_cast<const int8_t*>(scales + tile);
        in_constant_tiles<S>(tile, [&](auto count, int m) {
            fixed_block<S, count()>(reinterpret_cast<const float*>(group), scales + m,
                                    codes + m * kFixedBlock * sizeof(int16_t), left, first == 0,
                                    out + kGroupRows * m);
        });
        group += fixed_group_bytes(left);
    }
}

// Rounds one token: per 128 columns, scale = largest / 4095, to nearest even.
template <class S>
void fixed_row(const float* x, int64_t cols, uint8_t* act, int m, int tile) {
    const int64_t block_bytes = tile * static_cast<int64_t>(kFixedBytes);
    for (int64_t first = 0; first < cols; first += kFixedBlock, act += block_bytes) {
        const int64_t width = cols - first < kFixedBlock ? cols - first : kFixedBlock;
        auto* codes = reinterpret_cast<int16_t*>(act + tile * sizeof(float)) + m * kFixedBlock;
        auto largest = S::zero();
        for (int64_t i = 0; i < width; i += S::lanes)
            largest = S::max(S::abs(S::load(x + first + i)), largest);
        const float top = S::largest(largest);
        reinterpret_cast<float*>(act)[m] = top / kFixedLevels;
        const auto inverse = S::set(top > 1e-30f ? kFixedLevels / top : 0.0f);
        for (int64_t i = 0; i < width; i += S::lanes)
            S::store_shorts(codes + i, S::to_int(S::mul(S::load(x + first + i), inverse)));
    }
}

// Mean and variance are taken in two passes, so that a large mean costs no digits.
template <class S>
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t cols,
                float* out) {
    auto sum = S::zero();
    for_vectors<S>(cols, [&](int64_t i, int n) { sum = S::add(sum, S::load_part(x + i, n)); });
    const auto mean = S::set(S::sum(sum) / static_cast<float>(cols));
    auto squares = S::zero();
    for_vectors<S>(cols, [&](int64_t i, int n) {
        const auto d = S::keep_first(S::sub(S::load_part(x + i, n), mean), n, S::zero());
        squares = S::fma(d, d, squares);
    });
    const float variance = S::sum(squares) / static_cast<float>(cols);
    const auto scale = S::set(1.0f / std::sqrt(variance + eps));
    for_vectors<S>(cols, [&](int64_t i, int n) {
        const auto d = S::mul(S::sub(S::load_part(x + i, n), mean), scale);
        const auto w = S::load_part(weight + i, n), b = S::load_part(bias + i, n);
        S::store_part(out + i, S::fma(d, w, b), n);
    });
}

// x Phi(x), as max(x, 0) - |x| Phi(-|x|). Phi(-a) is e^-P(a); P is a weighted minimax fit of
// -ln Phi(-a) on [0, 12.5], where the product is already 1e-33. Error: about a last place of
// float32, of x itself where |x| > 2.
template <class S>
inline typename S::F gelu(typename S::F x) {
    constexpr float kTail[] = {-7.053181946e-08f, 2.06468887e-06f,   -2.191851626e-05f,
                               9.117427034e-05f,  2.071975378e-04f,  -5.070185809e-03f,
                               3.653410533e-02f,  3.182349819e-01f,  7.978979051e-01f,
                               6.931464022e-01f};
    const auto a = S::min(S::abs(x), S::set(12.5f));
    auto p = S::set(kTail[0]);
    for (int i = 1; i < 10; ++i) p = S::fma(p, a, S::set(kTail[i]));
    return S::fnma(a, exponential<S>(S::sub(S::zero(), p)), S::max(S::zero(), x));
}

// The tanh form, x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
template <class S>
inline typename S::F gelu_tanh(typename S::F x) {
    const auto cubic = S::fma(S::mul(x, x), S::set(0.044715f), S::set(1.0f));
    const auto u = S::mul(S::mul(x, cubic), S::set(-1.59576912f));
    return S::div(x, S::add(S::set(1.0f), exponential<S>(u)));
}

template <class S, Activation kKind>
inline typename S::F activate(typename S::F x) {
    if constexpr (kKind == Activation::kGelu) return gelu<S>(x);
    if constexpr (kKind == Activation::kGeluTanh) return gelu_tanh<S>(x);
    if constexpr (kKind == Activation::kRelu) return S::max(S::zero(), x);
    return x;
}

template <class S, Activation kKind, bool kAdds>
inline void settle_as(const float* result, int tile, const float* bias, float* to, int64_t stride,
                      int columns) {
    for_vectors<S>(columns, [&](int64_t i, int n) {
        const auto b = bias != nullptr ? S::load_part(bias + i, n) : S::zero();
        for (int m = 0; m < tile; ++m) {
            auto v = activate<S, kKind>(S::add(S::load(result + 16 * m + i), b));
            if constexpr (kAdds) v = S::add(S::load_part(to + m * stride + i, n), v);
            S::store_part(to + m * stride + i, v, n);
        }
    });
}

template <class S>
void settle(const float* result, int tile, const float* bias, Activation kind, bool adds,
            float* to, int64_t stride, int n) {
    if (adds) return settle_as<S, Activation::kNone, true>(result, tile, bias, to, stride, n);
    switch (kind) {
        case Activation::kNone:
            return settle_as<S, Activation::kNone, false>(result, tile, bias, to, stride, n);
        case Activation::kGelu:
            return settle_as<S, Activation::kGelu, false>(result, tile, bias, to, stride, n);
        case Activation::kGeluTanh:
            return settle_as<S, Activation::kGeluTanh, false>(result, tile, bias, to, stride, n);
        case Activation::kRelu:
            return settle_as<S, Activation::kRelu, false>(result, tile, bias, to, stride, n);
    }
}

// The keys of a head as (A, n), its values as (n, A), padded with zeros to whole vectors, and room
// for the scores of a few queries.
struct HeadScratch {
    float *keys, *values, *scores;
    int padded_tokens, padded_width;

    HeadScratch(float* at, int tokens, int width)
        : padded_tokens((tokens + 15) / 16 * 16), padded_width((width + 15) / 16 * 16) {
        keys = at;
        values = keys + static_cast<int64_t>(width) * padded_tokens;
        scores = values + static_cast<int64_t>(padded_tokens) * padded_width;
    }
};

inline void gather_head(const HeadView& view, const HeadScratch& own) {
    for (int a = 0; a < view.width; ++a)
        for (int k = view.tokens; k < own.padded_tokens; ++k)
            own.keys[static_cast<int64_t>(a) * own.padded_tokens + k] = 0.0f;
    for (int k = 0; k < view.tokens; ++k) {
        const float* key = view.k + k * view.stride;
        const float* value = view.v + k * view.stride;
        float* row = own.values + static_cast<int64_t>(k) * own.padded_width;
        for (int a = 0; a < view.width; a += 16) {  // the next head is beside this one
            __builtin_prefetch(key + view.width + a);
            __builtin_prefetch(value + view.width + a);
            __builtin_prefetch(view.q + k * view.stride + view.width + a);
        }
        for (int a = 0; a < view.width; ++a)
            own.keys[static_cast<int64_t>(a) * own.padded_tokens + k] = key[a];
        for (int a = 0; a < view.width; ++a) row[a] = value[a];
        for (int a = view.width; a < own.padded_width; ++a) row[a] = 0.0f;
    }
}

// Scores of N vectors of keys from `first`, for R queries.
template <class S, int R, int N>
inline void score_keys(const HeadView& view, const HeadScratch& own, int row, int first) {
    typename S::F acc[R][N];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < N; ++v) acc[r][v] = S::zero();
    const float* keys = own.keys + first;
    const float* q = view.q + row * view.stride;
    for (int a = 0; a < view.width; ++a, keys += own.padded_tokens) {
        typename S::F key[N];
        for (int v = 0; v < N; ++v) key[v] = S::load(keys + v * S::lanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const auto x = S::set(q[r * view.stride + a]);
            for (int v = 0; v < N; ++v) acc[r][v] = S::fma(x, key[v], acc[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v)
            S::store(own.scores + r * own.padded_tokens + first + v * S::lanes,
                     S::mul(acc[r][v], S::set(view.scale)));
}

// N vectors of the weighted values from element `first`, for R queries.
template <class S, int R, int N>
inline void weigh_values(const HeadView& view, const HeadScratch& own, const float* inverse,
                         int row, int first) {
    typename S::F acc[R][N];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < N; ++v) acc[r][v] = S::zero();
    const float* values = own.values + first;
    for (int k = 0; k < view.tokens; ++k, values += own.padded_width) {
        typename S::F value[N];
        for (int v = 0; v < N; ++v) value[v] = S::load(values + v * S::lanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const auto w = S::set(own.scores[r * own.padded_tokens + k]);
            for (int v = 0; v < N; ++v) acc[r][v] = S::fma(w, value[v], acc[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) {
            const int at = first + v * S::lanes, left = std::max(0, view.width - at);
            S::store_part(view.out + (row + r) * view.stride + at,
                          S::mul(acc[r][v], S::set(inverse[r])), std::min(left, S::lanes));
        }
}

// Calls body with up to S::attend_vectors<R> vectors at a time until `count` elements are done.
template <class S, int R, class Body>
inline void in_vectors(int count, Body&& body) {
    const int vectors = (count + S::lanes - 1) / S::lanes;
    for (int done = 0; done < vectors;) {
        const int at = done * S::lanes;
        constexpr int kMost = S::template attend_vectors<R>;
        const int now = vectors - done < kMost ? vectors - done : kMost;
        if constexpr (kMost == 4) {
            if (now == 4) body(std::integral_constant<int, 4>{}, at);
            if (now == 3) body(std::integral_constant<int, 3>{}, at);
        }
        if (now == 2) body(std::integral_constant<int, 2>{}, at);
        if (now == 1) body(std::integral_constant<int, 1>{}, at);
        done += now;
    }
}

// Scores -> exponentials against their largest; returns one over their sum.
template <class S>
inline float soften_row(float* scores, int tokens) {
    const auto lowest = S::set(-INFINITY);
    auto top = lowest;
    for_vectors<S>(tokens, [&](int64_t i, int n) {
        top = S::max(top, S::keep_first(S::load(scores + i), n, lowest));
    });
    const auto largest = S::set(S::largest(top));
    auto sum = S::zero();
    for_vectors<S>(tokens, [&](int64_t i, int n) {
        const auto e = exponential<S>(S::sub(S::load(scores + i), largest));
        S::store(scores + i, e);
        sum = S::add(sum, S::keep_first(e, n, S::zero()));
    });
    return 1.0f / S::sum(sum);
}

template <class S, int R>
void attend_queries(const HeadView& view, const HeadScratch& own, int row) {
    float inverse[R];
    in_vectors<S, R>(view.tokens, [&](auto vectors, int at) {
        score_keys<S, R, decltype(vectors)::value>(view, own, row, at);
    });
    for (int r = 0; r < R; ++r)
        inverse[r] = soften_row<S>(own.scores + r * own.padded_tokens, view.tokens);
    in_vectors<S, R>(view.width, [&](auto vectors, int at) {
        weigh_values<S, R, decltype(vectors)::value>(view, own, inverse, row, at);
    });
}

template <class S>
void attend_head(const HeadView& view, int first, int last, float* scratch) {
    const HeadScratch own(scratch, view.tokens, view.width);
    gather_head(view, own);
    constexpr int kRows = S::attend_rows;
    for (int row = first; row < last;) {
        const int left = last - row < kRows ? last - row : kRows;
        if (left == kRows) attend_queries<S, kRows>(view, own, row);
        else if (left == 5) attend_queries<S, 5>(view, own, row);
        else if (left == 4) attend_queries<S, 4>(view, own, row);
        else if (left == 3) attend_queries<S, 3>(view, own, row);
        else if (left == 2) attend_queries<S, 2>(view, own, row);
        else attend_queries<S, 1>(view, own, row);
        row += left;
    }
}
