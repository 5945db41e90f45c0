// Room: core/kernels. AVX2 with FMA and F16C: eight lanes. Included by one unit only, which
// is built with these instruction sets switched on.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace freehold::avx2 {

struct Simd {
    using F = __m256;   // 8 floats
    using I = __m256i;  // 8 int32
    using B = __m256i;  // 32 bytes
    static constexpr int lanes = 8;
    static constexpr int max_tile = 16;
    static constexpr bool any_tile = true;  // see tile_many.h
    static constexpr int attend_rows = 6;
    template <int R> static constexpr int attend_vectors = R > 3 ? 2 : 4;  // sums stay in registers
    static constexpr bool exact_bytes = false;  // dot4() needs codes up to 63
    static constexpr int pair_columns = 2;  // of spread_errors() at once; 0: floats are faster
    static constexpr bool joins = false;

    static F zero() { return _mm256_setzero_ps(); }
    static F set(float v) { return _mm256_set1_ps(v); }
    static F load(const float* p) { return _mm256_loadu_ps(p); }
    static F load_part(const float* p, int n) {
        return n >= lanes ? load(p) : _mm256_maskload_ps(p, mask(n));
    }
    static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
    static void store_part(float* p, F v, int n) {  // a masked store takes dozens of cycles on Zen
        if (n >= lanes) return store(p, v);
        _mm256_maskstore_ps(p, mask(n), v);
    }
    static F load_half(const uint16_t* p) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static F load_bfloat(const uint16_t* p) {
        const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
    }
    static void store_half(uint16_t* p, F v, int n) {
        const __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        if (n >= lanes) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halves);
        alignas(16) uint16_t part[8];
        _mm_store_si128(reinterpret_cast<__m128i*>(part), halves);
        for (int i = 0; i < n; ++i) p[i] = part[i];
    }
    static __m256i widen_u8(const uint8_t* p) {
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    static F load_i8(const uint8_t* p) {
        return _mm256_cvtepi32_ps(
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    // Column c of four that lie side by side, unsigned bytes less 128 -> floats.
    static F load_column(const uint8_t* p, int c) {
        const __m256i up = _mm256_sllv_epi32(load_bytes(p), _mm256_set1_epi32(24 - 8 * c));
        const __m256i top = _mm256_xor_si256(up, _mm256_set1_epi32(INT32_MIN));
        return _mm256_cvtepi32_ps(_mm256_srai_epi32(top, 24));
    }
    static F load_u8(const uint8_t* p) { return _mm256_cvtepi32_ps(widen_u8(p)); }
    static F load_u8_low(const uint8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_and_si256(widen_u8(p), _mm256_set1_epi32(15)));
    }
    static F load_u8_high(const uint8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_srli_epi32(widen_u8(p), 4));
    }
    static F load_e4m3(const uint8_t* p) {  // as float16 it is 2^8 too small
        const __m128i v = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i*)p));
        const __m128i sign = _mm_and_si128(_mm_slli_epi16(v, 8), _mm_set1_epi16(-0x8000));
        const __m128i rest = _mm_and_si128(_mm_slli_epi16(v, 7), _mm_set1_epi16(0x3f80));
        return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(sign, rest)), _mm256_set1_ps(256.0f));
    }
    static F load_e8m0_half(const uint8_t* p) {
        const __m256i e = widen_u8(p);
        const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
        const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
        return _mm256_castsi256_ps(_mm256_blendv_epi8(
            normal, small, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
    }
    static F add(F a, F b) { return _mm256_add_ps(a, b); }
    static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
    static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
    static F div(F a, F b) { return _mm256_div_ps(a, b); }
    static F max(F a, F b) { return _mm256_max_ps(a, b); }
    static F min(F a, F b) { return _mm256_min_ps(a, b); }
    static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
    static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
    static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
    static F keep_first(F v, int n, F other) {
        return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(mask(n)));
    }
    static float sum(F v) {
        __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
    }
    static float largest(F v) {
        __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_max_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
    }
    static float first(F v) { return _mm256_cvtss_f32(v); }
    static F round(F v) {  // to nearest even
        return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static F pick_less(F a, F b, F yes, F no) {  // a < b ? yes : no
        return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
    }
    static F to_float(I v) { return _mm256_cvtepi32_ps(v); }
    static I to_int(F v) { return _mm256_cvtps_epi32(v); }
    static F raise(F v, F n) {  // v 2^n for the whole number in n's last bits
        const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), power));
    }
    static void store_bytes(int8_t* p, I v) {
        const __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }
    static I subtract(I a, I b) { return _mm256_sub_epi32(a, b); }
    static I add(I a, I b) { return _mm256_add_epi32(a, b); }
    static I bits(F v) { return _mm256_castps_si256(v); }
    static void store_ints(int32_t* p, I v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
    }
    // Lane i: the sum, or the largest, of all lanes of v[i].
    static I sum_each(const I (&v)[8]) {
        return _mm256_castps_si256(each([&](int i) { return _mm256_castsi256_ps(v[i]); }, [](F a, F b) {
            return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
        }));
    }
    static F largest_each(const F (&v)[8]) {
        return each([&](int i) { return v[i]; }, [](F a, F b) { return _mm256_max_ps(a, b); });
    }
    static I raise_pairs(I v) {  // lanes 2 and 3 of every four times 2^16
        return _mm256_sllv_epi32(v, _mm256_setr_epi32(0, 0, 16, 16, 0, 0, 16, 16));
    }
    static I low_halves(I v) { return high_halves(_mm256_slli_epi32(v, 16)); }
    static I high_halves(I v) { return _mm256_srai_epi32(v, 16); }
    // The last 16 bits of both as pairs.
    static I join(I low, I high) {
        return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa);
    }

    static I set_int(int32_t v) { return _mm256_set1_epi32(v); }
    template <int n> static I shift_left(I v) { return _mm256_slli_epi32(v, n); }
    static B load_bytes(const uint8_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static B set_bytes(uint8_t v) { return _mm256_set1_epi8(static_cast<char>(v)); }
    static B repeat4(const int8_t* p) {
        int32_t v;
        __builtin_memcpy(&v, p, 4);
        return _mm256_set1_epi32(v);
    }
    static B bit_and(B a, B b) { return _mm256_and_si256(a, b); }
    static B bit_or(B a, B b) { return _mm256_or_si256(a, b); }
    static B bit_xor(B a, B b) { return _mm256_xor_si256(a, b); }
    template <int n> static B right(B v) { return _mm256_srli_epi16(v, n); }
    template <int n> static B left(B v) { return _mm256_slli_epi16(v, n); }
    static B or_bits(B v, const uint8_t* p, int half, B place) {
        int32_t bits;
        __builtin_memcpy(&bits, p + 4 * half, 4);
        const __m256i spread = _mm256_shuffle_epi8(
            _mm256_set1_epi32(bits), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                                        0x0303030303030303));
        const __m256i one = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, one), one);
        return _mm256_or_si256(v, _mm256_and_si256(set, place));
    }
    static B look_up(const int8_t* table, B index) {
        const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), index);
    }
    // Four dots of codes below 64, times both halves of `weight`, codes having 2^offset taken away first
    // if it is not below 0: minus the values' sums, of columns 0 and 1 in four and of 2 and 3, are in
    // `minus`. What is summed fits 16 bits in the end, up to 8 32 127 = 32512, whatever overflows before.
    template <int offset>
    static I dot4(I acc, const B* code, const int8_t* values, int32_t weight, int32_t minus) {
        const auto pairs = [&](int j) { return _mm256_maddubs_epi16(code[j], repeat4(values + 4 * j)); };
        const __m256i sum = _mm256_add_epi16(_mm256_add_epi16(pairs(0), pairs(1)),
                                             _mm256_add_epi16(pairs(2), pairs(3)));
        return weigh<offset>(acc, sum, _mm256_set1_epi32(weight), minus);
    }
    // The same for two vectors of rows, a column's values being fetched once.
    template <int offset>
    static void dot4(I (&sums)[2], const B (&code)[2][4], const int8_t* values, int32_t weight,
                     int32_t minus) {
        __m256i pairs[2];
        four_columns(pairs, code, values);
        const __m256i by = _mm256_set1_epi32(weight);
        for (int part = 0; part < 2; ++part) sums[part] = weigh<offset>(sums[part], pairs[part], by, minus);
    }
    static I dot_signed(I acc, B code, B value) {  // code is signed, value never -128
        const __m256i pairs =
            _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(value, code));
        return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    static I dot_pairs(I acc, B a, B b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
    static void store_shorts(int16_t* p, I v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                         _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
    }

  private:
    // Halves what is left of each vector three times, while twice as many share one.
    template <class At, class Op> static F each(At at, Op op) {
        const auto four = [&](int i) {
            const auto pair = [&](int j) {
                const F a = at(i + j), b = at(i + j + 1);
                return _mm256_castps_pd(op(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)));
            };
            const __m256d a = pair(0), b = pair(2);
            return op(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                      _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
        };
        const F a = four(0), b = four(4);
        return op(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    }
    template <int offset> static I weigh(I acc, __m256i sum, __m256i by, int32_t minus) {
        if constexpr (offset >= 0)
            sum = _mm256_add_epi16(sum, _mm256_slli_epi16(_mm256_set1_epi32(minus), offset));
        return _mm256_add_epi32(acc, _mm256_madd_epi16(sum, by));
    }
    // In words of the machine, because a compiler fetches all columns first and sums in a tree: that
    // takes more registers than there are, and a tenth longer.
    static void four_columns(__m256i (&pairs)[2], const B (&code)[2][4], const int8_t* values) {
        __m256i v, s, t;
        asm("vpbroadcastd (%[x]), %[v]\n\t"
            "vpmaddubsw %[v], %[a0], %[a]\n\t"
            "vpmaddubsw %[v], %[b0], %[b]\n\t"
            "vpbroadcastd 4(%[x]), %[v]\n\t"
            "vpmaddubsw %[v], %[a1], %[s]\n\t"
            "vpmaddubsw %[v], %[b1], %[t]\n\t"
            "vpaddw %[s], %[a], %[a]\n\t"
            "vpaddw %[t], %[b], %[b]\n\t"
            "vpbroadcastd 8(%[x]), %[v]\n\t"
            "vpmaddubsw %[v], %[a2], %[s]\n\t"
            "vpmaddubsw %[v], %[b2], %[t]\n\t"
            "vpaddw %[s], %[a], %[a]\n\t"
            "vpaddw %[t], %[b], %[b]\n\t"
            "vpbroadcastd 12(%[x]), %[v]\n\t"
            "vpmaddubsw %[v], %[a3], %[s]\n\t"
            "vpmaddubsw %[v], %[b3], %[t]\n\t"
            "vpaddw %[s], %[a], %[a]\n\t"
            "vpaddw %[t], %[b], %[b]"
            : [a] "=&x"(pairs[0]), [b] "=&x"(pairs[1]), [v] "=&x"(v), [s] "=&x"(s), [t] "=&x"(t)
            : [x] "r"(values), "m"(*reinterpret_cast<const int8_t(*)[16]>(values)),
              [a0] "x"(code[0][0]), [a1] "x"(code[0][1]), [a2] "x"(code[0][2]),
              [a3] "x"(code[0][3]), [b0] "x"(code[1][0]), [b1] "x"(code[1][1]),
              [b2] "x"(code[1][2]), [b3] "x"(code[1][3]));
    }
    static __m256i mask(int n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(n),
                                  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
};

}  // namespace freehold::avx2
