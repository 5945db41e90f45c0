// Room: core/kernels. Attention over pages: a softmax over each segment of 256 keys, whose scores
// are in the first cache meanwhile. Included by every instruction set inside its own namespace.
//
// Keys of a page lie (A, P), so one vector holds sixteen keys and a score needs no horizontal
// sum; values lie (P, A). A row's result depends on its own query and keys only: rows of a
// tile share loads, never sums.

// How a page holds a head: what is read of it, and how it is asked for ahead of time. A page's
// keys and values are neighbours, but pages lie apart, and the processor's own prefetcher starts
// anew at each.
template <class S>
struct HalfPage {  // float16, no scales
    using F = typename S::F;
    using Unit = uint16_t;
    static constexpr int kGroup = 1 << 20;
    static constexpr int kBytes = 2;  // of a number
    static int stride(const PageView& view) { return view.value_padded; }
    static F key_scale(const PageView&, const uint16_t*, int, int) { return S::zero(); }
    static F key(const uint16_t* page, int at, F) { return S::load_half(page + at); }
    static void value_scales(const PageView&, const uint16_t*, int, float*) {}
    static void row_scales(const PageView&, const uint16_t*, int, float*) {}
    static F value(const uint16_t* page, int at, const float*, int) {
        return S::load_half(page + at);
    }
};

template <class S>
struct BytePage {  // int8 codes, then float16 scales; see types.h
    using F = typename S::F;
    using Unit = uint16_t;
    static constexpr int kGroup = kKvGroup;
    static constexpr int kBytes = 1;
    static int stride(const PageView& view) { return view.value_padded; }
    static const uint8_t* bytes(const uint16_t* page) {
        return reinterpret_cast<const uint8_t*>(page);
    }
    static F key_scale(const PageView& view, const uint16_t* page, int group, int k) {
        return S::load_half(page + kPageTokens * view.key_padded / 2 + group * kPageTokens + k);
    }
    static F key(const uint16_t* page, int at, F scale) {
        return S::mul(S::load_i8(bytes(page) + at), scale);
    }
    // The scales of a page's values in one group of columns.
    static void value_scales(const PageView& view, const uint16_t* page, int group, float* out) {
        read_scales(page + kPageTokens * view.value_padded / 2 + group * kPageTokens, out);
    }
    // The same of a page's latent rows.
    static void row_scales(const PageView& view, const uint16_t* page, int group, float* out) {
        read_scales(page + kPageTokens * view.key_padded / 2 + group * kPageTokens, out);
    }
    static void read_scales(const uint16_t* scales, float* out) {
        for (int k = 0; k < kPageTokens; k += S::lanes) S::store(out + k, S::load_half(scales + k));
    }
    static F value(const uint16_t* page, int at, const float* scales, int k) {
        return S::mul(S::load_i8(bytes(page) + at), S::set(scales[k]));
    }
};

// Asks for the `step`th `Bytes` of a page. Evenly over all steps of a page that is computed, so that
// memory does not rest while the units work.
template <int Bytes>
inline void prefetch_step(const void* page, int step) {
    [[maybe_unused]] const char* at = static_cast<const char*>(page) + Bytes * step;
    if constexpr (Bytes == 0) {
        return;
    } else if constexpr (Bytes < 64) {
        if (step % (64 / Bytes) == 0) __builtin_prefetch(at);
    } else {
        for (int line = 0; line < Bytes; line += 64) __builtin_prefetch(at + line);
    }
}

// acc[r][v] += row(r) * column(v), each fetched once. The shorter list is held, so that with the
// sums it stays in registers.
template <class S, int R, int V, class Row, class Column>
inline __attribute__((always_inline)) void add_products(typename S::F (&acc)[R][V], Row&& row,
                                                        Column&& column) {
    typename S::F held[R < V ? R : V];
    if constexpr (R < V) {
        for (int r = 0; r < R; ++r) held[r] = row(r);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
            const auto value = column(v);
            for (int r = 0; r < R; ++r) acc[r][v] = S::fma(held[r], value, acc[r][v]);
        }
    } else {
        for (int v = 0; v < V; ++v) held[v] = column(v);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const auto value = row(r);
            for (int v = 0; v < V; ++v) acc[r][v] = S::fma(value, held[v], acc[r][v]);
        }
    }
}

// A row's scores, and then weights, of a segment or, for latent rows, of a page.
using Scores = float[kSegmentTokens];

