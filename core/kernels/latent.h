// Room: core/kernels. Attention over latent rows: a token's row (A,) is the key of every head and,
// in its first columns, the value. Included by every instruction set inside its own namespace.
//
// A page is unpacked once, to float32 rows, for as many query rows as a call has. Scores are dot
// products along a row; the rest is as in attend.h, and a result depends on its own row only.

// Unpacked rows as `weigh_page` reads values.
template <class S>
struct FloatRows {
    using Unit = float;
    static constexpr int kGroup = 1 << 20;
    static int stride(const PageView& view) { return view.key_padded; }
    static constexpr int kBytes = 0;  // to ask for: they are in the cache
    static void value_scales(const PageView&, const float*, int, float*) {}
    static typename S::F value(const float* page, int at, const float*, int) {
        return S::load(page + at);
    }
};

// The first `count` rows of a page, (count, A_padded) float32.
template <class S, class P>
inline void unpack_rows(const PageView& view, const uint16_t* page, int count, float* rows) {
    alignas(64) float scales[kPageTokens];
    for (int a = 0; a < view.key_padded; a += S::lanes) {
        if (a % P::kGroup == 0) P::row_scales(view, page, a / P::kGroup, scales);
        for (int k = 0; k < count; ++k) {
            const int at = k * view.key_padded + a;
            S::store(rows + at, P::value(page, at, scales, k));
        }
    }
}

// scores[r][k] = q_r . row_k, R query rows at a time.
template <class S, int R>
inline void score_rows(const PageView& view, const float* page, const QueryRow* rows, int count,
                       Scores* scores) {
    constexpr int kKeys = S::template attend_vectors<R>;
    for (int k = 0; k < count; k += kKeys) {
        typename S::F acc[R][kKeys];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kKeys; ++v) acc[r][v] = S::zero();
        const auto add = [&](int a, auto load) {
            typename S::F key[kKeys];
            for (int v = 0; v < kKeys; ++v) key[v] = S::load(page + (k + v) * view.key_padded + a);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const auto q = load(rows[r].q + a);
                for (int v = 0; v < kKeys; ++v) acc[r][v] = S::fma(q, key[v], acc[r][v]);
            }
        };
        int a = 0;
        for (; a + S::lanes <= view.key_width; a += S::lanes)
            add(a, [](const float* q) { return S::load(q); });
        const int left = view.key_width - a;
        if (left > 0) add(a, [left](const float* q) { return S::load_part(q, left); });
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kKeys; ++v) scores[r][k + v] = S::sum(acc[r][v]);
    }
}

// values[r] *= factors[r]
template <class S, int R>
inline void rescale(const PageView& view, const float* factors, float* values) {
    for (int r = 0; r < R; ++r) {
        float* row = values + r * view.value_padded;
        if (factors[r] == 1.0f) continue;
        for (int a = 0; a < view.value_padded; a += S::lanes)
            S::store(row + a, S::mul(S::set(factors[r]), S::load(row + a)));
    }
}

// An online softmax over one segment, page by page, for up to kLatentRows rows; `scratch` has
// latent_scratch(view) floats.
template <class S, class P>
void attend_latents(const PageView& view, int segment, const QueryRow* rows, int count,
                    RowState* state, float* values, float* scratch) {
    alignas(64) Scores scores[S::attend_rows];
    float factors[S::attend_rows];
    const auto [least, most] = open_segment(view, segment, rows, count, state, values);
    const int start = segment * kSegmentTokens;
    for (int first = least; first < most; first += kPageTokens) {
        const uint16_t* page = view.keys[(start + first) / kPageTokens];
        const int keys = std::min(most - first, kPageTokens);
        unpack_rows<S, P>(view, page, keys, scratch);
        for (int from = 0; from < count; from += S::attend_rows)
            with_rows<S>(std::min(S::attend_rows, count - from), [&](auto tile) {
                constexpr int R = decltype(tile)::value;
                score_rows<S, R>(view, scratch, rows + from, keys, scores);
                float* own = values + from * view.value_padded;
                soften_rows<S, R>(view, start + first, kPageTokens, rows + from, 0, scores,
                                  state + from, factors);
                rescale<S, R>(view, factors, own);
                weigh_page<S, FloatRows<S>, R>(view, scratch, scratch, keys, 0, scores, own);
            });
    }
    close_segment(view, count, state);
}
