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

ALWAYS void x_groups(const u8 *in, u8 *out, const axis *a, const int16_t *w, int groups)
{
    const __m128i pair0 = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i pair1 = _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    for (int i = 0; i < a->n; i++, out += 3) {
        const u8 *p = in + (ptrdiff_t)a->first[i] * 3;
        __m128i high = _mm_setzero_si128(), low = _mm_set1_epi32(ROUND);
        for (int k = 0; k < groups; k++, p += 12, w += 8) {
            __m128i v = get(p), c = get(w);
            __m128i v0 = _mm_shuffle_epi8(v, pair0), v1 = _mm_shuffle_epi8(v, pair1);
            high = _mm_add_epi32(high, _mm_add_epi32(
                _mm_madd_epi16(v0, _mm_shuffle_epi32(c, 0x00)),
                _mm_madd_epi16(v1, _mm_shuffle_epi32(c, 0x55))));
            low = _mm_add_epi32(low, _mm_add_epi32(
                _mm_madd_epi16(v0, _mm_shuffle_epi32(c, 0xaa)),
                _mm_madd_epi16(v1, _mm_shuffle_epi32(c, 0xff))));
        }
        __m128i words = _mm_packs_epi32(total(high, low), _mm_setzero_si128());
        int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
        memcpy(out, &pixel, 4);
    }
}

static SSE void x_vector(const u8 *in, u8 *out, const axis *a, const int16_t *w)
{
    int groups = (a->taps + 3) / 4;
    if (groups == 1)
        x_groups(in, out, a, w, 1);
    else
        x_groups(in, out, a, w, groups);
}

ALWAYS void y_groups(const u8 **rows, u8 *out, int bytes, int groups, const int16_t *w)
{
    const __m128i zero = _mm_setzero_si128();
    for (int x = 0; x < bytes; x += 8) {
        __m128i high0 = zero, high1 = zero, low0 = _mm_set1_epi32(ROUND), low1 = low0;
        for (int k = 0; k < 2 * groups; k++) {
            __m128i c = get(w + k / 2 * 8);
            c = k & 1 ? _mm_srli_epi64(c, 32) : c;
            __m128i ch = _mm_shuffle_epi32(c, 0x00), cl = _mm_shuffle_epi32(c, 0xaa);
            __m128i v = _mm_unpacklo_epi8(half_of(rows[2 * k] + x), half_of(rows[2 * k + 1] + x));
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

static SSE void y_vector(const u8 **rows, u8 *out, int bytes, int groups, const int16_t *w)
{
    if (groups == 1)
        y_groups(rows, out, bytes, 1, w);
    else
        y_groups(rows, out, bytes, groups, w);
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
