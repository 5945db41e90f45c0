// Room: core/kernels. Which blocks can be written, and where the search for their scales starts.
// Included after search.h and search_lines.h.

template <class S>
struct TypeQ4_0 {
    using Grid = EvenGrid<S, -8, 7>;
    static constexpr int run = 32, runs = 1;
    static constexpr Ladder starts[] = {{-9.75f, 0.5f, 9}, {6.0f, 0.5f, 6}};
    static constexpr float beside = 0.25f;
    using Search = ScaleSearch<S, TypeQ4_0>;
};
template <class S>
struct TypeQ5_0 {
    using Grid = EvenGrid<S, -16, 15>;
    static constexpr int run = 32, runs = 1;
    static constexpr Ladder starts[] = {{-17.5f, 0.25f, 14}, {13.75f, 0.25f, 9}};
    using Search = ScaleSearch<S, TypeQ5_0>;
};
template <class S>
struct TypeQ8_0 {
    using Grid = EvenGrid<S, -127, 127, -128>;
    static constexpr int run = 32, runs = 1;
    static constexpr Ladder starts[] = {{126.0f, 0.5f, 4}};
    using Search = ScaleSearch<S, TypeQ8_0>;
};
template <class S>
struct TypeIQ4_NL {
    using Grid = Iq4Grid<S>;
    static constexpr int run = 32, runs = 1;
    static constexpr Ladder starts[] = {{-150.0f, 5.0f, 12}, {92.0f, 5.0f, 9}};
    using Search = ScaleSearch<S, TypeIQ4_NL>;
};
template <class S>
struct TypeMXFP4 {
    using Grid = Mxfp4Grid<S>;
    static constexpr int run = 32, runs = 1;
    using Search = PowerSearch<S, TypeMXFP4>;
};
template <class S>
struct TypeQ4_1 {
    using Grid = EvenGrid<S, 0, 15>;
    static constexpr int run = 32, runs = 1;
    static constexpr bool below_zero = false;
    static constexpr Ladder cuts = {-0.6f, 0.4f, 8};
    using Search = LineSearch<S, TypeQ4_1>;
};
template <class S>
struct TypeQ5_1 {
    using Grid = EvenGrid<S, 0, 31>;
    static constexpr int run = 32, runs = 1;
    static constexpr bool below_zero = false;
    static constexpr Ladder cuts = {-0.6f, 0.4f, 7};
    using Search = LineSearch<S, TypeQ5_1>;
};
template <class S>
struct TypeQ3_K {
    using Grid = EvenGrid<S, -4, 3>;
    static constexpr int run = 16, runs = 16, least = -32, most = 31;
    static constexpr Ladder starts[] = {{-5.0f, 0.2f, 12}, {2.4f, 0.2f, 7}};
    static constexpr Ladder units[] = {{-33.0f, 1.0f, 6}, {30.0f, 1.0f, 2}};
    using Search = ScalesSearch<S, TypeQ3_K>;
};
template <class S>
struct TypeQ6_K {
    using Grid = EvenGrid<S, -32, 31>;
    static constexpr int run = 16, runs = 16, least = -128, most = 127;
    static constexpr Ladder starts[] = {{-33.5f, 0.5f, 8}, {30.5f, 0.5f, 3}};
    static constexpr Ladder units[] = {{-128.0f, 2.0f, 3}};
    using Search = ScalesSearch<S, TypeQ6_K>;
};
template <class S>
struct TypeQ2_K {
    using Grid = EvenGrid<S, 0, 3>;
    static constexpr int run = 16, runs = 16, most = 15;
    static constexpr bool below_zero = true;
    static constexpr Ladder cuts = {-0.6f, 0.2f, 8};
    static constexpr float units[] = {15.5f, 15.0f, 14.0f, 13.0f};
    using Search = LinesSearch<S, TypeQ2_K>;
};
template <class S>
struct TypeQ4_K {
    using Grid = EvenGrid<S, 0, 15>;
    static constexpr int run = 32, runs = 8, most = 63;
    static constexpr bool below_zero = true;
    static constexpr Ladder cuts = {-0.5f, 0.5f, 6};
    static constexpr float units[] = {64.0f, 62.0f, 60.0f};
    using Search = LinesSearch<S, TypeQ4_K>;
};
template <class S>
struct TypeQ5_K {
    using Grid = EvenGrid<S, 0, 31>;
    static constexpr int run = 32, runs = 8, most = 63;
    static constexpr bool below_zero = true;
    static constexpr Ladder cuts = {-0.5f, 0.5f, 6};
    static constexpr float units[] = {64.0f, 62.0f, 60.0f};
    using Search = LinesSearch<S, TypeQ5_K>;
};

// Scales and levels of a block.
template <class S, class T>
void fit_block(const float* x, const float* w, BlockScales& block, float* levels) {
    T::Search::choose(x, w, block);
    for (int b = 0; b < T::runs; ++b) {
        const auto inverse = inverse_or_zero<S>(S::load(block.scale[b]));
        const auto shift = S::fnma(S::load(block.offset[b]), inverse, S::zero());
        for (int i = b * T::run * S::lanes; i < (b + 1) * T::run * S::lanes; i += S::lanes)
            S::store(levels + i, T::Grid::nearest(S::fma(S::load(x + i), inverse, shift)));
    }
}

template <class T>
constexpr BlockCodes make_codes() {
    BlockCodes codes{};
    for (int level = -128; level < 128; ++level)
        codes.of[level + 128] = T::Grid::code(level);
    return codes;
}

template <class S, class T>
constexpr BlockSearch make_search(int type) {
    return {type, T::run, T::runs, fit_block<S, T>, T::Search::choose, feed_unit<S, T>, make_codes<T>()};
}

template <class S>
constexpr BlockSearch find_search(int type) {
    switch (type) {
        case 2: return make_search<S, TypeQ4_0<S>>(type);
        case 3: return make_search<S, TypeQ4_1<S>>(type);
        case 6: return make_search<S, TypeQ5_0<S>>(type);
        case 7: return make_search<S, TypeQ5_1<S>>(type);
        case 8: return make_search<S, TypeQ8_0<S>>(type);
        case 10: return make_search<S, TypeQ2_K<S>>(type);
        case 11: return make_search<S, TypeQ3_K<S>>(type);
        case 12: return make_search<S, TypeQ4_K<S>>(type);
        case 13: return make_search<S, TypeQ5_K<S>>(type);
        case 14: return make_search<S, TypeQ6_K<S>>(type);
        case 20: return make_search<S, TypeIQ4_NL<S>>(type);
        case 39: return make_search<S, TypeMXFP4<S>>(type);
        default: return {};
    }
}
