// Room: core/kernels. Scales of blocks by search. Included by every instruction set inside its own
// namespace. As many rows as a vector has lanes lie side by side, element i of row r at
// [i * lanes + r]: no lane meets another, so that a row's result is its own.
//
// A run is what shares a scale: w = scale * level + offset. A block is one run with a float16 scale
// (and offset), or several whose scales are small multiples of the block's. Levels are whole numbers
// from -128 to 127; types that name 16 levels list them.

template <class S, int lo, int hi, int first = lo>
struct EvenGrid {  // every whole number from lo to hi; code 0 is `first`
    using F = typename S::F;
    static constexpr int lowest = lo, highest = hi;
    static F nearest(F v) {
        return S::round(S::min(S::max(v, S::set(float(lo))), S::set(float(hi))));
    }
    static constexpr uint8_t code(int level) { return static_cast<uint8_t>(level - first); }
};

template <class S, const int8_t* levels, int count>
struct ListedGrid {  // `count` levels of `levels` in ascending order, the codes of 16
    using F = typename S::F;
    static F nearest(F v) {
        auto level = S::set(float(levels[0]));
        for (int k = 1; k < count; ++k) {
            const auto middle = S::set(0.5f * float(levels[k - 1] + levels[k]));
            level = S::pick_less(middle, v, S::set(float(levels[k])), level);
        }
        return level;
    }
};

