/* The recurrence of one layer over a whole window, and its gradient, for the rows of one part of a batch.

     forward    h_t = f(p_t + table[id_t] + (m h_{t-1}) V)    t = 1 to T
     backward   a_t = f'(h_t) (d_t + m (a_{t+1} V^T))         t = T to 1, a_{T+1} = 0;   then dL/dh_0 = m (a_1 V^T)

   p is the product of the layer below with its weights, if there is one; the table has the rows of the one-hot
   characters, bias included, or the bias alone. d_t = dL/dh_t from above, in two summands since two layers read h;
   a_t = dL/d(argument of f); m is the mask of recurrent dropout. dL/dtable is the sum of a_t over the places of each id.

   Both directions are one loop: a product with a matrix that is the same at every time, then something for each element.
   The matrix is packed once into panels of COLUMNS columns. Every sum runs over k = 0 to H - 1 in this order, in
   registers, however the rows are cut: results repeat to the bit. With bfloat16, p, d, a, the factors and a copy of h are
   rounded to it; sums and h are float32. All arrays are in C order without gaps.
   Axes: T time, R rows, H units; P units padded to whole vectors. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __FMA__
#include <immintrin.h>
#endif
#ifdef __AVX512BF16__
#define BFLOAT16 1
#else
#define BFLOAT16 0
#endif
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 16   /* floats in a vector */
#define VECTORS 4  /* vectors in a row of a panel */
#define FMA(a, b, c) (vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)) /* a b + c, always rounded once */
#elif defined(__FMA__)
#define WIDTH 8
#define VECTORS 2
#define FMA(a, b, c) (vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#else
#define WIDTH 4
#define VECTORS 4
#define FMA(a, b, c) ((a) * (b) + (c))
#endif
#define ROWS 6     /* rows of a block of sums: with the vectors, as many sums as fit into the registers */
#define TILES 32   /* rows of a block if the processor multiplies tiles */
#define COLUMNS (WIDTH * VECTORS)

typedef float vector __attribute__((vector_size(4 * WIDTH)));
typedef float loose __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * WIDTH)));
#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) for (long i = 0; i < (n); i++)

enum { TANH, RELU, SIGMOID, LINEAR };

typedef struct {
    long time, rows, units; /* T, R, H */
    int activation, bfloat16;
    const float *matrix, *mask;      /* V [H, H]; m [R, H] or NULL */
    const int32_t *ids;              /* [T, R], or NULL: the table has one row */
    float *table, *states, *d_state; /* [ids, H]: backward, dL/dtable; h_0 to h_T [T + 1, R, H]; [R, H] */
    void *given, *d_other, *out; /* [T, R, H]: p or NULL, nothing, a copy of h or NULL; backward, d in two summands, a */
} Layer;

typedef struct { /* what is the same at every time */
    int backward, tiles, bfloat16;
    long padded, width;       /* P; a row of the left factor in floats, each of them one float32 or two bfloat16 */
    float *panels, *left[2];  /* the packed matrix; the left factor [R, P] of this time and of the next */
} Plan;

INLINE vector splat(float x) { return x - (vector){0}; }
INLINE vector choose(integers i, vector a, vector b) { return (vector)(((integers)a & i) | ((integers)b & ~i)); }

/* tanh as the quotient of two polynomials with which Eigen computes it, within a few units in the last place. */
INLINE vector tanh_of(vector x) {
    const float limit = 7.90531110763549805f;
    x = choose(x > splat(limit), splat(limit), choose(x < splat(-limit), splat(-limit), x));
    const vector s = x * x;
    const vector p = (((((s * -2.76076847742355e-16f + 2.00018790482477e-13f) * s + -8.60467152213735e-11f) * s
        + 5.12229709037114e-08f) * s + 1.48572235717979e-05f) * s + 6.37261928875436e-04f) * s + 4.89352455891786e-03f;
    return x * p / (((s * 1.19825839466702e-06f + 1.18534705686654e-04f) * s + 2.26843463243900e-03f) * s
        + 4.89352518554385e-03f);
}

