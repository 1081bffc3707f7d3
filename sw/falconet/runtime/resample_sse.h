/* The steps of resample.c with SSE4.1. */
#include <smmintrin.h>

#define VECTORS __builtin_cpu_supports("sse4.1")
#define SSE __attribute__((target("sse4.1")))
#define ALWAYS static inline __attribute__((always_inline, target("sse4.1")))

ALWAYS __m128i get(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
ALWAYS __m128i half_of(const void *p) { return _mm_loadl_epi64((const __m128i *)p); }

ALWAYS __m128i total(__m128i high, __m128i low)
{
    return _mm_srli_epi32(_mm_add_epi32(_mm_slli_epi32(high, LOW), low), BITS);
}

/* `whole`: all of a group's coefficients are looked at, though some be 0. */
ALWAYS void x_taps(const u8 *in, u8 *restrict out, const axis *a, const int16_t *w, int taps,
                   int whole)
{
    const __m128i pair0 = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i pair1 = _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const int32_t *first = a->first, *end = first + a->n;
    for (; first < end; first++, out += 3) {
        const u8 *p = in + (ptrdiff_t)*first * 3;
        __m128i high = _mm_setzero_si128(), low = _mm_set1_epi32(ROUND);
        for (int k = 0; k < taps; k += 4, p += 12, w += 8) {
            __m128i v = get(p), c = get(w), v0 = _mm_shuffle_epi8(v, pair0);
            high = _mm_add_epi32(high, _mm_madd_epi16(v0, _mm_shuffle_epi32(c, 0x00)));
            low = _mm_add_epi32(low, _mm_madd_epi16(v0, _mm_shuffle_epi32(c, 0xaa)));
            if (whole || k + 2 < taps) {
                __m128i v1 = _mm_shuffle_epi8(v, pair1);
                high = _mm_add_epi32(high, _mm_madd_epi16(v1, _mm_shuffle_epi32(c, 0x55)));
                low = _mm_add_epi32(low, _mm_madd_epi16(v1, _mm_shuffle_epi32(c, 0xff)));
            }
        }
        __m128i words = _mm_packs_epi32(total(high, low), _mm_setzero_si128());
        int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
        memcpy(out, &pixel, 4);
    }
}

static SSE void x_vector(const u8 *in, u8 *out, const axis *a, const int16_t *w)
{
    switch ((a->taps + 1) / 2) {
    case 1: x_taps(in, out, a, w, 2, 0); break;
    case 2: x_taps(in, out, a, w, 4, 0); break;
    case 3: x_taps(in, out, a, w, 6, 0); break;
    case 4: x_taps(in, out, a, w, 8, 0); break;
    default: x_taps(in, out, a, w, a->taps, 1);
    }
}

ALWAYS void y_taps(const u8 **rows, u8 *restrict out, int bytes, const int16_t *w, int taps)
{
    const __m128i zero = _mm_setzero_si128();
    for (int x = 0; x < bytes; x += 8) {
        __m128i high0 = zero, high1 = zero, low0 = _mm_set1_epi32(ROUND), low1 = low0;
        for (int k = 0; k < taps; k += 2) {
            __m128i c = get(w + k / 4 * 8);
            c = k & 2 ? _mm_srli_epi64(c, 32) : c;
            __m128i ch = _mm_shuffle_epi32(c, 0x00), cl = _mm_shuffle_epi32(c, 0xaa);
            __m128i v = _mm_unpacklo_epi8(half_of(rows[k] + x), half_of(rows[k + 1] + x));
            __m128i v0 = _mm_unpacklo_epi8(v, zero), v1 = _mm_unpackhi_epi8(v, zero);
            high0 = _mm_add_epi32(high0, _mm_madd_epi16(v0, ch));
            high1 = _mm_add_epi32(high1, _mm_madd_epi16(v1, ch));
            low0 = _mm_add_epi32(low0, _mm_madd_epi16(v0, cl));
            low1 = _mm_add_epi32(low1, _mm_madd_epi16(v1, cl));
        }
        __m128i words = _mm_packs_epi32(total(high0, low0), total(high1, low1));
        _mm_storel_epi64((__m128i *)(out + x), _mm_packus_epi16(words, words));
    }
}

static SSE void y_vector(const u8 **rows, u8 *out, int bytes, int taps, const int16_t *w)
{
    switch ((taps + 1) / 2) {
    case 1: y_taps(rows, out, bytes, w, 2); break;
    case 2: y_taps(rows, out, bytes, w, 4); break;
    case 3: y_taps(rows, out, bytes, w, 6); break;
    default: y_taps(rows, out, bytes, w, taps);
    }
}

/* Two results of a pixel each, as 16-bit words r g b - r g b -. */
ALWAYS __m128i halves(const u8 *p)
{
    const __m128i pick = _mm_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 6, 9, 7, 10, 8, 11, -1, -1);
    const __m128i c = _mm_setr_epi8(1, 3, 1, 3, 1, 3, 1, 3, 3, 1, 3, 1, 3, 1, 3, 1);
    __m128i m0 = _mm_maddubs_epi16(_mm_shuffle_epi8(get(p), pick), c);
    __m128i m1 = _mm_maddubs_epi16(_mm_shuffle_epi8(get(p + 6), pick), c);
    __m128i s = _mm_add_epi16(_mm_unpacklo_epi64(m0, m1), _mm_unpackhi_epi64(m0, m1));
    return _mm_mulhrs_epi16(s, _mm_set1_epi16(1 << 12)); /* (s + 4) >> 3 */
}

static SSE void x_half_vector(const u8 *p, u8 *out, int n)
{
    const __m128i close = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    int i = 0;
    for (; i + 4 <= n; i += 4, p += 24, out += 12) {
        __m128i pixels = _mm_packus_epi16(halves(p), halves(p + 12));
        _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(pixels, close));
    }
    x_half_plain(p, out, n - i, 3);
}

static SSE void y_half_vector(const u8 **rows, u8 *out, int bytes)
{
    const __m128i c13 = _mm_set1_epi16(0x0301), c31 = _mm_set1_epi16(0x0103);
    const __m128i eighth = _mm_set1_epi16(1 << 12);
    for (int x = 0; x < bytes; x += 16) {
        __m128i a = get(rows[0] + x), b = get(rows[1] + x), c = get(rows[2] + x);
        __m128i d = get(rows[3] + x);
        __m128i s0 = _mm_add_epi16(_mm_maddubs_epi16(_mm_unpacklo_epi8(a, b), c13),
                                   _mm_maddubs_epi16(_mm_unpacklo_epi8(c, d), c31));
        __m128i s1 = _mm_add_epi16(_mm_maddubs_epi16(_mm_unpackhi_epi8(a, b), c13),
                                   _mm_maddubs_epi16(_mm_unpackhi_epi8(c, d), c31));
        _mm_storeu_si128((__m128i *)(out + x), _mm_packus_epi16(
            _mm_mulhrs_epi16(s0, eighth), _mm_mulhrs_epi16(s1, eighth)));
    }
}
