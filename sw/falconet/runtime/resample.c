/* Photographs to a network's input: docs/arithmetic.md, Photographs. Built and called by kernel.py.
 *
 * Rows are scaled along x as they come and kept while a row of the result needs them; a row that
 * is scaled along y goes through the table into the result. Only what the window needs is made.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;

enum { GENERAL, COPY, HALF };
enum { BITS = 22, LOW = 11, ROUND = 1 << (BITS - 1) };
enum { PAD = 32 }; /* bytes behind a row that may be read or written */

typedef struct {
    int32_t n, taps;       /* results; coefficients of each */
    int32_t kind, from, to; /* HALF: results [from, to) are (a + 3b + 3c + d + 4) >> 3 */
    const int32_t *first;  /* [n] first input of each result, never falling */
    const int32_t *weight; /* [n][taps] in 2^-22; 0 behind the last input */
} axis;

typedef struct {
    axis x, y;
    int32_t height, width;    /* of the photograph */
    int32_t channels, planes; /* 1, 3, 4 bytes a pixel; 1 or 3 of them are scaled (3, 4 to 1: grey) */
    int32_t results;          /* bytes a pixel of the result, 1 or 3 */
    int32_t order[3];         /* the plane of each */
    int32_t flip;             /* >= 0: the tables are value ^ flip and the order is that of planes */
} job;

static inline u8 clamp(int32_t sum)
{
    int32_t v = sum >> BITS;
    return v > 255 ? 255 : (u8)v;
}

/* The four steps in plain C. */
static void x_plain(const u8 *in, u8 *out, const axis *a, int planes, int from, int to)
{
    for (int i = from; i < to; i++) {
        const u8 *p = in + (ptrdiff_t)a->first[i] * planes;
        const int32_t *w = a->weight + (ptrdiff_t)i * a->taps;
        for (int c = 0; c < planes; c++) {
            int32_t sum = ROUND;
            for (int k = 0; k < a->taps; k++)
                sum += w[k] * p[k * planes + c];
            out[i * planes + c] = clamp(sum);
        }
    }
}

static void y_plain(const u8 **rows, u8 *out, int bytes, int taps, const int32_t *w)
{
    for (int x = 0; x < bytes; x++) {
        int32_t sum = ROUND;
        for (int k = 0; k < taps; k++)
            sum += w[k] * rows[k][x];
        out[x] = clamp(sum);
    }
}

static void x_half_plain(const u8 *p, u8 *out, int n, int planes)
{
    for (int i = 0; i < n; i++, p += 2 * planes)
        for (int c = 0; c < planes; c++)
            *out++ = (u8)((p[c] + 3 * (p[planes + c] + p[2 * planes + c]) + p[3 * planes + c] + 4)
                          >> 3);
}

static void y_half_plain(const u8 **rows, u8 *out, int bytes)
{
    const u8 *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    for (int x = 0; x < bytes; x++)
        out[x] = (u8)((a[x] + 3 * (b[x] + c[x]) + d[x] + 4) >> 3);
}

/* The same for three planes with vectors of 16 bytes; each may write PAD bytes too many.
 *
 * `w` holds, for each result, groups of 4 coefficients as 4 high parts (>> 11) and 4 low parts. */
#if defined(__x86_64__) || defined(__i386__)
#include "resample_sse.h"
#elif defined(__ARM_NEON)
#include "resample_neon.h"
#else
#define VECTORS 0
static void x_vector(const u8 *in, u8 *out, const axis *a, const int16_t *w) {}
static void y_vector(const u8 **rows, u8 *out, int bytes, int taps, const int16_t *w) {}
static void x_half_vector(const u8 *p, u8 *out, int n) {}
static void y_half_vector(const u8 **rows, u8 *out, int bytes) {}
#endif

static void pack(int16_t *to, const int32_t *weight, int taps)
{
    for (int k = 0; k < ((taps + 3) & ~3); k++) {
        int32_t w = k < taps ? weight[k] : 0;
        to[k / 4 * 8 + k % 4] = (int16_t)(w >> LOW);
        to[k / 4 * 8 + k % 4 + 4] = (int16_t)(w & ((1 << LOW) - 1));
    }
}

/* A row of the photograph as 1 or 3 bytes a pixel. */
static void load(const job *j, const u8 *p, u8 *restrict out)
{
    int n = j->width, step = j->channels;
    if (step == j->planes)
        memcpy(out, p, (size_t)n * step);
    else if (j->planes == 1)
        for (int i = 0; i < n; i++, p += step)
            out[i] = (u8)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
    else
        for (int i = 0; i < n; i++, p += step, out += 3)
            out[0] = p[0], out[1] = p[1], out[2] = p[2];
}

