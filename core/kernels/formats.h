// Room: core/kernels. How each block type's planes become byte vectors and scales.
// Included by every instruction set inside its own namespace; S is that set's Simd.
// The codes are unsigned; `offset` n means the true value is code - 2^n (n < 0: no offset).

struct Nothing {};

template <class S>
struct Scales {
    typename S::F low, high;          // of elements 0..15 and 16..31 (low only when equal)
    typename S::F min_low, min_high;  // added times the sum of activations
};

struct BaseFormat {
    static constexpr int elements = 32;
    static constexpr int planes = kNibble;
    static constexpr int header = 2;
    static constexpr int row_floats = 0;    // of a row before its blocks: factor, divisor
    static constexpr int offset = -1;
    static constexpr bool halves = false;   // scales of 16 elements
    static constexpr bool minimum = false;
    static constexpr bool wide = false;     // codes above 63
    static constexpr const int8_t* levels = nullptr;
};

template <class S>
struct FormatQ4_0 : BaseFormat {
    static constexpr int offset = 3;
    static void scales(const uint8_t* head, int, int lane, Scales<S>& s) {
        s.low = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
    }
};

template <class S>
struct FormatQ4_1 : BaseFormat {
    static constexpr int header = 4;
    static constexpr bool minimum = true;
    static void scales(const uint8_t* head, int, int lane, Scales<S>& s) {
        s.low = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
        s.min_low = S::load_half(reinterpret_cast<const uint16_t*>(head + 32) + lane);
    }
};

template <class S>
struct FormatQ5_0 : FormatQ4_0<S> {
    static constexpr int planes = kNibble | kBit;
    static constexpr int offset = 4;
};

template <class S>
struct FormatQ5_1 : FormatQ4_1<S> {
    static constexpr int planes = kNibble | kBit;
};

template <class S>
struct FormatQ8_0 : FormatQ4_0<S> {
    static constexpr int planes = kByte;
    static constexpr int offset = 7;
    static constexpr bool wide = true;
};

// Levels made unsigned by adding 2^offset.
inline constexpr int8_t kIq4Unsigned[16] = {1,  24, 45, 63, 79, 93, 106, 118,
                                            -127, -115, -103, -90, -75, -59, -39, -15};
inline constexpr int8_t kMxfp4Unsigned[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                              16, 15, 14, 13, 12, 10, 8,  4};

template <class S>
struct FormatIQ4_NL : FormatQ4_0<S> {
    static constexpr int offset = 7;
    static constexpr bool wide = true;
    static constexpr const int8_t* levels = S::exact_bytes ? kIq4Unsigned : kIq4Levels;
};

template <class S>
struct FormatMXFP4 : BaseFormat {
    static constexpr int header = 1;
    static constexpr int offset = 4;
    static constexpr const int8_t* levels = kMxfp4Unsigned;
    static void scales(const uint8_t* head, int, int lane, Scales<S>& s) {
        s.low = S::load_e8m0_half(head + lane);
    }
};

template <class S>
struct FormatQ4_K : BaseFormat {
    static constexpr int elements = 256;
    static constexpr int header = 20;
    static constexpr bool minimum = true;
    static void scales(const uint8_t* head, int sub, int lane, Scales<S>& s) {
        const auto d = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
        const auto dmin = S::load_half(reinterpret_cast<const uint16_t*>(head + 32) + lane);
        s.low = S::mul(d, S::load_u8(head + 64 + 16 * sub + lane));
        s.min_low = S::mul(S::sub(S::zero(), dmin), S::load_u8(head + 192 + 16 * sub + lane));
    }
};

template <class S>
struct FormatQ5_K : FormatQ4_K<S> {
    static constexpr int planes = kNibble | kBit;
};

template <class S>
struct FormatQ6_K : BaseFormat {
    static constexpr int elements = 256;
    static constexpr int planes = kNibble | kCrumb;
    static constexpr int header = 18;
    static constexpr int offset = 5;
    static constexpr bool halves = true;
    static void scales(const uint8_t* head, int sub, int lane, Scales<S>& s) {
        const auto d = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
        s.low = S::mul(d, S::load_i8(head + 32 + 32 * sub + lane));
        s.high = S::mul(d, S::load_i8(head + 48 + 32 * sub + lane));
    }
};

template <class S>
struct FormatQ3_K : FormatQ6_K<S> {
    static constexpr int planes = kCrumb | kBit;
    static constexpr int offset = 2;
};

