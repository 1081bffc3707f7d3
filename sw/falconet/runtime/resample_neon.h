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
    return vshrn_n_u32(vmlaq_n_u32(low, high, 1 << LOW), 16);
}

ALWAYS void x_groups(const u8 *in, u8 *out, const axis *a, const int16_t *w, int groups)
{
    const uint8x8_t pair0 = vcreate_u8(0xff050403ff020100), pair1 = vcreate_u8(0xff0b0a09ff080706);
    for (int i = 0; i < a->n; i++, out += 3) {
        const u8 *p = in + a->first[i] * 3;
        uint32x4_t high = vdupq_n_u32(0), low = vdupq_n_u32(ROUND);
        for (int k = 0; k < groups; k++, p += 12, w += 8) {
            uint8x16_t v = vld1q_u8(p);
            uint16x8_t c = vld1q_u16((const uint16_t *)w);
            uint16x4_t ch = vget_low_u16(c), cl = vget_high_u16(c);
            uint16x8_t v0 = vmovl_u8(picked(v, pair0)), v1 = vmovl_u8(picked(v, pair1));
            high = vmlal_lane_u16(high, vget_low_u16(v0), ch, 0);
            low = vmlal_lane_u16(low, vget_low_u16(v0), cl, 0);
            high = vmlal_lane_u16(high, vget_high_u16(v0), ch, 1);
            low = vmlal_lane_u16(low, vget_high_u16(v0), cl, 1);
            high = vmlal_lane_u16(high, vget_low_u16(v1), ch, 2);
            low = vmlal_lane_u16(low, vget_low_u16(v1), cl, 2);
            high = vmlal_lane_u16(high, vget_high_u16(v1), ch, 3);
            low = vmlal_lane_u16(low, vget_high_u16(v1), cl, 3);
        }
        uint16x4_t pixel = total(high, low);
        vst1_u8(out, vqshrn_n_u16(vcombine_u16(pixel, pixel), BITS - 16));
    }
}

static void x_vector(const u8 *in, u8 *out, const axis *a, const int16_t *w)
{
    int groups = (a->taps + 3) / 4;
    if (groups == 1)
        x_groups(in, out, a, w, 1);
    else
        x_groups(in, out, a, w, groups);
}

ALWAYS void y_groups(const u8 **rows, u8 *out, int bytes, int groups, const int16_t *w)
{
    for (int x = 0; x < bytes; x += 8) {
        uint32x4_t high0 = vdupq_n_u32(0), high1 = high0, low0 = vdupq_n_u32(ROUND), low1 = low0;
        for (int k = 0; k < groups; k++) {
            uint16x8_t c = vld1q_u16((const uint16_t *)w + k * 8);
            uint16x4_t ch = vget_low_u16(c), cl = vget_high_u16(c);
#define TAP(n) { \
            uint16x8_t v = vmovl_u8(vld1_u8(rows[4 * k + n] + x)); \
            high0 = vmlal_lane_u16(high0, vget_low_u16(v), ch, n); \
            high1 = vmlal_lane_u16(high1, vget_high_u16(v), ch, n); \
            low0 = vmlal_lane_u16(low0, vget_low_u16(v), cl, n); \
            low1 = vmlal_lane_u16(low1, vget_high_u16(v), cl, n); }
            TAP(0) TAP(1) TAP(2) TAP(3)
#undef TAP
        }
        uint16x8_t words = vcombine_u16(total(high0, low0), total(high1, low1));
        vst1_u8(out + x, vqshrn_n_u16(words, BITS - 16));
    }
}

static void y_vector(const u8 **rows, u8 *out, int bytes, int groups, const int16_t *w)
{
    if (groups == 1)
        y_groups(rows, out, bytes, 1, w);
    else
        y_groups(rows, out, bytes, groups, w);
}

/* (a + 3 b + 3 c + d + 4) >> 3 of eight bytes. */
ALWAYS uint8x8_t eighth(uint8x8_t a, uint8x8_t b, uint8x8_t c, uint8x8_t d)
{
    return vrshrn_n_u16(vmlaq_n_u16(vaddl_u8(a, d), vaddl_u8(b, c), 3), 3);
}

/* Eight results a turn: each from pixels 0 to 3 behind p, p + 2, ... */
static void x_half_vector(const u8 *p, u8 *out, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8, p += 48, out += 24) {
        uint8x8x3_t v0 = vld3_u8(p), v1 = vld3_u8(p + 24), v2 = vld3_u8(p + 6);
        uint8x8x3_t v3 = vld3_u8(p + 30), pixels;
        for (int c = 0; c < 3; c++) {
            uint8x8x2_t near = vuzp_u8(v0.val[c], v1.val[c]), far = vuzp_u8(v2.val[c], v3.val[c]);
            pixels.val[c] = eighth(near.val[0], near.val[1], far.val[0], far.val[1]);
        }
        vst3_u8(out, pixels);
    }
    x_half_plain(p, out, n - i, 3);
}

static void y_half_vector(const u8 **rows, u8 *out, int bytes)
{
    for (int x = 0; x < bytes; x += 8)
        vst1_u8(out + x, eighth(vld1_u8(rows[0] + x), vld1_u8(rows[1] + x), vld1_u8(rows[2] + x),
                                vld1_u8(rows[3] + x)));
}