// scores[r][first + k] = q_r . key_k for the keys of one page, R rows at a time. Not inlined: beside
// the constants of `soften`, which outlive a page, the sums would not stay in registers.
template <class S, class P, int R>
__attribute__((noinline)) void score_page(const PageView& view, const uint16_t* keys, const uint16_t* next,
                       const QueryRow* rows, int count, int first, Scores* scores) {
    constexpr int kVectors = S::template attend_vectors<R>, kKeys = kVectors * S::lanes;
    for (int k = 0; k < count; k += kKeys) {
        const int before = k / kKeys * view.key_width;
        typename S::F acc[R][kVectors];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v) acc[r][v] = S::zero();
        for (int group = 0; group * P::kGroup < view.key_width; ++group) {
            typename S::F scale[kVectors];
            for (int v = 0; v < kVectors; ++v)
                scale[v] = P::key_scale(view, keys, group, k + v * S::lanes);
            const int start = group * P::kGroup;
            const int end = std::min(view.key_width, start + P::kGroup);
            for (int a = start; a < end; ++a) {
                prefetch_step<kKeys * P::kBytes>(next, before + a);
                add_products<S>(
                    acc, [&](int r) { return S::set(rows[r].q[a]); },
                    [&](int v) {
                        return P::key(keys, a * kPageTokens + k + v * S::lanes, scale[v]);
                    });
            }
        }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kVectors; ++v)
                S::store(scores[r] + first + k + v * S::lanes, acc[r][v]);
    }
}

// scores = c tanh(scale scores / c) with c = `cap`, as c - 2 c / (e^(2 scale scores / c) + 1).
template <class S>
inline void cap_scores(float* scores, int count, float scale, float cap) {
    const auto one = S::set(1.0f), doubled = S::set(2.0f * cap), twice = S::set(2.0f * scale / cap);
    for (int i = 0; i < count; i += S::lanes) {
        const auto e = exponential<S>(S::mul(S::load(scores + i), twice));
        S::store(scores + i, S::sub(S::set(cap), S::div(doubled, S::add(e, one))));
    }
}

// What a score counts in natural units, that is as an exponent of e.
inline float score_unit(const PageView& view) { return view.softcap > 0.0f ? 1.0f : view.scale; }

// `count` scores -> exponentials against the largest so far of the keys [hidden, keys) that a row
// sees, zero everywhere else. Returns the factor that rescales what came before.
template <class S>
inline float soften(float* scores, int count, int hidden, int keys, float unit, RowState& state) {
    if (keys <= hidden) {
        std::fill(scores, scores + count, 0.0f);
        return 1.0f;
    }
    const int from = hidden / S::lanes * S::lanes;
    const int to = (keys + S::lanes - 1) / S::lanes * S::lanes;
    std::fill(scores + from, scores + hidden, -INFINITY);
    std::fill(scores + keys, scores + to, -INFINITY);
    auto top = S::set(state.largest);
    for (int i = from; i < to; i += S::lanes) top = S::max(top, S::load(scores + i));
    const float before = state.largest, largest = S::largest(top);
    const auto steep = S::set(unit * 1.44269504f);  // from natural units to powers of two
    const auto power = [&](typename S::F score) {
        return power_of_two<S>(S::mul(S::sub(score, S::set(largest)), steep));
    };
    auto sum = S::zero();
    for (int i = from; i < to; i += S::lanes) {
        const auto e = power(S::load(scores + i));
        S::store(scores + i, e);
        sum = S::add(sum, e);
    }
    std::fill(scores, scores + hidden, 0.0f);
    std::fill(scores + keys, scores + count, 0.0f);
    // The first factor scales nothing but zeros.
    const float factor = largest > before ? S::first(power(S::set(before))) : 1.0f;
    state.sum = state.sum * factor + S::sum(sum);
    state.largest = largest;
    return factor;
}

// values[r] += sum over the page's keys of weight . value row. Not inlined, as `score_page`.
template <class S, class P, int R>
__attribute__((noinline)) void weigh_page(const PageView& view, const typename P::Unit* page,
                       const typename P::Unit* next, int count, int first, const Scores* weights,
                       float* values) {
    constexpr int kVectors = S::template attend_vectors<R>;
    const int stride = P::stride(view);
    for (int a = 0; a < view.value_padded; a += kVectors * S::lanes) {
        const int left = (view.value_padded - a) / S::lanes;
        const auto run = [&](auto vectors) {
            constexpr int N = decltype(vectors)::value;
            typename S::F acc[R][N];
            alignas(64) float scales[N][kPageTokens];
            for (int v = 0; v < N; ++v)
                P::value_scales(view, page, (a + v * S::lanes) / P::kGroup, scales[v]);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < N; ++v)
                    acc[r][v] = S::load(values + r * view.value_padded + a + v * S::lanes);
            const int steps = a / (N * S::lanes) * kPageTokens;
            for (int k = 0; k < count; ++k) {
                prefetch_step<N * S::lanes * P::kBytes>(next, steps + k);
                add_products<S>(
                    acc, [&](int r) { return S::set(weights[r][first + k]); },
                    [&](int v) {
                        return P::value(page, k * stride + a + v * S::lanes, scales[v], k);
                    });
            }
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < N; ++v)
                    S::store(values + r * view.value_padded + a + v * S::lanes, acc[r][v]);
        };
        if (left >= kVectors) {
            run(std::integral_constant<int, kVectors>{});
            continue;
        }
        if constexpr (kVectors == 4) {
            if (left == 3) run(std::integral_constant<int, 3>{});
            if (left == 2) run(std::integral_constant<int, 2>{});
        }
        if (left == 1) run(std::integral_constant<int, 1>{});
    }
}