template <class S>
struct FormatQ2_K : BaseFormat {
    static constexpr int elements = 256;
    static constexpr int planes = kCrumb;
    static constexpr int header = 20;
    static constexpr bool halves = true;
    static constexpr bool minimum = true;
    static void scales(const uint8_t* head, int sub, int lane, Scales<S>& s) {
        const auto d = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
        const auto dmin = S::sub(
            S::zero(), S::load_half(reinterpret_cast<const uint16_t*>(head + 32) + lane));
        const uint8_t* both = head + 64 + 32 * sub + lane;
        s.low = S::mul(d, S::load_u8_low(both));
        s.high = S::mul(d, S::load_u8_low(both + 16));
        s.min_low = S::mul(dmin, S::load_u8_high(both));
        s.min_high = S::mul(dmin, S::load_u8_high(both + 16));
    }
};

template <class S>
struct FormatIQ4_XS : BaseFormat {
    static constexpr int elements = 256;
    static constexpr int header = 10;
    static constexpr int offset = 7;
    static constexpr bool wide = true;
    static constexpr const int8_t* levels = S::exact_bytes ? kIq4Unsigned : kIq4Levels;
    static void scales(const uint8_t* head, int sub, int lane, Scales<S>& s) {
        const auto d = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
        s.low = S::mul(d, S::load_i8(head + 32 + 16 * sub + lane));
    }
};

// The types of quantized safetensors, see quants/checkpoint.h.
template <class S, int Elements, bool Byte>
struct FormatAffine : BaseFormat {
    static constexpr int elements = Elements;
    static constexpr int planes = Byte ? kByte : kNibble;
    static constexpr int header = 3;
    static constexpr int row_floats = 1;
    static constexpr bool minimum = true;
    static constexpr bool wide = Byte;
    static void scales(const uint8_t* head, int, int lane, Scales<S>& s) {
        s.low = S::load_half(reinterpret_cast<const uint16_t*>(head) + lane);
        // Where codes come as signed bytes they are 128 less, and so is what is taken from them.
        const auto shift = S::set(Byte && !S::exact_bytes ? 128.0f : 0.0f);
        s.min_low = S::mul(s.low, S::sub(shift, S::load_u8(head + 32 + lane)));
    }
};

template <class S>
struct FormatInt4x32 : FormatAffine<S, 32, false> {};
template <class S>
struct FormatInt4x64 : FormatAffine<S, 64, false> {};
template <class S>
struct FormatInt4x128 : FormatAffine<S, 128, false> {};
template <class S>
struct FormatInt8x32 : FormatAffine<S, 32, true> {};
template <class S>
struct FormatInt8x128 : FormatAffine<S, 128, true> {};

template <class S>
struct FormatNvfp4 : FormatMXFP4<S> {
    static constexpr int header = 2;
    static constexpr int row_floats = 2;
    static constexpr bool halves = true;
    static void scales(const uint8_t* head, int, int lane, Scales<S>& s) {
        const auto half = S::set(0.5f);  // of the doubled levels
        s.low = S::mul(half, S::load_e4m3(head + lane));
        s.high = S::mul(half, S::load_e4m3(head + 16 + lane));
    }
};

// Unsigned codes are below 2^code_bits.
template <class Format>
constexpr int code_bits() {
    if (Format::wide) return 8;
    if (Format::levels != nullptr) return 5;
    return (Format::planes & kNibble ? 4 : 0) + (Format::planes & kCrumb ? 2 : 0) +
           (Format::planes & kBit ? 1 : 0);
}

// Whether the scale of sixteen activations weighs their products while these are whole numbers: where
// they are sums of 16 bits that a multiply-add has yet to widen.
template <class S, class Format>
constexpr bool weighed() {
    return !S::exact_bytes && !Format::wide;
}

// Whether both halves of a block then meet in one whole number.
template <class S, class Format>
constexpr bool together() {
    return weighed<S, Format>() && !Format::halves;
}

// What keeps a sum of eight products, at most 127 of a code's size each, within 16 bits.
template <class S, class Format>
constexpr bool fits_weighed() {
    constexpr int bits = code_bits<Format>();
    if (!weighed<S, Format>() || bits <= 5) return true;
    return bits == 6 && Format::offset == 5 && Format::halves;
}

// Whether both halves' sums are joined as two int16, where 16 products of 127 and a code fit them.
template <class S, class Format>
constexpr bool joined() {
    constexpr int bits = code_bits<Format>();
    return S::joins && !Format::halves && (bits <= 4 || (bits == 5 && Format::offset == 4));
}

