// Room: core/kernels. Portable: four lanes in plain arrays, for every machine and as the
// yardstick of the others.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../../quants/traits.h"

namespace freehold::generic {

template <class T, int N>
struct Lanes {
    T v[N];
};

struct Simd {
    static constexpr int lanes = 4;
    using F = Lanes<float, lanes>;
    using I = Lanes<int32_t, lanes>;
    using B = Lanes<uint8_t, 4 * lanes>;
    static constexpr int max_tile = 4;
    static constexpr bool any_tile = false;
    static constexpr int attend_rows = 3;
    template <int R> static constexpr int attend_vectors = 4;
    static constexpr bool exact_bytes = true;
    static constexpr int pair_columns = 0;  // of spread_errors() at once; 0: floats are faster
    static constexpr bool joins = false;

    template <class V, class Fn>
    static V make(Fn fn) {
        V out;
        for (int i = 0; i < static_cast<int>(sizeof(out.v) / sizeof(out.v[0])); ++i)
            out.v[i] = static_cast<std::remove_reference_t<decltype(out.v[0])>>(fn(i));
        return out;
    }
    static F zero() { return set(0.0f); }
    static F set(float x) { return make<F>([&](int) { return x; }); }
    static F load(const float* p) { return make<F>([&](int i) { return p[i]; }); }
    static F load_part(const float* p, int n) {
        return make<F>([&](int i) { return i < n ? p[i] : 0.0f; });
    }
    static void store(float* p, F a) { std::memcpy(p, a.v, sizeof(a.v)); }
    static void store_part(float* p, F a, int n) { std::memcpy(p, a.v, sizeof(float) * n); }
    static F load_half(const uint16_t* p) {
        return make<F>([&](int i) { return half_to_float(p[i]); });
    }
    static F load_bfloat(const uint16_t* p) {
        return make<F>([&](int i) { return bfloat_to_float(p[i]); });
    }
    static void store_half(uint16_t* p, F a, int n) {
        for (int i = 0; i < n; ++i) p[i] = float_to_half(a.v[i]);
    }
    static F load_i8(const uint8_t* p) {
        return make<F>([&](int i) { return static_cast<int8_t>(p[i]); });
    }
    static F load_column(const uint8_t* p, int c) {
        return make<F>([&](int i) { return p[4 * i + c] - 128; });
    }
    static F load_u8(const uint8_t* p) { return make<F>([&](int i) { return p[i]; }); }
    static F load_u8_low(const uint8_t* p) { return make<F>([&](int i) { return p[i] & 15; }); }
    static F load_u8_high(const uint8_t* p) { return make<F>([&](int i) { return p[i] >> 4; }); }
    static F load_e4m3(const uint8_t* p) {
        return make<F>([&](int i) { return e4m3_to_float(p[i]); });
    }
    static F load_e8m0_half(const uint8_t* p) {
        return make<F>([&](int i) { return e8m0_half(p[i]); });
    }
    static F add(F a, F b) { return make<F>([&](int i) { return a.v[i] + b.v[i]; }); }
    static F sub(F a, F b) { return make<F>([&](int i) { return a.v[i] - b.v[i]; }); }
    static F mul(F a, F b) { return make<F>([&](int i) { return a.v[i] * b.v[i]; }); }
    static F div(F a, F b) { return make<F>([&](int i) { return a.v[i] / b.v[i]; }); }
    static F max(F a, F b) { return make<F>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
    static F min(F a, F b) { return make<F>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
    static F abs(F a) { return make<F>([&](int i) { return std::fabs(a.v[i]); }); }
    static F fma(F a, F b, F c) {
        return make<F>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });  // no fused unit assumed
    }
    static F fnma(F a, F b, F c) {
        return make<F>([&](int i) { return c.v[i] - a.v[i] * b.v[i]; });
    }
    static F keep_first(F a, int n, F other) {
        return make<F>([&](int i) { return i < n ? a.v[i] : other.v[i]; });
    }
    static float sum(F a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
    static float largest(F a) {
        float m = a.v[0];
        for (int i = 1; i < lanes; ++i) m = a.v[i] > m ? a.v[i] : m;
        return m;
    }
    static float first(F v) { return v.v[0]; }
    static F round(F a) {  // to nearest even, for |a| < 2^22
        return make<F>([&](int i) { return (a.v[i] + 0x1.8p23f) - 0x1.8p23f; });
    }
    static F pick_less(F a, F b, F yes, F no) {
        return make<F>([&](int i) { return a.v[i] < b.v[i] ? yes.v[i] : no.v[i]; });
    }
    static F to_float(I a) { return make<F>([&](int i) { return static_cast<float>(a.v[i]); }); }
    static I to_int(F a) {  // to nearest even, for |a| < 2^22
        return make<I>([&](int i) { return (a.v[i] + 0x1.8p23f) - 0x1.8p23f; });
    }
    static F raise(F a, F n) {  // a 2^n for the whole number in n's last bits
        return make<F>([&](int i) {
            return std::bit_cast<float>(std::bit_cast<uint32_t>(a.v[i]) +
                                        (std::bit_cast<uint32_t>(n.v[i]) << 23));
        });
    }
    static void store_bytes(int8_t* p, I a) {
        for (int i = 0; i < lanes; ++i) p[i] = static_cast<int8_t>(a.v[i]);
    }
    static I subtract(I a, I b) {
        return make<I>([&](int i) { return a.v[i] - b.v[i]; });
    }
    static I add(I a, I b) {
        return make<I>([&](int i) { return a.v[i] + b.v[i]; });
    }
    static I bits(F a) {
        return make<I>([&](int i) { return std::bit_cast<int32_t>(a.v[i]); });
    }
    static void store_ints(int32_t* p, I a) { std::memcpy(p, a.v, sizeof(a.v)); }
    static I sum_each(const I (&a)[lanes]) {
        return make<I>([&](int i) { return a[i].v[0] + a[i].v[1] + a[i].v[2] + a[i].v[3]; });
    }
    static F largest_each(const F (&a)[lanes]) {
        return make<F>([&](int i) { return largest(a[i]); });
    }
    static I join(I low, I high) {  // the last 16 bits of both as pairs
        return make<I>([&](int i) {
            return static_cast<uint32_t>(high.v[i]) << 16 | static_cast<uint16_t>(low.v[i]);
        });
    }

    static I set_int(int32_t x) { return make<I>([&](int) { return x; }); }
    template <int n> static I shift_left(I a) {
        return make<I>([&](int i) { return a.v[i] * (1 << n); });
    }
    static B load_bytes(const uint8_t* p) { return make<B>([&](int i) { return p[i]; }); }
    static void hold(B (&)[8]) {}
    static B set_bytes(uint8_t x) { return make<B>([&](int) { return x; }); }
    static B repeat4(const int8_t* p) { return make<B>([&](int i) { return static_cast<uint8_t>(p[i % 4]); }); }
    static B bit_and(B a, B b) { return make<B>([&](int i) { return a.v[i] & b.v[i]; }); }
    static B bit_or(B a, B b) { return make<B>([&](int i) { return a.v[i] | b.v[i]; }); }
    static B bit_xor(B a, B b) { return make<B>([&](int i) { return a.v[i] ^ b.v[i]; }); }
    template <int n> static B right(B a) { return make<B>([&](int i) { return a.v[i] >> n; }); }
    template <int n> static B left(B a) { return make<B>([&](int i) { return a.v[i] << n; }); }
    static B or_bits(B a, const uint8_t* p, int part, B place) {
        return make<B>([&](int i) {
            const int bit = part * 4 * lanes + i;
            return (p[bit / 8] >> (bit % 8) & 1) ? a.v[i] | place.v[i] : a.v[i];
        });
    }
    static B look_up(const int8_t* table, B index) {
        return make<B>([&](int i) { return static_cast<uint8_t>(table[index.v[i]]); });
    }
    static I dot(I acc, B code, B value) {
        return make<I>([&](int i) {
            int32_t s = acc.v[i];
            for (int k = 0; k < 4; ++k)
                s += code.v[4 * i + k] * static_cast<int8_t>(value.v[4 * i + k]);
            return s;
        });
    }
    static I dot4(I acc, const B* code, const int8_t* values) {
        for (int j = 0; j < 4; ++j) acc = dot(acc, code[j], repeat4(values + 4 * j));
        return acc;
    }
    static I dot_signed(I acc, B code, B value) { return dot(acc, code, value); }  // never used
    template <class V> static I dot_pairs(I acc, V a, V b) {
        int16_t x[2 * lanes], y[2 * lanes];
        std::memcpy(x, a.v, sizeof(x));
        std::memcpy(y, b.v, sizeof(y));
        return make<I>([&](int i) {
            return acc.v[i] + x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
        });
    }
    static void store_shorts(int16_t* p, I a) {
        for (int i = 0; i < lanes; ++i) p[i] = static_cast<int16_t>(a.v[i]);
    }
};

}  // namespace freehold::generic
