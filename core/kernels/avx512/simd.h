// Room: core/kernels. AVX-512 with VNNI: sixteen lanes. Included by one unit only, which is
// built with these instruction sets switched on.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace freehold::avx512 {

struct Simd {
    using F = __m512;   // 16 floats
    using I = __m512i;  // 16 int32
    using B = __m512i;  // 64 bytes
    static constexpr int lanes = 16;
    static constexpr int max_tile = 16;       // tokens per matrix tile
    static constexpr bool any_tile = false;   // powers of two only
    static constexpr int attend_rows = 6;     // query rows per attention tile
    // Vectors of keys or values per attention tile of R rows.
    template <int R> static constexpr int attend_vectors = 4;
    static constexpr bool exact_bytes = true; // dot() is exact for codes up to 255
    static constexpr int pair_columns = 4;  // of spread_errors() at once; 0: floats are faster
    static constexpr bool joins = true;       // see joined()

    static F zero() { return _mm512_setzero_ps(); }
    static F set(float v) { return _mm512_set1_ps(v); }
    static F load(const float* p) { return _mm512_loadu_ps(p); }
    static F load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
    static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
    static void store_part(float* p, F v, int n) { _mm512_mask_storeu_ps(p, mask(n), v); }
    static F load_half(const uint16_t* p) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    static F load_bfloat(const uint16_t* p) {
        const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
    }
    static void store_half(uint16_t* p, F v, int n) {
        const __m256i h = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(p, mask(n), h);
    }
    static F load_i8(const uint8_t* p) {  // signed bytes -> floats
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
    }
    // Column c of four that lie side by side, unsigned bytes less 128 -> floats.
    static F load_column(const uint8_t* p, int c) {
        const __m512i up = _mm512_sllv_epi32(_mm512_loadu_si512(p), _mm512_set1_epi32(24 - 8 * c));
        const __m512i top = _mm512_xor_si512(up, _mm512_set1_epi32(INT32_MIN));
        return _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
    }
    static F load_u8(const uint8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
    }
    static F load_u8_low(const uint8_t* p) {  // low nibbles of bytes
        const __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
        return _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(15)));
    }
    static F load_u8_high(const uint8_t* p) {
        const __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
        return _mm512_cvtepi32_ps(_mm512_srli_epi32(v, 4));
    }
    static F load_e4m3(const uint8_t* p) {  // as float16 it is 2^8 too small
        const __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)p));
        const __m256i sign = _mm256_and_si256(_mm256_slli_epi16(v, 8), _mm256_set1_epi16(-0x8000));
        const __m256i rest = _mm256_and_si256(_mm256_slli_epi16(v, 7), _mm256_set1_epi16(0x3f80));
        return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(sign, rest)), _mm512_set1_ps(256.0f));
    }
    static F load_e8m0_half(const uint8_t* p) {  // 2^(e-128)
        const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
        const __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
        const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        return _mm512_castsi512_ps(_mm512_mask_blend_epi32(
            _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), normal, small));
    }
    static F add(F a, F b) { return _mm512_add_ps(a, b); }
    static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
    static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
    static F div(F a, F b) { return _mm512_div_ps(a, b); }
    static F max(F a, F b) { return _mm512_max_ps(a, b); }
    static F min(F a, F b) { return _mm512_min_ps(a, b); }
    static F abs(F a) { return _mm512_abs_ps(a); }
    static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
    static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
    static F keep_first(F v, int n, F other) {  // lanes >= n come from `other`
        return _mm512_mask_blend_ps(mask(n), other, v);
    }
    static float sum(F v) { return _mm512_reduce_add_ps(v); }
    static float largest(F v) { return _mm512_reduce_max_ps(v); }
    static float first(F v) { return _mm512_cvtss_f32(v); }
    static F round(F v) {  // to nearest even
        return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static F pick_less(F a, F b, F yes, F no) {  // a < b ? yes : no
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
    }
    static F to_float(I v) { return _mm512_cvtepi32_ps(v); }
    static I to_int(F v) { return _mm512_cvtps_epi32(v); }  // round to nearest even
    static F raise(F v, F n) {  // v 2^n for the whole number in n's last bits
        const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(n), 23);
        return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), power));
    }
    static void store_bytes(int8_t* p, I v) {  // int32 -> int8
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
    }
    static I subtract(I a, I b) { return _mm512_sub_epi32(a, b); }
    static I add(I a, I b) { return _mm512_add_epi32(a, b); }
    static I bits(F v) { return _mm512_castps_si512(v); }
    static void store_ints(int32_t* p, I v) { _mm512_storeu_si512(p, v); }
    // Lane i: the sum, or the largest, of all lanes of v[i].
    static I sum_each(const I (&v)[16]) {
        return _mm512_castps_si512(each([&](int i) { return _mm512_castsi512_ps(v[i]); }, [](F a, F b) {
            return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
        }));
    }
    static F largest_each(const F (&v)[16]) {
        return each([&](int i) { return v[i]; }, [](F a, F b) { return _mm512_max_ps(a, b); });
    }

    static I set_int(int32_t v) { return _mm512_set1_epi32(v); }
    template <int n> static I shift_left(I v) { return _mm512_slli_epi32(v, n); }
    template <int n> static I shift_right(I v) { return _mm512_srai_epi32(v, n); }
    // The last 16 bits of both as pairs. On Zen 4 neither this nor a shift or a sum of whole numbers
    // takes the two units that multiply, and they are what a product waits for.
    static I join(I low, I high) {
        return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
    }
    static I add_shorts(I a, I b) { return _mm512_add_epi16(a, b); }
    static B load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
    // Keeps codes in registers: GCC 12 would rather load them again for each token.
    static void hold(B (&codes)[8]) {
        for (B& v : codes) __asm__("" : "+v"(v));
    }
    static B set_bytes(uint8_t v) { return _mm512_set1_epi8(static_cast<char>(v)); }
    static B repeat4(const int8_t* p) {
        int32_t v;
        __builtin_memcpy(&v, p, 4);
        return _mm512_set1_epi32(v);
    }
    static B bit_and(B a, B b) { return _mm512_and_si512(a, b); }
    static B bit_or(B a, B b) { return _mm512_or_si512(a, b); }
    static B bit_xor(B a, B b) { return _mm512_xor_si512(a, b); }
    template <int n> static B right(B v) { return _mm512_srli_epi16(v, n); }
    template <int n> static B left(B v) { return _mm512_slli_epi16(v, n); }
    // v | place, in the bytes whose bit in the 64-bit mask at p is set.
    static B or_bits(B v, const uint8_t* p, int, B place) {
        uint64_t bits;
        __builtin_memcpy(&bits, p, 8);
        return _mm512_mask_add_epi8(v, bits, v, place);  // the bit is free, so add is or
    }
    static B look_up(const int8_t* table, B index) {
        const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), index);
    }
    // acc + sum over sixteen columns of code (unsigned) * value (signed).
    static I dot4(I acc, const B* code, const int8_t* values) {
        // Spelled out, since GCC 12 broadcasts four values by an instruction of their own.
        for (int j = 0; j < 4; ++j)
            __asm__("vpdpbusd %2%{1to16%}, %1, %0"
                    : "+v"(acc)
                    : "v"(code[j]), "m"(*reinterpret_cast<const int8_t(*)[4]>(values + 4 * j)));
        return acc;
    }
    // acc + sum over four bytes of code (unsigned) * value (signed).
    static I dot(I acc, B code, B value) {
        __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(code), "v"(value));
        return acc;
    }
    // acc + sum over two int16 of a * b.
    static I dot_pairs(I acc, B a, B b) {
        // Spelled out, since around the intrinsic GCC 12 copies every accumulator of a loop twice.
        __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
        return acc;
    }
    static void store_shorts(int16_t* p, I v) {  // int32 -> int16
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
    }

  private:
    // Halves what is left of each vector four times, while twice as many share one.
    template <class At, class Op> static F each(At at, Op op) {
        F quarters[4];
        for (int q = 0; q < 4; ++q) {
            const auto pair = [&](int i) {
                const F a = at(4 * q + i), b = at(4 * q + i + 1);
                return _mm512_castps_pd(op(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
            };
            const __m512d a = pair(0), b = pair(2);
            quarters[q] = op(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
        }
        const auto halves = [&](F a, F b) {
            return op(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
        };
        const F a = halves(quarters[0], quarters[1]), b = halves(quarters[2], quarters[3]);
        return op(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    static __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
};

}  // namespace freehold::avx512
