/* The steps of resample.c with NEON, of 32 and of 64 bits. */
#include <arm_neon.h>

#define VECTORS 1
#define ALWAYS static inline __attribute__((always_inline))

/* high * 2^11 + low, of which bytes_of() makes (sum + ROUND) >> BITS. */
ALWAYS uint32x4_t total(uint32x4_t high, uint32x4_t low)
{
    return vaddq_u32(low, vshlq_n_u32(high, LOW));
}

ALWAYS uint8x8_t bytes_of(uint32x4_t a, uint32x4_t b)
{
    return vqrshrn_n_u16(vcombine_u16(vshrn_n_u32(a, 16), vshrn_n_u32(b, 16)), BITS - 16);
}

#define X_TAP(pixel, n) \
    if (k + n < taps) { \
        high = vmlal_lane_u16(high, pixel, ch, n); \
        low = vmlal_lane_u16(low, pixel, cl, n); \
    }

/* Few taps: a pixel's planes side by side, in the fourth lane what comes next. */
ALWAYS void x_few(const u8 *in, u8 *restrict out, const axis *a, const int16_t *w, int taps)
{
    const int32_t *first = a->first, *end = first + a->n;
    for (; first < end; first++, out += 3) {
        const u8 *p = in + *first * 3;
        uint32x4_t high = vdupq_n_u32(0), low = high;
        for (int k = 0; k < taps; k += 4, p += 12, w += 8) {
            uint8x16_t v = vld1q_u8(p);
            uint16x8_t c = vld1q_u16((const uint16_t *)w);
            uint16x4_t ch = vget_low_u16(c), cl = vget_high_u16(c);
            uint16x8_t v0 = vmovl_u8(vget_low_u8(v)), v1 = vmovl_u8(vget_high_u8(v));
            X_TAP(vget_low_u16(v0), 0)
            X_TAP(vext_u16(vget_low_u16(v0), vget_high_u16(v0), 3), 1)
            X_TAP(vext_u16(vget_high_u16(v0), vget_low_u16(v1), 2), 2)
            X_TAP(vext_u16(vget_low_u16(v1), vget_high_u16(v1), 1), 3)
        }
        uint32x4_t pixel = total(high, low);
        vst1_u8(out, bytes_of(pixel, pixel));
    }
}

/* Many: eight pixels of a plane side by side, added up at the end. */
ALWAYS void x_many(const u8 *in, u8 *restrict out, const axis *a, const int16_t *w, int groups)
{
    const uint32x4_t zero = vdupq_n_u32(0);
    const int32_t *first = a->first, *end = first + a->n;
    for (; first < end; first++, out += 3, w += 8 * groups) {
        const u8 *p = in + *first * 3;
        uint32x4_t high[3] = {zero, zero, zero}, low[3] = {zero, zero, zero};
        uint32x2_t sum[3];
        for (int g = 0; g < groups; g += 2, p += 24) {
            uint8x8x3_t v = vld3_u8(p);
            int more = g + 1 < groups;
            uint16x8_t c0 = vld1q_u16((const uint16_t *)w + 8 * g);
            uint16x8_t c1 = more ? vld1q_u16((const uint16_t *)w + 8 * g + 8) : c0;
            for (int c = 0; c < 3; c++) {
                uint16x8_t plane = vmovl_u8(v.val[c]);
                high[c] = vmlal_u16(high[c], vget_low_u16(plane), vget_low_u16(c0));
                low[c] = vmlal_u16(low[c], vget_low_u16(plane), vget_high_u16(c0));
                if (more) {
                    high[c] = vmlal_u16(high[c], vget_high_u16(plane), vget_low_u16(c1));
                    low[c] = vmlal_u16(low[c], vget_high_u16(plane), vget_high_u16(c1));
                }
            }
        }
        for (int c = 0; c < 3; c++) {
            uint32x4_t t = total(high[c], low[c]);
            sum[c] = vadd_u32(vget_low_u32(t), vget_high_u32(t));
        }
        uint32x4_t pixel = vcombine_u32(vpadd_u32(sum[0], sum[1]), vpadd_u32(sum[2], sum[2]));
        vst1_u8(out, bytes_of(pixel, pixel));
    }
}

static void x_vector(const u8 *in, u8 *out, const axis *a, const int16_t *w)
{
    switch (a->taps) {
    case 1: case 2: x_few(in, out, a, w, 2); break;
    case 3: x_few(in, out, a, w, 3); break;
    case 4: x_few(in, out, a, w, 4); break;
    case 5: x_few(in, out, a, w, 5); break;
    case 6: x_few(in, out, a, w, 6); break;
    case 7: x_few(in, out, a, w, 7); break;
    case 8: x_few(in, out, a, w, 8); break;
    case 13: case 14: case 15: case 16: x_many(in, out, a, w, 4); break;
    default: x_many(in, out, a, w, (a->taps + 3) / 4);
    }
}

/* Coefficient `n` of a group. `whole`: all of them are looked at, though some be 0. */
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
        uint32x4_t high0 = vdupq_n_u32(0), high1 = high0, low0 = high0, low1 = high0;
        for (int k = 0; k < taps; k += 4) {
            uint16x8_t c = vld1q_u16((const uint16_t *)w + k * 2);
            uint16x4_t ch = vget_low_u16(c), cl = vget_high_u16(c);
            Y_TAP(0) Y_TAP(1) Y_TAP(2) Y_TAP(3)
        }
        vst1_u8(out + x, bytes_of(total(high0, low0), total(high1, low1)));
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