static void store(const job *j, const u8 *restrict row, u8 *restrict out, const u8 *table)
{
    int n = j->x.n, planes = j->planes;
    const u8 flip = (u8)j->flip;
    if (j->flip >= 0) {
        for (int i = 0; i < n * planes; i++)
            out[i] = row[i] ^ flip;
    } else if (j->results == 1) {
        for (int i = 0; i < n; i++)
            out[i] = table[row[i * planes + j->order[0]]];
    } else {
        const u8 *t0 = table, *t1 = table + 256, *t2 = table + 512;
        const u8 *r0 = row + j->order[0], *r1 = row + j->order[1], *r2 = row + j->order[2];
        for (int i = 0; i < n; i++, r0 += planes, r1 += planes, r2 += planes, out += 3)
            out[0] = t0[*r0], out[1] = t1[*r1], out[2] = t2[*r2];
    }
}

static void along_x(const job *j, const u8 *row, u8 *out, const int16_t *w)
{
    const axis *a = &j->x;
    if (a->kind == COPY) {
        memcpy(out, row + (ptrdiff_t)a->first[0] * j->planes, (size_t)a->n * j->planes);
    } else if (a->kind == HALF && a->from < a->to) {
        const u8 *p = row + (ptrdiff_t)a->first[a->from] * j->planes;
        u8 *middle = out + a->from * j->planes;
        if (w)
            x_half_vector(p, middle, a->to - a->from);
        else
            x_half_plain(p, middle, a->to - a->from, j->planes);
        x_plain(row, out, a, j->planes, 0, a->from);
        x_plain(row, out, a, j->planes, a->to, a->n);
    } else if (w) {
        x_vector(row, out, a, w);
    } else {
        x_plain(row, out, a, j->planes, 0, a->n);
    }
}

static const u8 *along_y(const job *j, const u8 **rows, u8 *out, int i, int16_t *w)
{
    const axis *a = &j->y;
    const int32_t *weight = a->weight + (ptrdiff_t)i * a->taps;
    int bytes = j->x.n * j->planes, half = a->kind == HALF && i >= a->from && i < a->to;
    if (a->kind == COPY)
        return rows[0];
    if (half && w)
        y_half_vector(rows, out, bytes);
    else if (half)
        y_half_plain(rows, out, bytes);
    else if (w)
        pack(w, weight, a->taps), y_vector(rows, out, bytes, a->taps, w);
    else
        y_plain(rows, out, bytes, a->taps, weight);
    return out;
}

/* 0, or 1 if there is no memory. `from` and `to`: first pixel, bytes from a row to the next.
 * `table`: [results][256]. `plain`: no vectors. */
int falconet_scale(const job *j, const u8 *from, ptrdiff_t pitch, u8 *to, ptrdiff_t to_pitch,
                   const u8 *table, int plain)
{
    const axis *x = &j->x, *y = &j->y;
    int x_taps = (x->taps + 3) & ~3, y_taps = (y->taps + 3) & ~3;
    size_t row = (size_t)(j->width + x_taps) * j->planes + PAD;
    size_t scaled = (size_t)x->n * j->planes + PAD;
    size_t weights = plain || j->planes == 1 || !VECTORS ? 0 : 2 * sizeof(int16_t);
    size_t of_x = weights * x_taps * x->n, of_y = weights * y_taps;
    u8 *memory = calloc(1, of_x + of_y + sizeof(u8 *) * y_taps + row + scaled * (y->taps + 1));
    if (!memory)
        return 1;
    const u8 **rows = (const u8 **)memory;
    int16_t *wx = weights ? (int16_t *)(rows + y_taps) : NULL, *wy = wx ? wx + of_x / 2 : NULL;
    u8 *line = (u8 *)(rows + y_taps) + of_x + of_y, *sum = line + row, *ring = sum + scaled;

    for (int i = 0; wx && i < x->n; i++)
        pack(wx + (ptrdiff_t)i * x_taps * 2, x->weight + (ptrdiff_t)i * x->taps, x->taps);
    for (int i = 0, made = 0; i < y->n; i++) {
        int first = y->first[i];
        int end = first + y->taps < j->height ? first + y->taps : j->height;
        for (made = made > first ? made : first; made < end; made++) {
            load(j, from + made * pitch, line);
            along_x(j, line, ring + made % y->taps * scaled, wx);
        }
        for (int k = 0; k < y_taps; k++) /* those behind the last one weigh nothing */
            rows[k] = ring + (first + (k < y->taps ? k : 0)) % y->taps * scaled;
        store(j, along_y(j, rows, sum, i, wy), to + i * to_pitch, table);
    }
    free(memory);
    return 0;
}