inline constexpr int8_t kMxfp4Sorted[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

template <class S>
struct Iq4Grid : ListedGrid<S, kIq4Levels, 16> {
    static constexpr uint8_t code(int level) {
        int k = 0;
        while (k < 15 && kIq4Levels[k] < level) ++k;
        return static_cast<uint8_t>(k);
    }
};

template <class S>
struct Mxfp4Grid : ListedGrid<S, kMxfp4Sorted, 15> {
    static constexpr uint8_t code(int level) {
        int k = 0;
        while (k < 15 && kMxfp4Levels[k] != level) ++k;
        return static_cast<uint8_t>(k);
    }
};

// Weighted sums over a run: of the levels that a scale gives, and of the values alone.
template <class S>
struct LevelSums {
    typename S::F q, qq, qx;
};
template <class S>
struct ValueSums {
    typename S::F one, x, xx;
};

template <class S, class G, int n, bool line>
inline LevelSums<S> sum_levels(const float* x, const float* w, typename S::F inverse,
                               typename S::F shift) {
    auto q = S::zero(), qq = S::zero(), qx = S::zero();
    for (int i = 0; i < n; ++i) {
        const auto value = S::load(x + i * S::lanes);
        const auto level =
            G::nearest(line ? S::fma(value, inverse, shift) : S::mul(value, inverse));
        const auto weighed = S::mul(S::load(w + i * S::lanes), level);
        if (line) q = S::add(q, weighed);
        qq = S::fma(weighed, level, qq);
        qx = S::fma(weighed, value, qx);
    }
    return {q, qq, qx};
}

template <class S, int n>
inline ValueSums<S> sum_values(const float* x, const float* w) {
    ValueSums<S> sums{S::zero(), S::zero(), S::zero()};
    for (int i = 0; i < n; ++i) {
        const auto value = S::load(x + i * S::lanes), weight = S::load(w + i * S::lanes);
        const auto weighed = S::mul(weight, value);
        sums.one = S::add(sums.one, weight);
        sums.x = S::add(sums.x, weighed);
        sums.xx = S::fma(weighed, value, sums.xx);
    }
    return sums;
}

template <class S>
inline typename S::F inverse_or_zero(typename S::F v) {
    const auto none = S::set(1e-20f), one = S::set(1.0f);
    const auto zero = S::zero();
    const auto safe = S::pick_less(S::abs(v), none, one, v);
    return S::pick_less(S::abs(v), none, zero, S::div(one, safe));
}

template <class S>
inline typename S::F ratio_or_zero(typename S::F a, typename S::F b) {
    return S::mul(a, inverse_or_zero<S>(b));
}

// v as a float16 of the row's own unit; what it becomes.
template <class S>
inline typename S::F round_to_half(typename S::F v, const BlockScales& block, uint16_t* out) {
    const auto most = S::set(65504.0f), least = S::set(-65504.0f);
    const auto whole = S::mul(v, S::load(block.unit));
    S::store_half(out, S::max(least, S::min(most, whole)), S::lanes);
    return S::mul(S::load_half(out), S::load(block.inverse_unit));
}

template <class S>
inline void store_levels(uint8_t* out, typename S::F v) {
    S::store_bytes(reinterpret_cast<int8_t*>(out), S::to_int(v));
}

// Numbers first, first + step, ...
struct Ladder {
    float first, step;
    int count;
};

// The number of a run that is furthest from zero.
template <class S, int n>
inline typename S::F furthest(const float* x) {
    auto far = S::load(x);
    for (int i = 1; i < n; ++i) {
        const auto value = S::load(x + i * S::lanes);
        far = S::pick_less(S::abs(far), S::abs(value), value, far);
    }
    return far;
}

// The scale of a run alone: candidates that give its furthest number one of several levels, the best
// one's neighbours where a type has them, then the least squares for the levels found, twice.
template <class S, class T>
typename S::F best_scale(const float* x, const float* w) {
    using G = typename T::Grid;
    const auto far = inverse_or_zero<S>(furthest<S, T::run>(x));
    auto best = S::zero(), gain = S::zero(), best_inverse = far;
    const auto attempt = [&](typename S::F inverse) {
        const auto sums = sum_levels<S, G, T::run, false>(x, w, inverse, S::zero());
        const auto scale = ratio_or_zero<S>(sums.qx, sums.qq);
        const auto gained = S::mul(scale, sums.qx);
        best = S::pick_less(gain, gained, scale, best);
        best_inverse = S::pick_less(gain, gained, inverse, best_inverse);
        gain = S::max(gain, gained);
    };
    for (const Ladder& ladder : T::starts)
        for (int k = 0; k < ladder.count; ++k)
            attempt(S::mul(far, S::set(ladder.first + ladder.step * static_cast<float>(k))));
    if constexpr (requires { T::beside; }) {
        const auto middle = best_inverse;
        for (const float step : {-T::beside, T::beside}) attempt(S::fma(far, S::set(step), middle));
    }
    for (int k = 0; k < 2; ++k) attempt(inverse_or_zero<S>(best));
    return best;
}

// A type whose blocks are one run with a float16 scale.
template <class S, class T>
struct ScaleSearch {
    using F = typename S::F;
    static void choose(const float* x, const float* w, BlockScales& block) { pick(0, x, w, block); }
    static void pick(int, const float* x, const float* w, BlockScales& block) {
        const auto scale = round_to_half<S>(best_scale<S, T>(x, w), block, block.d);
        S::store(block.scale[0], scale);
        S::store(block.offset[0], S::zero());
    }
};

// MXFP4: one run whose scale is a power of two.
template <class S, class T>
struct PowerSearch {
    using F = typename S::F;
    static void choose(const float* x, const float* w, BlockScales& block) { pick(0, x, w, block); }
    static void pick(int, const float* x, const float* w, BlockScales& block) {
        alignas(64) float largest[S::lanes], scale[S::lanes], losses[S::lanes];
        float least[S::lanes] = {};
        int base[S::lanes];
        S::store(largest, S::abs(furthest<S, T::run>(x)));
        for (int r = 0; r < S::lanes; ++r) {
            const float whole = largest[r] * block.unit[r];
            base[r] = whole > 0.0f ? std::ilogb(whole) - 3 : -128;  // the largest meets 8 to 16
        }
        for (int step = -1; step <= 1; ++step) {
            for (int r = 0; r < S::lanes; ++r)
                scale[r] = std::ldexp(block.inverse_unit[r], power(base[r] + step));
            const auto by = S::load(scale);
            const auto sums = sum_levels<S, typename T::Grid, T::run, false>(
                x, w, inverse_or_zero<S>(by), S::zero());
            S::store(losses, S::mul(by, S::fnma(S::set(2.0f), sums.qx, S::mul(by, sums.qq))));
            for (int r = 0; r < S::lanes; ++r) {
                if (step > -1 && losses[r] >= least[r]) continue;
                least[r] = losses[r];
                block.scale[0][r] = scale[r];
                block.scales[0][r] = static_cast<uint8_t>(power(base[r] + step) + 128);
            }
        }
        S::store(block.offset[0], S::zero());
    }

  private:
    static int power(int p) { return std::min(std::max(p, -128), 126); }  // E8M0's, 255 is no number
};

// A scale and an offset that fit a run best for the levels found; the weighted error left.
template <class S>
struct LineFit {
    typename S::F scale, offset, error;
};

template <class S, bool below_zero>
inline LineFit<S> fit_line(const LevelSums<S>& levels, const ValueSums<S>& values) {
    const auto zero = S::zero();
    const auto spread = S::fnma(levels.q, levels.q, S::mul(values.one, levels.qq));
    const auto flat = S::mul(S::set(1e-6f), S::mul(values.one, levels.qq));
    const auto rise = S::fnma(levels.q, values.x, S::mul(values.one, levels.qx));
    const auto proper = S::mul(rise, inverse_or_zero<S>(spread));
    auto scale = S::max(zero, S::pick_less(flat, spread, proper, zero));
    auto offset = ratio_or_zero<S>(S::fnma(scale, levels.q, values.x), values.one);
    if (below_zero) {  // no offset, where it would be above zero
        const auto alone = S::max(zero, ratio_or_zero<S>(levels.qx, levels.qq));
        scale = S::pick_less(zero, offset, alone, scale);
        offset = S::min(offset, zero);
    }
    // sum of w (x - scale q - offset)^2
    auto error = S::fnma(S::set(2.0f), S::fma(scale, levels.qx, S::mul(offset, values.x)), values.xx);
    error = S::fma(S::mul(scale, scale), levels.qq, error);
    error = S::fma(S::mul(S::set(2.0f), S::mul(scale, offset)), levels.q, error);
    error = S::fma(S::mul(offset, offset), values.one, error);
    return {scale, offset, error};
}

// Scale and offset of a run alone: candidates that cut the range at either end, then the least
// squares for the levels found, twice.
template <class S, class T>
LineFit<S> best_line(const float* x, const float* w, const ValueSums<S>& values) {
    using G = typename T::Grid;
    auto low = S::load(x), high = low;
    for (int i = 1; i < T::run; ++i) {
        const auto value = S::load(x + i * S::lanes);
        low = S::min(low, value);
        high = S::max(high, value);
    }
    if (T::below_zero) low = S::min(low, S::zero());
    const auto inverse_range = inverse_or_zero<S>(S::sub(high, low));
    LineFit<S> best{S::zero(), S::zero(), S::set(3e38f)};
    const auto attempt = [&](typename S::F inverse, typename S::F shift) {
        const auto sums = sum_levels<S, G, T::run, true>(x, w, inverse, shift);
        const auto found = fit_line<S, T::below_zero>(sums, values);
        best.scale = S::pick_less(found.error, best.error, found.scale, best.scale);
        best.offset = S::pick_less(found.error, best.error, found.offset, best.offset);
        best.error = S::min(found.error, best.error);
    };
    for (int k = 0; k < T::cuts.count; ++k) {
        const float cut = T::cuts.first + T::cuts.step * static_cast<float>(k);
        const auto inverse = S::mul(inverse_range, S::set(float(G::highest) + cut));
        for (const float part : {0.0f, 0.5f, 1.0f})  // how much of the cut is at the low end
            attempt(inverse, S::fnma(low, inverse, S::set(-cut * part)));
    }
    for (int k = 0; k < 2; ++k) {
        const auto inverse = inverse_or_zero<S>(best.scale);
        attempt(inverse, S::fnma(best.offset, inverse, S::zero()));
    }
    return best;
}

// A type whose blocks are one run with a float16 scale and offset.
template <class S, class T>
struct LineSearch {
    using F = typename S::F;
    static void choose(const float* x, const float* w, BlockScales& block) { pick(0, x, w, block); }
    static void pick(int, const float* x, const float* w, BlockScales& block) {
        const auto found = best_line<S, T>(x, w, sum_values<S, T::run>(x, w));
        S::store(block.scale[0], round_to_half<S>(found.scale, block, block.d));
        S::store(block.offset[0], round_to_half<S>(found.offset, block, block.dmin));
    }
};

// A type whose blocks have one float16 scale, and whole multiples of it for each run.
template <class S, class T>
struct ScalesSearch {
    using F = typename S::F;
    using G = typename T::Grid;
    static constexpr int stride = T::run * S::lanes;

    static void choose(const float* x, const float* w, BlockScales& block) {
        F scale[T::runs], multiple[T::runs];
        auto far = S::zero();
        for (int b = 0; b < T::runs; ++b) {
            scale[b] = best_scale<S, T>(x + b * stride, w + b * stride);
            far = S::pick_less(S::abs(far), S::abs(scale[b]), scale[b], far);
        }
        auto d = first_unit(x, w, scale, far, block);
        for (int b = 0; b < T::runs; ++b) multiple[b] = clamp(S::mul(scale[b], inverse_or_zero<S>(d)));
        for (int round = 0; round < 3; ++round) {
            auto up = S::zero(), down = S::zero();
            for (int b = 0; b < T::runs; ++b) {
                const auto sums = better(x + b * stride, w + b * stride, d, multiple[b]);
                up = S::fma(multiple[b], sums.qx, up);
                down = S::fma(S::mul(multiple[b], multiple[b]), sums.qq, down);
            }
            if (round == 2) break;
            d = round_to_half<S>(ratio_or_zero<S>(up, down), block, block.d);
        }
        for (int b = 0; b < T::runs; ++b) keep(b, d, multiple[b], block);
    }
    // A run's multiple for values that have changed since the block's scale was chosen.
    static void pick(int b, const float* x, const float* w, BlockScales& block) {
        const auto d = S::mul(S::load_half(block.d), S::load(block.inverse_unit));
        auto multiple = clamp(S::mul(best_scale<S, T>(x, w), inverse_or_zero<S>(d)));
        better(x, w, d, multiple);
        keep(b, d, multiple, block);
    }

  private:
    static F clamp(F v) {
        return S::round(S::min(S::max(v, S::set(float(T::least))), S::set(float(T::most))));
    }
    static void keep(int b, F d, F multiple, BlockScales& block) {
        S::store(block.scale[b], S::mul(d, multiple));
        S::store(block.offset[b], S::zero());
        store_levels<S>(block.scales[b], multiple);
    }
    static F gain(const LevelSums<S>& sums, F scale) {
        return S::mul(scale, S::fnma(scale, sums.qq, S::mul(S::set(2.0f), sums.qx)));
    }
    // The block's scale among those that give its largest run one of several multiples.
    static F first_unit(const float* x, const float* w, const F* scale, F far, BlockScales& block) {
        auto best = S::zero(), most = S::zero();
        for (const Ladder& ladder : T::units)
            for (int k = 0; k < ladder.count; ++k) {
                const float meets = ladder.first + ladder.step * static_cast<float>(k);
                const auto d = round_to_half<S>(S::mul(far, S::set(1.0f / meets)), block, block.d);
                const auto inverse = inverse_or_zero<S>(d);
                auto total = S::zero();
                for (int b = 0; b < T::runs; ++b) {
                    const auto by = S::mul(d, clamp(S::mul(scale[b], inverse)));
                    const auto sums = sum_levels<S, G, T::run, false>(
                        x + b * stride, w + b * stride, inverse_or_zero<S>(by), S::zero());
                    total = S::add(total, gain(sums, by));
                }
                best = S::pick_less(most, total, d, best);
                most = S::max(most, total);
            }
        return round_to_half<S>(best, block, block.d);
    }
    // Moves a multiple to the best of itself and its neighbours.
    static LevelSums<S> better(const float* x, const float* w, F d, F& multiple) {
        const auto from = multiple;
        auto most = S::set(-3e38f);
        LevelSums<S> best{S::zero(), S::zero(), S::zero()};
        for (int step = -1; step <= 1; ++step) {
            const auto at = clamp(S::add(from, S::set(float(step))));
            const auto by = S::mul(d, at);
            const auto sums =
                sum_levels<S, G, T::run, false>(x, w, inverse_or_zero<S>(by), S::zero());
            const auto gained = gain(sums, by);
            multiple = S::pick_less(most, gained, at, multiple);
            best.qq = S::pick_less(most, gained, sums.qq, best.qq);
            best.qx = S::pick_less(most, gained, sums.qx, best.qx);
            most = S::max(most, gained);
        }
        return best;
    }
};