inline int32_t pair_of(int32_t high, int32_t low) {  // as int16
    return static_cast<int32_t>(static_cast<uint32_t>(high) << 16 | static_cast<uint16_t>(low));
}

// Where halves are joined, `minus_low` and `minus_high` of activations say sums times 2^kJoinedOffset,
// so that codes with that offset begin from them without a shift.
constexpr int kJoinedOffset = 4;

// What they say: a sum, or that of two int16.
template <class S>
inline float sum_of(int32_t sum) {
    if constexpr (S::joins) return static_cast<float>(sum >> kJoinedOffset);
    else if constexpr (S::exact_bytes) return static_cast<float>(sum);
    else return static_cast<float>(static_cast<int16_t>(sum) + (sum >> 16));
}

// A sum that they say, times 2^offset.
template <class S, int offset>
inline typename S::I times_offset(int32_t sum) {
    if constexpr (!S::joins) return S::template shift_left<offset>(S::set_int(sum));
    else if constexpr (offset >= kJoinedOffset)
        return S::template shift_left<offset - kJoinedOffset>(S::set_int(sum));
    else return S::template shift_right<kJoinedOffset - offset>(S::set_int(sum));
}

// What a row's sums are multiplied by in the end: the token's scale, and the row's own factor.
template <class S, class Format>
inline typename S::F row_factor(const float* own, float scale) {
    if constexpr (Format::row_floats == 0) return S::set(scale);
    else if constexpr (Format::row_floats == 1) return S::mul(S::load(own), S::set(scale));
    else return S::mul(S::div(S::load(own), S::load(own + kGroupRows)), S::set(scale));
}

// Four vectors of codes, vector j holding elements 16 Half + 4 j .. 16 Half + 4 j + 3 of every row
// in `part`.
template <class S, class Format, int Half>
inline __attribute__((always_inline)) void load_half(const uint8_t* p, int part,
                                                     typename S::B w[4]) {
    constexpr int width = 4 * S::lanes;
    if constexpr (Format::planes & kNibble) {
        const auto low = S::set_bytes(15);
        for (int j = 0; j < 4; ++j) {
            const auto v = S::load_bytes(p + 64 * j + width * part);
            if constexpr (Half == 0) w[j] = S::bit_and(v, low);
            else w[j] = S::bit_and(S::template right<4>(v), low);
        }
        p += 256;
    }
    if constexpr (Format::planes & kCrumb) {
        constexpr bool above = Format::planes & kNibble;
        const auto keep = S::set_bytes(above ? 0x30 : 3);
        for (int v = 0; v < 2; ++v) {
            const auto c = S::load_bytes(p + 64 * v + width * part);
            if constexpr (above && Half == 0) {
                w[v] = S::bit_or(w[v], S::bit_and(S::template left<4>(c), keep));
                w[v + 2] = S::bit_or(w[v + 2], S::bit_and(S::template left<2>(c), keep));
            } else if constexpr (above) {
                w[v] = S::bit_or(w[v], S::bit_and(c, keep));
                w[v + 2] = S::bit_or(w[v + 2], S::bit_and(S::template right<2>(c), keep));
            } else if constexpr (Half == 0) {
                w[v] = S::bit_and(c, keep);
                w[v + 2] = S::bit_and(S::template right<2>(c), keep);
            } else {
                w[v] = S::bit_and(S::template right<4>(c), keep);
                w[v + 2] = S::bit_and(S::template right<6>(c), keep);
            }
        }
        p += 128;
    }
    if constexpr (Format::planes & kBit) {
        const auto place = S::set_bytes(Format::planes & kNibble ? 16 : 4);
        for (int j = 0; j < 4; ++j) w[j] = S::or_bits(w[j], p + 32 * Half + 8 * j, part, place);
    }
    if constexpr (Format::planes & kByte)
        for (int j = 0; j < 4; ++j) {
            w[j] = S::load_bytes(p + 256 * Half + 64 * j + width * part);
            if constexpr (!S::exact_bytes) w[j] = S::bit_xor(w[j], S::set_bytes(0x80));
        }
    if constexpr (Format::levels != nullptr)
        for (int j = 0; j < 4; ++j) w[j] = S::look_up(Format::levels, w[j]);
}

// All eight vectors of a block's codes.
template <class S, class Format>
inline __attribute__((always_inline)) void load_codes(const uint8_t* p, int part,
                                                      typename S::B w[8]) {
    load_half<S, Format, 0>(p, part, w);
    load_half<S, Format, 1>(p, part, w + 4);
}