// Empties the rows' states and values; says which keys of the segment, counted from its start, they
// look at: [least, most), from a page's start on.
inline std::pair<int, int> open_segment(const PageView& view, int segment, const QueryRow* rows,
                                        int count, RowState* state, float* values) {
    const int start = segment * kSegmentTokens;
    int least = kSegmentTokens, most = 0;
    for (int r = 0; r < count; ++r) {
        least = std::min(least, rows[r].first - start);
        most = std::max(most, rows[r].keys - start);
        state[r] = {-INFINITY, 0.0f};
    }
    for (int i = 0; i < count * view.value_padded; ++i) values[i] = 0.0f;
    return {std::max(0, least) / kPageTokens * kPageTokens, std::min(most, kSegmentTokens)};
}

// Scores of `count` keys from key `start` on -> exponentials; see `soften`.
template <class S, int R>
inline void soften_rows(const PageView& view, int start, int count, const QueryRow* rows,
                        int first, Scores* scores, RowState* state, float* factors) {
    for (int r = 0; r < R; ++r) {
        float* own = scores[r] + first;
        if (view.softcap > 0.0f) cap_scores<S>(own, count, view.scale, view.softcap);
        const int keys = std::min(count, rows[r].keys - start);
        const int hidden = std::max(0, rows[r].first - start);
        factors[r] = soften<S>(own, count, hidden, keys, score_unit(view), state[r]);
    }
}

// Ends what `open_segment` began: from here on the largest scores are in natural units.
inline void close_segment(const PageView& view, int count, RowState* state) {
    for (int r = 0; r < count; ++r) state[r].largest *= score_unit(view);
}

template <class S, class P, int R>
void attend_rows(const PageView& view, int segment, const QueryRow* rows, RowState* state,
                 float* values) {
    alignas(64) Scores scores[R];
    float factors[R];
    const int start = segment * kSegmentTokens;
    const auto [least, most] = open_segment(view, segment, rows, R, state, values);
    const auto each_page = [&](auto pages, const uint16_t* after, auto body) {
        for (int first = least; first < most; first += kPageTokens) {
            const auto* page = pages + (start + first) / kPageTokens;
            const bool last = first + kPageTokens >= most;
            body(page[0], last ? after : page[1], std::min(most - first, kPageTokens), first);
        }
    };
    each_page(view.keys, view.values[(start + least) / kPageTokens],
              [&](auto page, auto next, int count, int first) {
                  score_page<S, P, R>(view, page, next, rows, count, first, scores);
              });
    const int vectors = (most - least + kMaxLanes - 1) / kMaxLanes;
    soften_rows<S, R>(view, start + least, vectors * kMaxLanes, rows, least, scores, state, factors);
    each_page(view.values, view.after, [&](auto page, auto next, int count, int first) {
        weigh_page<S, P, R>(view, page, next, count, first, scores, values);
    });
    close_segment(view, R, state);
}

// Calls body with `count`, at most S::attend_rows, as a constant.
template <class S, class Body>
inline void with_rows(int count, Body&& body) {
    if (count == 1) return body(std::integral_constant<int, 1>{});
    if (count == 2) return body(std::integral_constant<int, 2>{});
    if (count == 3) return body(std::integral_constant<int, 3>{});
    if constexpr (S::attend_rows > 3) {
        if (count == 4) return body(std::integral_constant<int, 4>{});
        if (count == 5) return body(std::integral_constant<int, 5>{});
        return body(std::integral_constant<int, 6>{});
    }
}

template <class S, class P>
void attend_segment(const PageView& view, int segment, const QueryRow* rows, int count,
                    RowState* state, float* values, float*) {
    with_rows<S>(count, [&](auto tile) {
        attend_rows<S, P, decltype(tile)::value>(view, segment, rows, state, values);
    });
}

template <class S>
void merge_states(RowState& into, float* values, const RowState& from, const float* more, int n) {
    const float largest = into.largest > from.largest ? into.largest : from.largest;
    const float keep = std::exp(into.largest - largest), take = std::exp(from.largest - largest);
    into.sum = into.sum * keep + from.sum * take;
    into.largest = largest;
    const auto k = S::set(keep), t = S::set(take);
    for (int i = 0; i < n; i += S::lanes)
        S::store(values + i, S::fma(S::load(more + i), t, S::mul(S::load(values + i), k)));
}

// out = values over their sum, which a sink's score, or minus infinity, joins without a value.
template <class S>
void finish_row(const RowState& state, float sink, const float* values, int width, float* out) {
    const float largest = state.largest > sink ? state.largest : sink;
    const float keep = std::exp(state.largest - largest);
    const auto inverse = S::set(keep / (state.sum * keep + std::exp(sink - largest)));
    for_vectors<S>(width, [&](int64_t i, int n) {
        S::store_part(out + i, S::mul(S::load(values + i), inverse), n);
    });
}