INLINE vector activate(int f, vector a) {
    if (f == TANH) return tanh_of(a);
    if (f == RELU) return choose(a <= splat(0), splat(0), a); /* NaN stays */
    return f == SIGMOID ? tanh_of(a * 0.5f) * 0.5f + 0.5f : a;
}

INLINE vector slope(int f, vector h) { /* f' from h = f(a) */
    if (f == TANH) return 1.0f - h * h;
    if (f == RELU) return choose(h > splat(0), splat(1), splat(0));
    return f == SIGMOID ? h * (1.0f - h) : splat(1);
}

/* A vector at a place of float32 or bfloat16; only `count` numbers of it if they are fewer than a vector has. */
INLINE vector load(const void *from, long place, long count, int bfloat16) {
    const float *at = (const float *)from + place;
    vector v = {0};
#ifdef __AVX512BF16__
    if (bfloat16) {
        __m256i half = _mm256_setzero_si256();
        if (count >= WIDTH) half = _mm256_loadu_si256((const __m256i *)((const uint16_t *)from + place));
        else memcpy(&half, (const uint16_t *)from + place, 2 * count);
        return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
    }
#endif
    if (count >= WIDTH) return *(const loose *)at;
    memcpy(&v, at, 4 * count);
    return v;
}

INLINE void store(void *to, long place, vector v, long count, int bfloat16) {
    float *at = (float *)to + place;
#ifdef __AVX512BF16__
    if (bfloat16) {
        const __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)v);
        if (count >= WIDTH) _mm256_storeu_si256((__m256i *)((uint16_t *)to + place), half);
        else memcpy((uint16_t *)to + place, &half, 2 * count);
        return;
    }
#endif
    if (count >= WIDTH) *(loose *)at = v;
    else memcpy(at, &v, 4 * count);
}

/* sums [rows, COLUMNS] = left [rows, P] times a panel [P, vectors] */
INLINE void multiply(const Plan *p, const float *left, const float *panel, float *sums, long rows, long vectors) {
    vector sum[ROWS][VECTORS] = {0};
#ifdef __AVX512BF16__
    if (p->bfloat16) /* two bfloat16 of a row of `left`, and of a column of the panel, take the place of a float */
        for (long k = 0; k < p->width; k++, panel += vectors * WIDTH)
            EACH(r, rows) {
                const __m512bh pair = (__m512bh)_mm512_set1_ps(left[r * p->width + k]);
                EACH(v, vectors) sum[r][v] = (vector)_mm512_dpbf16_ps(
                    (__m512)sum[r][v], pair, (__m512bh)_mm512_loadu_ps(panel + v * WIDTH));
            }
    else
#endif
        for (long k = 0; k < p->width; k++, panel += vectors * WIDTH) {
            vector right[VECTORS];
            EACH(v, vectors) right[v] = *(const vector *)(panel + v * WIDTH);
            EACH(r, rows) EACH(v, vectors) sum[r][v] = FMA(splat(left[r * p->width + k]), right[v], sum[r][v]);
        }
    EACH(r, rows) EACH(v, vectors) *(vector *)(sums + r * COLUMNS + v * WIDTH) = sum[r][v];
}

/* The same for each number of rows and vectors, as functions of their own, in which the sums get all registers. */
typedef void Multiply(const Plan *, const float *, const float *, float *);
#define MULTIPLY(r, v) static __attribute__((noinline)) void multiply_##r##_##v( \
    const Plan *p, const float *left, const float *panel, float *sums) { multiply(p, left, panel, sums, r, v); }
