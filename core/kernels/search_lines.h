// Room: core/kernels. The search of blocks whose runs have a scale and a minimum each, both whole
// multiples of the block's two: Q2_K, Q4_K, Q5_K. Included after search.h.

template <class S, class T>
struct LinesSearch {
    using F = typename S::F;
    using G = typename T::Grid;
    static constexpr int stride = T::run * S::lanes;

    static void choose(const float* x, const float* w, BlockScales& block) {
        State s;
        auto scales = S::zero(), minima = S::zero();
        for (int b = 0; b < T::runs; ++b) {
            s.values[b] = sum_values<S, T::run>(x + b * stride, w + b * stride);
            s.line[b] = best_line<S, T>(x + b * stride, w + b * stride, s.values[b]);
            scales = S::max(scales, s.line[b].scale);
            minima = S::max(minima, S::sub(S::zero(), s.line[b].offset));
        }
        first_units(x, w, scales, minima, s, block);
        const auto by = inverse_or_zero<S>(s.d), shift = inverse_or_zero<S>(s.dmin);
        for (int b = 0; b < T::runs; ++b) {
            s.multiple[b] = clamp(S::mul(s.line[b].scale, by));
            s.minimum[b] = clamp(S::mul(S::sub(S::zero(), s.line[b].offset), shift));
        }
        for (int round = 0; round < 3; ++round) {
            for (int b = 0; b < T::runs; ++b)
                s.levels[b] = better(x + b * stride, w + b * stride, s.values[b], s.d, s.dmin,
                                     s.multiple[b], s.minimum[b]);
            if (round < 2) refit(s, block);
        }
        for (int b = 0; b < T::runs; ++b) keep(b, s.d, s.dmin, s.multiple[b], s.minimum[b], block);
    }
    // A run's multiples for values that have changed since the block's scales were chosen.
    static void pick(int b, const float* x, const float* w, BlockScales& block) {
        const auto unit = S::load(block.inverse_unit);
        const auto d = S::mul(S::load_half(block.d), unit);
        const auto dmin = S::mul(S::load_half(block.dmin), unit);
        const auto values = sum_values<S, T::run>(x, w);
        const auto line = best_line<S, T>(x, w, values);
        auto multiple = clamp(ratio_or_zero<S>(line.scale, d));
        auto minimum = clamp(ratio_or_zero<S>(S::sub(S::zero(), line.offset), dmin));
        better(x, w, values, d, dmin, multiple, minimum);
        keep(b, d, dmin, multiple, minimum, block);
    }

