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

// A unit's errors as whole numbers: what spread_errors multiplies in half the time of floats. A code
// is off by at most 1 / 16382 of its row's largest error, far below what rounding loses.
template <class S>
void code_errors(const float* errors, FeedErrors& out) {
    constexpr int width = kFeedVectors * S::lanes;
    if constexpr (S::pair_columns == 0) {  // floats of few lanes fit where codes of many do
        std::memcpy(out.codes, errors, sizeof(float) * kFeedUnit * width);
        return;
    }
    for (int v = 0; v < kFeedVectors; ++v, errors += S::lanes) {
        auto most = S::zero();
        for (int j = 0; j < kFeedUnit; ++j) most = S::max(most, S::abs(S::load(errors + j * width)));
        const auto inverse = S::mul(inverse_or_zero<S>(most), S::set(float(kFeedLevels)));
        S::store(out.scale + v * S::lanes, S::mul(most, S::set(1.0f / kFeedLevels)));
        for (int j = 0; j < kFeedUnit; ++j) {
            int16_t codes[S::lanes];
            S::store_shorts(codes, S::to_int(S::mul(S::load(errors + j * width), inverse)));
            int16_t* to = out.codes + 2 * (j / 2 * width + v * S::lanes) + j % 2;
            for (int r = 0; r < S::lanes; ++r) to[2 * r] = codes[r];
        }
    }
}

// spread_errors where floats are faster: errors as they are, factors made floats again.
template <class S>
void spread_floats(const FeedTile* tiles, const FeedErrors& errors, float* x) {
    constexpr int width = kFeedVectors * S::lanes;
    for (int k = 0; k < kFeedUnit; k += kFeedTile, ++tiles, x += kFeedTile * width) {
        float factors[kFeedUnit * kFeedTile];
        for (int i = 0; i < kFeedUnit * kFeedTile; ++i) factors[i] = (&tiles->codes[0][0][0])[i];
        typename S::F sums[kFeedTile][kFeedVectors];
        for (int c = 0; c < kFeedTile; ++c)
            for (int v = 0; v < kFeedVectors; ++v) sums[c][v] = S::zero();
        const auto* row = reinterpret_cast<const float*>(errors.codes);
        for (int j = 0; j < kFeedUnit; ++j, row += width) {
            typename S::F error[kFeedVectors];
            for (int v = 0; v < kFeedVectors; ++v) error[v] = S::load(row + v * S::lanes);
            for (int c = 0; c < kFeedTile; ++c) {
                const auto by = S::set(factors[2 * (j / 2 * kFeedTile + c) + j % 2]);
                for (int v = 0; v < kFeedVectors; ++v) sums[c][v] = S::fma(by, error[v], sums[c][v]);
            }
        }
        for (int c = 0; c < kFeedTile; ++c)
            for (int v = 0; v < kFeedVectors; ++v) {
                float* to = x + c * width + v * S::lanes;
                S::store(to, S::fnma(S::set(tiles->scale[c]), sums[c][v], S::load(to)));
            }
    }
}

// Some columns of a tile, from column `c` on: x -= A^T errors.
template <class S>
inline void spread_columns(const FeedTile& tile, const FeedErrors& errors, int c, float* x) {
    constexpr int width = kFeedVectors * S::lanes, columns = S::pair_columns;
    typename S::I sums[columns][kFeedVectors];
    for (int i = 0; i < columns; ++i)
        for (int v = 0; v < kFeedVectors; ++v) sums[i][v] = S::set_int(0);
    const auto* codes = reinterpret_cast<const uint8_t*>(errors.codes);
    for (int j = 0; j < kFeedUnit / 2; ++j, codes += 4 * width) {
        // Errors first, then one factor at a time: no sum has to leave its register.
        typename S::B error[kFeedVectors];
        for (int v = 0; v < kFeedVectors; ++v) error[v] = S::load_bytes(codes + 4 * v * S::lanes);
        for (int i = 0; i < columns; ++i) {
            const auto by = S::repeat4(reinterpret_cast<const int8_t*>(tile.codes[j][c + i]));
            for (int v = 0; v < kFeedVectors; ++v) sums[i][v] = S::dot_pairs(sums[i][v], by, error[v]);
        }
    }
    for (int i = 0; i < columns; ++i)
        for (int v = 0; v < kFeedVectors; ++v) {
            const auto by = S::mul(S::set(tile.scale[c + i]), S::load(errors.scale + v * S::lanes));
            float* to = x + (c + i) * width + v * S::lanes;
            S::store(to, S::fnma(S::to_float(sums[i][v]), by, S::load(to)));
        }
}

// x (kFeedUnit, kFeedVectors lanes) -= A^T errors, with A in tiles of kFeedTile columns.
template <class S>
void spread_errors(const FeedTile* tiles, const FeedErrors& errors, float* x) {
    if constexpr (S::pair_columns == 0) {
        spread_floats<S>(tiles, errors, x);
    } else {
        for (int k = 0; k < kFeedUnit; k += kFeedTile, ++tiles)
            for (int c = 0; c < kFeedTile; c += S::pair_columns)
                spread_columns<S>(*tiles, errors, c, x + k * kFeedVectors * S::lanes);
    }
}