#if VECTORS == 4
#define FOR_VECTORS(do, r) do(r, 1) do(r, 2) do(r, 3) do(r, 4)
#else
#define FOR_VECTORS(do, r) do(r, 1) do(r, 2)
#endif
#define NAME(r, v) multiply_##r##_##v,
#define NAMES(r) {FOR_VECTORS(NAME, r)}
FOR_VECTORS(MULTIPLY, 1) FOR_VECTORS(MULTIPLY, 2) FOR_VECTORS(MULTIPLY, 3)
FOR_VECTORS(MULTIPLY, 4) FOR_VECTORS(MULTIPLY, 5) FOR_VECTORS(MULTIPLY, 6)
static Multiply *const multiplies[ROWS][VECTORS] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4), NAMES(5), NAMES(6)};

#ifdef __AMX_BF16__
/* The same for TILES rows, by tiles of 16 rows and 16 columns, four at a time. */
static void multiply_tiles(const Plan *p, const float *left, const float *panel, float *sums, long vectors) {
    const long stride = 4 * p->width, row = 4 * vectors * WIDTH; /* bytes */
    for (long v = 0; v < vectors; v += 2, sums += 2 * WIDTH) {
        const char *a = (const char *)left, *b = (const char *)(panel + v * WIDTH);
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
        for (long k = 0; k < p->width; k += 16, a += 64, b += 16 * row) {
            _tile_loadd(4, a, stride); _tile_loadd(5, a + 16 * stride, stride);
            _tile_loadd(6, b, row); _tile_loadd(7, b + 64, row);
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, sums, 4 * COLUMNS); _tile_stored(1, sums + WIDTH, 4 * COLUMNS);
        _tile_stored(2, sums + 16 * COLUMNS, 4 * COLUMNS); _tile_stored(3, sums + 16 * COLUMNS + WIDTH, 4 * COLUMNS);
    }
}