  private:
    struct State {
        ValueSums<S> values[T::runs];
        LevelSums<S> levels[T::runs];
        LineFit<S> line[T::runs];
        F multiple[T::runs], minimum[T::runs];
        F d, dmin;
    };
    static F clamp(F v) {
        return S::round(S::min(S::max(v, S::zero()), S::set(float(T::most))));
    }
    static void keep(int b, F d, F dmin, F multiple, F minimum, BlockScales& block) {
        S::store(block.scale[b], S::mul(d, multiple));
        S::store(block.offset[b], S::sub(S::zero(), S::mul(dmin, minimum)));
        store_levels<S>(block.scales[b], multiple);
        store_levels<S>(block.mins[b], minimum);
    }
    // The weighted error of a run, but for the sum of w x^2.
    static F loss(const LevelSums<S>& q, const ValueSums<S>& v, F scale, F offset) {
        const auto two = S::set(2.0f);
        auto error = S::mul(scale, S::fnma(two, q.qx, S::mul(scale, q.qq)));
        error = S::fma(offset, S::fnma(two, v.x, S::mul(offset, v.one)), error);
        return S::fma(S::mul(two, S::mul(scale, offset)), q.q, error);
    }
    static LevelSums<S> levels_of(const float* x, const float* w, F scale, F offset) {
        const auto inverse = inverse_or_zero<S>(scale);
        return sum_levels<S, G, T::run, true>(x, w, inverse, S::fnma(offset, inverse, S::zero()));
    }
    // The block's two scales, among those that give the largest run one of several multiples.
    static void first_units(const float* x, const float* w, F scales, F minima, State& s,
                            BlockScales& block) {
        auto least = S::set(3e38f);
        uint16_t half[S::lanes];
        s.d = s.dmin = S::zero();
        for (const float scale_meets : T::units)
            for (const float minimum_meets : T::units) {
                const auto d = round_to_half<S>(S::mul(scales, S::set(1.0f / scale_meets)), block, half);
                const auto dmin =
                    round_to_half<S>(S::mul(minima, S::set(1.0f / minimum_meets)), block, half);
                const auto by = inverse_or_zero<S>(d), shift = inverse_or_zero<S>(dmin);
                auto total = S::zero();
                for (int b = 0; b < T::runs; ++b) {
                    const auto scale = S::mul(d, clamp(S::mul(s.line[b].scale, by)));
                    const auto offset =
                        S::mul(dmin, clamp(S::mul(S::sub(S::zero(), s.line[b].offset), shift)));
                    const auto below = S::sub(S::zero(), offset);
                    const auto q = levels_of(x + b * stride, w + b * stride, scale, below);
                    total = S::add(total, loss(q, s.values[b], scale, below));
                }
                s.d = S::pick_less(total, least, d, s.d);
                s.dmin = S::pick_less(total, least, dmin, s.dmin);
                least = S::min(least, total);
            }
        s.d = round_to_half<S>(s.d, block, block.d);
        s.dmin = round_to_half<S>(s.dmin, block, block.dmin);
    }
    // Moves both multiples of a run to the best of themselves and their neighbours.
    static LevelSums<S> better(const float* x, const float* w, const ValueSums<S>& values, F d,
                               F dmin, F& multiple, F& minimum) {
        const auto from = multiple, from_minimum = minimum;
        auto least = S::set(3e38f);
        LevelSums<S> best{S::zero(), S::zero(), S::zero()};
        for (int step = -1; step <= 1; ++step)
            for (int shift = -1; shift <= 1; ++shift) {
                const auto at = clamp(S::add(from, S::set(float(step))));
                const auto low = clamp(S::add(from_minimum, S::set(float(shift))));
                const auto scale = S::mul(d, at);
                const auto offset = S::sub(S::zero(), S::mul(dmin, low));
                const auto q = levels_of(x, w, scale, offset);
                const auto lost = loss(q, values, scale, offset);
                multiple = S::pick_less(lost, least, at, multiple);
                minimum = S::pick_less(lost, least, low, minimum);
                best.q = S::pick_less(lost, least, q.q, best.q);
                best.qq = S::pick_less(lost, least, q.qq, best.qq);
                best.qx = S::pick_less(lost, least, q.qx, best.qx);
                least = S::min(lost, least);
            }
        return best;
    }
    // The block's two scales by least squares, for all levels and multiples as they are.
    static void refit(State& s, BlockScales& block) {
        auto aa = S::zero(), ac = S::zero(), cc = S::zero(), ax = S::zero(), cx = S::zero();
        for (int b = 0; b < T::runs; ++b) {
            const auto a = s.multiple[b], c = s.minimum[b];
            aa = S::fma(S::mul(a, a), s.levels[b].qq, aa);
            ac = S::fma(S::mul(a, c), s.levels[b].q, ac);
            cc = S::fma(S::mul(c, c), s.values[b].one, cc);
            ax = S::fma(a, s.levels[b].qx, ax);
            cx = S::fma(c, s.values[b].x, cx);
        }
        // d aa - dmin ac = ax; d ac - dmin cc = cx
        const auto spread = S::fnma(ac, ac, S::mul(aa, cc));
        const auto flat = S::mul(S::set(1e-5f), S::mul(aa, cc));
        const auto by = inverse_or_zero<S>(spread);
        const auto d = S::mul(S::fnma(ac, cx, S::mul(cc, ax)), by);
        const auto dmin = S::mul(S::fnma(aa, cx, S::mul(ac, ax)), by);
        const auto zero = S::zero();
        const auto sound = S::min(S::min(d, dmin), S::sub(spread, flat));  // all above zero
        s.d = round_to_half<S>(S::pick_less(zero, sound, d, s.d), block, block.d);
        s.dmin = round_to_half<S>(S::pick_less(zero, sound, dmin, s.dmin), block, block.dmin);
    }
};
