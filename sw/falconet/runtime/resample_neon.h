/* The steps of resample.c with NEON, of 32 and of 64 bits. */
#include <arm_neon.h>

#define VECTORS 1
#define ALWAYS static inline __attribute__((always_inline))

ALWAYS uint8x8_t picked(uint8x16_t v, uint8x8_t index)
{
#ifdef __aarch64__
    return vqtbl1_u8(v, index);
#else
    return vtbl2_u8((uint8x8x2_t){{vget_low_u8(v), vget_high_u8(v)}}, index);
#endif
}

/* high * 2^11 + low, shifted by BITS, in the low half of a word. */
ALWAYS uint16x4_t total(uint32x4_t high, uint32x4_t low)
{
    return vshrn_n_u32(vaddq_u32(low, vshlq_n_u32(high, LOW)), 16);
}

/* Coefficient `n` of a group. `whole`: all of them are looked at, though some be 0. */
#define X_TAP(half, v, n) \
    if (whole || k + n < taps) { \
        high = vmlal_lane_u16(high, vget_##half##_u16(v), ch, n); \
        low = vmlal_lane_u16(low, vget_##half##_u16(v), cl, n); \
    }

ALWAYS void x_taps(const u8 *in, u8 *restrict out, const axis *a, const int16_t *w, int taps,
                   int whole)
{
    const uint8x8_t pair0 = vcreate_u8(0xff050403ff020100), pair1 = vcreate_u8(0xff0b0a09ff080706);
    const int32_t *first = a->first, *end = first + a->n;
    for (; first < end; first++, out += 3) {
        const u8 *p = in + *first * 3;
        uint32x4_t high = vdupq_n_u32(0), low = vdupq_n_u32(ROUND);
        for (int k = 0; k < taps; k += 4, p += 12, w += 8) {
            uint8x16_t v = vld1q_u8(p);
            uint16x8_t c = vld1q_u16((const uint16_t *)w);
            uint16x4_t ch = vget_low_u16(c), cl = vget_high_u16(c);
            uint16x8_t v0 = vmovl_u8(picked(v, pair0)), v1 = vmovl_u8(picked(v, pair1));
            X_TAP(low, v0, 0)
            X_TAP(high, v0, 1)
            X_TAP(low, v1, 2)
            X_TAP(high, v1, 3)
        }
        uint16x4_t pixel = total(high, low);
        vst1_u8(out, vqshrn_n_u16(vcombine_u16(pixel, pixel), BITS - 16));
    }
}

static void x_vector(const u8 *in, u8 *out, const axis *a, const int16_t *w)
{
    switch (a->taps) {
    case 2: x_taps(in, out, a, w, 2, 0); break;
    case 3: x_taps(in, out, a, w, 3, 0); break;
    case 4: x_taps(in, out, a, w, 4, 0); break;
    case 5: x_taps(in, out, a, w, 5, 0); break;
    case 6: x_taps(in, out, a, w, 6, 0); break;
    case 7: x_taps(in, out, a, w, 7, 0); break;
    default: x_taps(in, out, a, w, a->taps, 1);
    }
}

#define Y_TAP(n) \
    if (whole || k + n < taps) { \
        uint16x8_t v = vmovl_u8(vld1_u8(rows[k + n] + x)); \
        high0 = vmlal_lane_u16(high0, vget_low_u16(v), ch, n); \
        high1 = vmlal_lane_u16(high1, vget_high_u16(v), ch, n); \
        low0 = vmlal_lane_u16(low0, vget_low_u16(v), cl, n); \
        low1 = vmlal_lane_u16(low1, vget_high_u16(v), cl, n); \
    }

ALWAYS void y_taps(const u8 **rows, u8 *restrict out, int bytes, const int16_t *w, int taps,
                   int whole)
{
    for (int x = 0; x < bytes; x += 8) {
        uint32x4_t high0 = vdupq_n_u32(0), high1 = high0, low0 = vdupq_n_u32(ROUND), low1 = low0;
        for (int k = 0; k < taps; k += 4) {
            uint16x8_t c = vld1q_u16((const uint16_t *)w + k * 2);
            uint16x4_t ch = vget_low_u16(c), cl = vget_high_u16(c);
            Y_TAP(0) Y_TAP(1) Y_TAP(2) Y_TAP(3)
        }
        uint16x8_t words = vcombine_u16(total(high0, low0), total(high1, low1));
        vst1_u8(out + x, vqshrn_n_u16(words, BITS - 16));
    }
}

static void y_vector(const u8 **rows, u8 *out, int bytes, int taps, const int16_t *w)
{
    switch (taps) {
    case 2: y_taps(rows, out, bytes, w, 2, 0); break;
    case 3: y_taps(rows, out, bytes, w, 3, 0); break;
    case 4: y_taps(rows, out, bytes, w, 4, 0); break;
    case 5: y_taps(rows, out, bytes, w, 5, 0); break;
    case 6: y_taps(rows, out, bytes, w, 6, 0); break;
    default: y_taps(rows, out, bytes, w, taps, 1);
    }
}

/* (a + 3 b + 3 c + d + 4) >> 3 of eight bytes. */
ALWAYS uint8x8_t eighth(uint8x8_t a, uint8x8_t b, uint8x8_t c, uint8x8_t d)
{
    uint16x8_t middle = vaddl_u8(b, c);
    return vrshrn_n_u16(vaddq_u16(vaddw_u8(vaddw_u8(middle, a), d), vshlq_n_u16(middle, 1)), 3);
}

/* Eight results a turn: each from pixels 0 to 3 behind p, p + 2, ... */
static void x_half_vector(const u8 *p, u8 *restrict out, int n)
{
    for (; n >= 8; n -= 8, p += 48, out += 24) {
        uint8x16x3_t v = vld3q_u8(p), next = vld3q_u8(p + 6);
        uint8x8x3_t pixels;
        for (int c = 0; c < 3; c++) {
            uint8x8x2_t near = vuzp_u8(vget_low_u8(v.val[c]), vget_high_u8(v.val[c]));
            uint8x8x2_t far = vuzp_u8(vget_low_u8(next.val[c]), vget_high_u8(next.val[c]));
            pixels.val[c] = eighth(near.val[0], near.val[1], far.val[0], far.val[1]);
        }
        vst3_u8(out, pixels);
    }
    x_half_plain(p, out, n, 3);
}

static void y_half_vector(const u8 **rows, u8 *restrict out, int bytes)
{
    const u8 *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    for (const u8 *end = out + bytes; out < end; a += 16, b += 16, c += 16, d += 16, out += 16) {
        uint8x16_t va = vld1q_u8(a), vb = vld1q_u8(b), vc = vld1q_u8(c), vd = vld1q_u8(d);
        vst1q_u8(out, vcombine_u8(
            eighth(vget_low_u8(va), vget_low_u8(vb), vget_low_u8(vc), vget_low_u8(vd)),
            eighth(vget_high_u8(va), vget_high_u8(vb), vget_high_u8(vc), vget_high_u8(vd))));
    }
}