static int use_tiles(void) { /* eight of 16 rows of 64 bytes, if Linux allows it */
    const struct { uint8_t palette, start, unused[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {
        1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XFEATURE_XTILEDATA */)) return 0;
    _tile_loadconfig(&tiles);
    return 1;
}
#endif

/* Finish a block of sums of time t, from 0: forward, write h; backward, write a, or dL/dh_0 if t is -1. */
INLINE void finish(const Layer *l, const Plan *p, const float *sums, float *next, long t, int f, long row, long rows,
                   long column, long vectors) {
    const int b = p->bfloat16;
    EACH(r, rows) EACH(v, vectors) {
        const long unit = column + v * WIDTH, count = l->units - unit, in_row = (row + r) * l->units + unit;
        if (count <= 0) break; /* nothing but padding */
        const long place = t * l->rows * l->units + in_row, above = place + l->rows * l->units;
        const vector mask = l->mask ? load(l->mask, in_row, count, 0) : splat(1);
        float *line = l->table + (l->ids && t >= 0 ? l->ids[t * l->rows + row + r] : 0) * l->units;
        vector value = *(const vector *)(sums + r * COLUMNS + v * WIDTH);
        if (!p->backward) {
            value += load(line, unit, count, 0);
            if (l->given) value += load(l->given, place, count, b);
            value = activate(f, value);
            store(l->states, above, value, count, 0);
            if (l->out) store(l->out, above, value, count, b);
            value *= mask;
        } else if (t < 0) store(l->d_state, in_row, value * mask, count, 0);
        else {
            value = value * mask + load(l->given, place, count, b) + load(l->d_other, place, count, b);
            value *= slope(f, load(l->states, above, count, 0));
            store(l->out, place, value, count, b);
            store(line, unit, load(line, unit, count, 0) + value, count, 0);
        }
        store(next, (row + r) * p->padded + unit, value, WIDTH, b);
    }
}

#define FINISH(f) finish(l, p, sums, next, t, f, row, rows, column, vectors)

static void advance(const Layer *l, const Plan *p, const float *left, float *next, long t) {
    float sums[TILES * COLUMNS] __attribute__((aligned(64)));
    const long height = p->tiles ? TILES : ROWS, blocks = (l->rows + height - 1) / height;
    for (long column = 0; column < p->padded; column += COLUMNS) {
        const long vectors = p->padded - column < COLUMNS ? (p->padded - column) / WIDTH : VECTORS;
        const float *panel = p->panels + column * p->width;
        EACH(b, blocks) {
            const long row = p->tiles ? b * TILES : b * l->rows / blocks; /* tiles are whole, other blocks alike */
            const long end = p->tiles ? row + TILES : (b + 1) * l->rows / blocks;
            const long rows = (end < l->rows ? end : l->rows) - row;
            const float *block = left + row * p->width;
#ifdef __AMX_BF16__
            if (p->tiles) multiply_tiles(p, block, panel, sums, vectors);
            else
#endif
            multiplies[rows - 1][vectors - 1](p, block, panel, sums);
            if (l->activation == TANH) FINISH(TANH);
            else if (l->activation == RELU) FINISH(RELU);
            else if (l->activation == SIGMOID) FINISH(SIGMOID);
            else FINISH(LINEAR);
        }
    }
}

INLINE uint32_t rounded(float x) { /* the bits of a bfloat16, to nearest even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/* Pack V, or V^T, panel by panel and row by row; with bfloat16 two rows at a time, side by side. */
static void pack(const Layer *l, const Plan *p) {
    const long H = l->units, down = p->backward ? 1 : H, right = p->backward ? H : 1, pair = p->bfloat16 ? 2 : 1;
    for (long column = 0; column < H; column += COLUMNS) {
        const long width = p->padded - column < COLUMNS ? p->padded - column : COLUMNS;
        float *panel = p->panels + column * p->width;
        for (long k = 0; k < H; k += pair, panel += width)
            EACH(c, H - column < width ? H - column : width) {
                const float *x = l->matrix + k * down + (column + c) * right;
                if (p->bfloat16) ((uint32_t *)panel)[c] = rounded(x[0]) | (k + 1 < H ? rounded(x[down]) << 16 : 0);
                else panel[c] = x[0];
            }
    }
}

/* Run a layer over a window; 1 = there is not enough memory, or bfloat16 is asked for and was not compiled. */
int run(const Layer *l, int backward) {
    if (l->bfloat16 && !BFLOAT16) return 1; /* its arrays are half as long */
    Plan p = {.backward = backward, .bfloat16 = l->bfloat16};
#ifdef __AMX_BF16__
    p.tiles = p.bfloat16 && use_tiles();
#endif
    const long unit = p.tiles ? 32 : WIDTH, rows = p.tiles ? (l->rows + TILES - 1) / TILES * TILES : l->rows;
    p.padded = (l->units + unit - 1) / unit * unit;
    p.width = p.bfloat16 ? p.padded / 2 : p.padded;
    const size_t size = 4 * p.width * (p.padded + 2 * rows);
    if (!(p.panels = aligned_alloc(64, (size + 63) / 64 * 64))) return 1;
    memset(p.panels, 0, size); /* padding; and a_{T+1} */
    p.left[0] = p.panels + p.padded * p.width;
    p.left[1] = p.left[0] + rows * p.width;
    pack(l, &p);
    if (!backward)
        EACH(r, l->rows) for (long c = 0; c < l->units; c += WIDTH) {
            const long place = r * l->units + c, count = l->units - c;
            const vector mask = l->mask ? load(l->mask, place, count, 0) : splat(1), h = load(l->states, place, count, 0);
            if (l->out) store(l->out, place, h, count, p.bfloat16);
            store(p.left[0], r * p.padded + c, h * mask, WIDTH, p.bfloat16);
        }
    EACH(s, l->time) advance(l, &p, p.left[s % 2], p.left[(s + 1) % 2], backward ? l->time - 1 - s : s);
    if (backward) advance(l, &p, p.left[l->time % 2], p.left[(l->time + 1) % 2], -1);
#ifdef __AMX_BF16__
    if (p.tiles) _tile_release();
#endif
    free(p.panels);
    return 0;
}

/* Whether `bfloat16` means anything: whether this was compiled for a processor that multiplies it. */
const int has_bfloat16 = BFLOAT16;
