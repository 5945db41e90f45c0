// Room: core/kernels. Rounding with error feedback. Included after search.h.
//
// Columns are rounded in order; what a column loses, the columns after it make up for as well as they
// can. Source: Chee et al. 2023, QuIP, LDLQ, which they show to be GPTQ without an inverse: with
// the Hessian L^T L, L lower, column k is rounded from w_k - sum over j < k of (q_j - w_j) L_kj / L_kk.

// A run of columns as they would be if none of them lost anything: what its scale is chosen for.
// `factor` is the run's corner of a unit's.
template <class S, int run>
void foresee_run(const float* x, const float* own, const float* factor, float* out) {
    std::copy_n(x, run * S::lanes, out);
    for (int j = 0; j < run; ++j, factor += kFeedUnit) {
        const auto error = S::sub(S::load(out + j * S::lanes), S::load(own + j * S::lanes));
        for (int k = j + 1; k < run; ++k)
            S::store(out + k * S::lanes, S::fnma(S::set(factor[k]), error, S::load(out + k * S::lanes)));
    }
}

// Rounds a unit of kFeedUnit columns: x (kFeedUnit, lanes), what earlier units have made of `own`, is
// used up; errors (kFeedUnit, lanes of `error_stride`) are what later units have to make up for.
template <class S, class T>
void feed_unit(int first_run, float* x, const float* own, const float* w, const FeedFactor& factor,
               BlockScales& block, float* levels, float* errors, int error_stride) {
    for (int start = 0; start < kFeedUnit; start += T::run) {
        const int run = first_run + start / T::run;
        alignas(64) float seen[T::run * S::lanes];
        foresee_run<S, T::run>(x + start * S::lanes, own + start * S::lanes,
                               factor[start] + start, seen);
        T::Search::pick(run, seen, w + start * S::lanes, block);
        const auto scale = S::load(block.scale[run]), offset = S::load(block.offset[run]);
        const auto inverse = inverse_or_zero<S>(scale);
        const auto shift = S::fnma(offset, inverse, S::zero());
        for (int j = start; j < start + T::run; ++j) {
            const auto value = S::load(x + j * S::lanes);
            const auto level = T::Grid::nearest(S::fma(value, inverse, shift));
            const auto lost = S::sub(S::sub(value, offset), S::mul(scale, level));
            const auto error = S::sub(S::sub(value, S::load(own + j * S::lanes)), lost);
            S::store(levels + j * S::lanes, level);
            S::store(errors + j * error_stride, error);
            const float* row = factor[j];
            for (int k = j + 1; k < kFeedUnit; ++k)
                S::store(x + k * S::lanes,
                         S::fnma(S::set(row[k]), error, S::load(x + k * S::lanes)));
        }
    }
}

// x (count, kFeedVectors lanes) -= A^T errors, with A (kFeedUnit, count) in tiles of kFeedTile
// columns.
template <class S>
void spread_errors(const float* tiles, const float* errors, int64_t count, float* x) {
    constexpr int width = kFeedVectors * S::lanes;
    for (int64_t k = 0; k < count; k += kFeedTile, tiles += kFeedUnit * kFeedTile) {
        typename S::F sums[kFeedTile][kFeedVectors];
        for (int c = 0; c < kFeedTile; ++c)
            for (int v = 0; v < kFeedVectors; ++v)
                sums[c][v] = S::load(x + (k + c) * width + v * S::lanes);
        for (int j = 0; j < kFeedUnit; ++j) {
            // Errors first, then one factor at a time: no sum has to leave its register.
            typename S::F error[kFeedVectors];
            for (int v = 0; v < kFeedVectors; ++v) error[v] = S::load(errors + j * width + v * S::lanes);
            for (int c = 0; c < kFeedTile; ++c) {
                const auto by = S::set(tiles[j * kFeedTile + c]);
                for (int v = 0; v < kFeedVectors; ++v) sums[c][v] = S::fnma(by, error[v], sums[c][v]);
            }
        }
        for (int c = 0; c < kFeedTile; ++c)
            for (int v = 0; v < kFeedVectors; ++v)
                S::store(x + (k + c) * width + v * S::lanes, sums[c][v]);
    }
}
