/* The loss of a window and its gradient by every weight of a network, for the rows of one part of a batch.

     h_t = f(table[x_t] + (m h_{t-1}) V + (n g_t) U)    z_t = c + sum over layers of (o h_t) W    t = 1 to T
     loss = mean of log sum exp z_t - z_t[y_t]          minimised: (1 - w) H(y, p) + w H(q, p),  p = softmax(z / tau)

   in each layer, with g the h of the layer below, x the characters read and y those that follow; a layer that reads no
   character has a table of one row. m, n and o are masks of dropout, q soft targets. Backward, t = T to 1 and from the
   uppermost layer down, with d_t = d minimised / d z_t, b the a of the layer above, and a_{T+1} = 0:

     a_t = f'(h_t) (o (d_t W^T) + n (b_t U^T) + m (a_{t+1} V^T))
     dV = sum of (m h_{t-1})^T a_t    dU = sum of (n g_t)^T a_t    dW = sum of (o h_t)^T d_t
     dtable[x_t] += a_t               dc = sum of d_t

   All products are one, `add_product`: rows times a matrix that is packed into panels of COLUMNS columns, added up in
   registers. The weights are packed once a step, for all parts; for dV, dU and dW the right factor, and the columns of
   the left one, which are the rows here, in blocks of BLOCK places (t, row). Every sum runs in the order of its index,
   then of its summands as above (in a and dtable from t = T down), however rows are cut: results repeat to the bit.
   With bfloat16 all factors of products are rounded to it, "rounded" below; sums, h in f', and the loss are float32.
   What comes from outside is in C order without gaps.

   Axes: T time, R rows, H units, N characters, L layers; P and Q are H and N padded to whole vectors.
     of each layer: h [T + 1, R, P]; the same rounded, and times m, n, o where they are given; a [T, R, P], rounded
     d [T, R, Q], rounded */

#include <math.h>
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
#define BLOCK 256  /* places, or pairs of them, that are added up at a time for the gradients of weights */

typedef float vector __attribute__((vector_size(4 * WIDTH)));
typedef float loose __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * WIDTH)));
#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) for (long i = 0; i < (n); i++)
#define LEAST(a, b) ((a) < (b) ? (a) : (b))

enum { TANH, RELU, SIGMOID, LINEAR };

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

/* exp of numbers up to 0 (below -87 as of -87), as Cephes computes it: 2^n times a polynomial of the rest. */
INLINE vector exp_of(vector x) {
    x = choose(x < splat(-87), splat(-87), x);
    const float shift = 12582912; /* 1.5 2^23: rounds to whole numbers */
    const vector n = x * 1.44269504088896341f + shift - shift, s = x - n * 0.693359375f + n * 2.12194440e-4f;
    const vector p = ((((s * 1.9875691500e-4f + 1.3981999507e-3f) * s + 8.3334519073e-3f) * s + 4.1665795894e-2f) * s
        + 1.6666665459e-1f) * s + 5.0000001201e-1f;
    return (p * s * s + s + 1.0f) * (vector)((__builtin_convertvector(n, integers) + 127) << 23);
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

/* A vector; only `count` numbers of it, 0 or less = none, if they are fewer than a vector. */
INLINE vector load(const float *from, long count) {
    vector v = {0};
    if (count >= WIDTH) return *(const loose *)from;
    if (count > 0) memcpy(&v, from, 4 * count);
    return v;
}

INLINE void store(float *to, vector v, long count) {
    if (count >= WIDTH) *(loose *)to = v;
    else if (count > 0) memcpy(to, &v, 4 * count);
}

INLINE void store_rounded(float *to, long place, vector v, int bfloat16) { /* a whole vector */
#ifdef __AVX512BF16__
    if (bfloat16) _mm256_storeu_si256((__m256i *)((uint16_t *)to + place), (__m256i)_mm512_cvtneps_pbh((__m512)v));
    else
#endif
    *(loose *)(to + place) = v;
}

enum { RECURRENT, ABOVE, LOGITS, READERS }; /* who reads h: the layer itself at t + 1, by V; the next, by U; by W */

typedef struct { /* as in charlm.engine.kernel */
    long time, rows, layers, units, characters; /* T, R, L, H, N */
    int activation, bfloat16, skips; /* with skips, every layer reads the character, and the logits every layer */
    float soft_weight, temperature, share; /* w, tau; results are those of the mean over T and R, times the share */
    const int32_t *ids;        /* [T + 1, R]: x at 0 to T - 1, y at 1 to T */
    const float *soft;         /* q [T, R, N], or NULL */
    const float *state;        /* h_0 [L, R, H] */
    const float *recurrent_mask, *layer_mask, *output_mask; /* m, n [L, R, H], o [T, R, H or L H], or NULL */
    const float *const *weights; /* of each layer the table [N or 1, H], V [H, H], U of the next, W [H, N]; last, c */
    float *const *gradients;     /* the same; NULL = there is none */
    float *last, *loss;          /* [L, R, H]; [1] */
} Window;

typedef struct { long width, columns; float *panels; } Matrix; /* width: how many rows it has, or pairs of rows */
typedef struct { /* a product; `height` rows are multiplied at a time */
    const float *left;
    long row, column, block, height; /* in floats from a row to the next, from a column, from a block of rows */
    const Matrix *matrix;
    long first, count; /* where the summed index begins in the matrix, and how far it runs */
} Factors;
typedef struct {
    float *h, *copy, *read[READERS], *a; /* copy: h, rounded; what each reads: the copy, or one with a mask */
    Matrix matrix[READERS][2];           /* the weights of each, and transposed */
} Layer;

typedef struct { /* a part on its way */
    const Window *w;
    Layer *layers;
    float *d, *sums, *masked, *left, *right; /* d; sums of products [R, P or Q] or [P, P or Q]; blocks for dV, dU, dW */
    long padded, wide, half, tiles; /* P; Q; how many rounded numbers lie in a float; whether there are tiles */
    long width;                     /* of the packed factors for dV, dU and dW: places, or pairs of places */
    long time, layer;               /* the present ones */
} Part;

/* out [rows, vectors] += left [rows, K] times a panel [K, vectors]; the rows of `out` are `line` floats apart */
INLINE void multiply(int bfloat16, const Factors *f, const float *left, const float *panel, float *out, long line,
                     long rows, long vectors) {
    vector sum[ROWS][VECTORS];
    EACH(r, rows) EACH(v, vectors) sum[r][v] = *(const vector *)(out + r * line + v * WIDTH);
    for (long k = 0; k < f->count; k++, panel += vectors * WIDTH, left += f->column) {
#ifdef __AVX512BF16__
        if (bfloat16) /* two bfloat16 of a row of `left`, and of a column of the panel, take the place of a float */
            EACH(r, rows) {
                const __m512bh pair = (__m512bh)_mm512_set1_ps(left[r * f->row]);
                EACH(v, vectors) sum[r][v] = (vector)_mm512_dpbf16_ps(
                    (__m512)sum[r][v], pair, (__m512bh)_mm512_loadu_ps(panel + v * WIDTH));
            }
        else
#endif
            EACH(r, rows) EACH(v, vectors)
                sum[r][v] = FMA(splat(left[r * f->row]), *(const vector *)(panel + v * WIDTH), sum[r][v]);
    }
    EACH(r, rows) EACH(v, vectors) *(vector *)(out + r * line + v * WIDTH) = sum[r][v];
}

/* The same for numbers of rows and vectors that the compiler knows, so that the sums lie in registers. */
static void multiply_block(int bfloat16, const Factors *f, const float *left, const float *panel, float *out, long line,
                           long rows, long vectors) {
#define CASE(r, v) case 8 * r + v: return multiply(bfloat16, f, left, panel, out, line, r, v);
#define CASES(v) CASE(1, v) CASE(2, v) CASE(3, v) CASE(4, v) CASE(5, v) CASE(6, v)
    switch (8 * rows + vectors) {
        CASES(1) CASES(2)
#if VECTORS == 4
        CASES(3) CASES(4)
#endif
    }
}

#ifdef __AMX_BF16__
static void use_tiles(const Part *p, int begin) { /* eight of 16 rows of 64 bytes, or none any more */
    const struct { uint8_t palette, start, unused[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {
        1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (p->tiles && begin) _tile_loadconfig(&tiles);
    else if (p->tiles) _tile_release();
}

/* The same as `multiply` for TILES rows, by tiles of 16 rows and 16 columns, four at a time. */
static void multiply_tiles(const Factors *f, const float *left, const float *panel, float *out, long line,
                           long vectors) {
    const long stride = 4 * f->row, row = 4 * vectors * WIDTH; /* bytes */
    for (long v = 0; v < vectors; v += 2, out += 2 * WIDTH) {
        const char *a = (const char *)left, *b = (const char *)(panel + v * WIDTH);
        _tile_loadd(0, out, 4 * line); _tile_loadd(1, out + WIDTH, 4 * line);
        _tile_loadd(2, out + 16 * line, 4 * line); _tile_loadd(3, out + 16 * line + WIDTH, 4 * line);
        for (long k = 0; k < f->count; k += 16, a += 64 * f->column, b += 16 * row) {
            _tile_loadd(4, a, stride); _tile_loadd(5, a + 16 * stride, stride);
            _tile_loadd(6, b, row); _tile_loadd(7, b + 64, row);
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, out, 4 * line); _tile_stored(1, out + WIDTH, 4 * line);
        _tile_stored(2, out + 16 * line, 4 * line); _tile_stored(3, out + 16 * line + WIDTH, 4 * line);
    }
}
#else
#define use_tiles(p, begin) (void)0
#endif

/* Add a product to so many rows of p->sums, which have as many columns as the matrix. */
static void add_product(const Part *p, const Factors *f, long rows) {
    const long line = f->matrix->columns, height = f->height;
    for (long column = 0; column < line; column += COLUMNS) {
        const long vectors = LEAST(line - column, COLUMNS) / WIDTH;
        const float *panel = f->matrix->panels + column * f->matrix->width + f->first * vectors * WIDTH;
        const float *left = f->left;
        for (long row = 0; row < rows; row += height, left += f->block) {
            float *out = p->sums + row * line + column;
#ifdef __AMX_BF16__
            if (p->tiles) multiply_tiles(f, left, panel, out, line, vectors);
            else
#endif
            multiply_block(p->w->bfloat16, f, left, panel, out, line, LEAST(rows - row, height), vectors);
        }
    }
}

#define ROUNDED(array, numbers) ((array) + (numbers) / p->half) /* a place in a rounded array */
#define EACH_VECTOR(at, columns) for (long at = 0; at < (columns); at += WIDTH)

/* The mask through which the present layer's h is read, for a row, or NULL. */
INLINE const float *mask_of(const Part *p, int reader, long row) {
    const Window *w = p->w;
    const float *masks[] = {w->recurrent_mask, w->layer_mask, w->output_mask};
    if (!masks[reader] || (reader == LOGITS && p->time < 0)) return NULL;
    if (reader != LOGITS) return masks[reader] + (p->layer * w->rows + row) * w->units;
    const long all = w->skips ? w->layers : 1, before = w->skips ? p->layer : 0;
    return masks[reader] + ((p->time * w->rows + row) * all + before) * w->units;
}

/* Add the rows of a rounded array times a matrix to the sums; through masks, one a row, if it goes back by them. */
static void add_rows(Part *p, const float *left, const Matrix *matrix, const float *mask, int reader) {
    const long rows = p->w->rows, blocks = (rows + ROWS - 1) / ROWS, width = matrix->width;
    const long height = p->tiles ? TILES : (rows + blocks - 1) / blocks; /* blocks are alike, but for the last */
    float *sums = p->sums;
    if (mask) p->sums = memset(p->masked, 0, 4 * rows * p->padded);
    add_product(p, &(Factors){left, width, 1, height * width, height, matrix, 0, width}, rows);
    p->sums = sums;
    if (mask) EACH(r, rows) EACH_VECTOR(at, p->padded) *(vector *)(sums + r * p->padded + at) +=
        *(vector *)(p->masked + r * p->padded + at) * load(mask_of(p, reader, r) + at, p->w->units - at);
}

/* Write a row of the h that comes after the present time for its readers. */
static void write_copies(const Part *p, long row) {
    const Layer *l = p->layers + p->layer;
    const long place = ((p->time + 1) * p->w->rows + row) * p->padded;
    const vector *h = (const vector *)(l->h + place);
    if (l->copy != l->h) EACH_VECTOR(at, p->padded) store_rounded(l->copy, place + at, h[at / WIDTH], 1);
    EACH(reader, READERS) if (l->read[reader] != l->copy) {
        const float *mask = mask_of(p, reader, row);
        EACH_VECTOR(at, p->padded) {
            const vector factor = mask ? load(mask + at, p->w->units - at) : splat(1);
            store_rounded(l->read[reader], place + at, h[at / WIDTH] * factor, p->w->bfloat16);
        }
    }
}

INLINE long table_row(const Part *p, long row) { /* where the row of a character begins in the table of the layer */
    return p->layer == 0 || p->w->skips ? p->w->ids[p->time * p->w->rows + row] * p->w->units : 0;
}

/* Return the loss of a row of logits, the sums of W; put its d in their place. */
static float lose(Part *p, long row) {
    const Window *w = p->w;
    const float *bias = w->weights[4 * w->layers], warmth = 1 / w->temperature, hard = w->soft ? 1 - w->soft_weight : 1;
    const long place = p->time * w->rows + row, target = w->ids[place + w->rows], N = w->characters;
    float *z = p->sums + row * p->wide, *d_bias = w->gradients[4 * w->layers], top = -1e30f, sum[2] = {0};
    EACH(n, p->wide) z[n] = n < N ? z[n] + bias[n] : -1e30f; /* probability 0 */
    EACH(n, N) top = z[n] > top ? z[n] : top;
    const float of_target = z[target] - top;
    vector sums[2] = {{0}, {0}};
    EACH_VECTOR(n, p->wide) {
        vector *x = (vector *)(z + n);
        sums[0] += exp_of(*x - top);
        *x = exp_of((*x - top) * warmth);
        sums[1] += *x;
    }
    EACH(i, WIDTH) sum[0] += sums[0][i], sum[1] += sums[1][i];
    EACH_VECTOR(n, p->wide) {
        vector d = *(vector *)(z + n) / sum[1];
        if (w->soft) d -= load(w->soft + place * N + n, N - n) * w->soft_weight;
        if (target >= n && target < n + WIDTH) d[target - n] -= hard;
        d *= w->share / (w->time * w->rows) * warmth;
        store_rounded(p->d, place * p->wide + n, d, w->bfloat16);
        store(d_bias + n, load(d_bias + n, N - n) + d, N - n);
    }
    return logf(sum[0]) - of_target;
}

static void read_by(Part *p, long layer, int reader, long time) { /* add what a reader makes of a layer's h */
    const Layer *l = p->layers + layer;
    add_rows(p, ROUNDED(l->read[reader], time * p->w->rows * p->padded), &l->matrix[reader][0], NULL, reader);
}

static double forward(Part *p) {
    const Window *w = p->w;
    const long padded = p->padded, units = w->units;
    const int f = w->activation;
    double loss = 0;
    for (p->time = 0; p->time < w->time; p->time++) {
        for (p->layer = 0; p->layer < w->layers; p->layer++) {
            memset(p->sums, 0, 4 * w->rows * padded);
            read_by(p, p->layer, RECURRENT, p->time);
            if (p->layer) read_by(p, p->layer - 1, ABOVE, p->time + 1);
            EACH(r, w->rows) {
                const float *table = w->weights[4 * p->layer] + table_row(p, r), *sums = p->sums + r * padded;
                float *h = p->layers[p->layer].h + ((p->time + 1) * w->rows + r) * padded;
                EACH_VECTOR(at, padded)
                    *(vector *)(h + at) = activate(f, *(vector *)(sums + at) + load(table + at, units - at));
                write_copies(p, r);
            }
        }
        memset(p->sums, 0, 4 * w->rows * p->wide);
        EACH(i, w->layers) if (w->weights[4 * i + 1 + LOGITS]) read_by(p, i, LOGITS, p->time + 1);
        EACH(r, w->rows) loss += lose(p, r);
    }
    return loss;
}

static void backward(Part *p) {
    const Window *w = p->w;
    const long padded = p->padded, units = w->units;
    const int f = w->activation;
    for (p->time = w->time - 1; p->time >= 0; p->time--)
        for (p->layer = w->layers - 1; p->layer >= 0; p->layer--) {
            const Layer *l = p->layers + p->layer;
            memset(p->sums, 0, 4 * w->rows * padded);
            for (int reader = LOGITS; reader >= RECURRENT; reader--) {
                const long row = (p->time + (reader == RECURRENT)) * w->rows;
                if (!w->weights[4 * p->layer + 1 + reader] || row == w->time * w->rows) continue;
                const float *a = reader == LOGITS ? ROUNDED(p->d, row * p->wide) : ROUNDED(l[reader].a, row * padded);
                add_rows(p, a, &l->matrix[reader][1], mask_of(p, reader, 0), reader);
            }
            EACH(r, w->rows) {
                const long place = (p->time * w->rows + r) * padded;
                const float *h = l->h + place + w->rows * padded, *sums = p->sums + r * padded;
                float *table = w->gradients[4 * p->layer] + table_row(p, r);
                EACH_VECTOR(at, padded) {
                    const vector a = *(vector *)(sums + at) * slope(f, *(const vector *)(h + at));
                    store_rounded(l->a, place + at, a, w->bfloat16);
                    store(table + at, load(table + at, units - at) + a, units - at);
                }
            }
        }
}

/* Pack a matrix in panels of `wide` columns, row by row, zeros beyond it; bfloat16 two rows at a time, side by side.
   Element (k, c) is the number `k * down + c * right` of an array. */
INLINE void pack(const Matrix *m, long wide, const float *from, long rows, long columns, long down, long right,
                 int bfloat16) {
    const uint16_t *halves = (const uint16_t *)from;
    EACH(k, m->width) for (long column = 0; column < m->columns; column += wide) {
        const long first = bfloat16 ? 2 * k : k, place = first * down + column * right;
        const long width = LEAST(m->columns - column, wide), used = first < rows ? LEAST(columns - column, width) : 0;
        float *to = m->panels + column * m->width + k * width;
        if (used < width) memset(to, 0, 4 * width);
        if (bfloat16) EACH(c, used) ((uint32_t *)to)[c] = halves[place + c * right]
            | (first + 1 < rows ? (uint32_t)halves[place + c * right + down] << 16 : 0);
        else if (used == wide) EACH(c, wide) to[c] = from[place + c * right]; /* a number that the compiler knows */
        else EACH(c, used) to[c] = from[place + c * right];
    }
}

/* Pack a block of a left factor for dV, dU or dW: ROWS of its columns side by side; or of TILES, 16 pairs of each. */
static Factors pack_left(const Part *p, const float *left, long first, long places, const Matrix *right) {
    const long P = p->padded, count = LEAST(p->width - first, BLOCK);
    places -= first * p->half;
    left += first * P;
    if (!p->tiles) {
        pack(&(Matrix){count, (P + ROWS - 1) / ROWS * ROWS, p->left}, ROWS, left, places, P, P, 1, p->w->bfloat16);
        return (Factors){p->left, 1, ROWS, ROWS * count, ROWS, right, first, count};
    }
    const uint16_t *from = (const uint16_t *)left;
    uint32_t *to = (uint32_t *)p->left;
    for (long row = 0; row < P; row += TILES) for (long k = 0; k < count; k += 16) EACH(r, TILES) EACH(pair, 16) {
        const long place = 2 * (k + pair), i = place * P + row + r;
        *to++ = (place < places ? from[i] : 0) | (place + 1 < places ? (uint32_t)from[i + P] << 16 : 0);
    }
    return (Factors){p->left, 16, TILES, TILES * count, TILES, right, first, count};
}

/* The gradient of the weights of each reader of each layer: left^T right, added up over all places. */
static void gradients_of_weights(Part *p) {
    const Window *w = p->w;
    const long places = w->time * w->rows, width = p->width, P = p->padded, Q = p->wide;
    float *right_of[] = {p->right, p->right + width * P, p->right + 2 * width * P};
    const Matrix rights[] = {{width, P, right_of[0]}, {width, P, right_of[1]}, {width, Q, right_of[2]}};
    pack(&rights[2], COLUMNS, p->d, places, Q, Q, 1, w->bfloat16);
    for (long i = w->layers - 1; i >= 0; i--) {
        pack(&rights[i % 2], COLUMNS, p->layers[i].a, places, P, P, 1, w->bfloat16); /* the a above stays packed */
        EACH(reader, READERS) {
            const Matrix *right = &rights[reader == LOGITS ? 2 : (i + reader) % 2];
            const float *left = ROUNDED(p->layers[i].read[reader], reader == RECURRENT ? 0 : w->rows * P);
            const long columns = reader == LOGITS ? w->characters : w->units;
            float *gradient = w->gradients[4 * i + 1 + reader];
            if (!gradient) continue;
            memset(p->sums, 0, 4 * P * right->columns);
            for (long first = 0; first < width; first += BLOCK) {
                const Factors block = pack_left(p, left, first, places, right);
                add_product(p, &block, w->units);
            }
            EACH(r, w->units) memcpy(gradient + r * columns, p->sums + r * right->columns, 4 * columns);
        }
    }
}

static float *take(float *memory, long *used, long floats) { /* the next floats of the memory, or of none */
    float *taken = memory ? memory + *used : NULL;
    *used += (floats + 15) / 16 * 16;
    return taken;
}

/* Lay out the packed weights and what a part works with, if there is memory; sizes: how many floats both are. */
static Part lay_out(const Window *w, Layer *layers, float *packed, float *work, long sizes[2]) {
    Part p = {.w = w, .layers = layers, .half = w->bfloat16 ? 2 : 1};
#ifdef __AMX_BF16__ /* if Linux allows it */
    p.tiles = w->bfloat16 && !syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XFEATURE_XTILEDATA */);
#endif
    const long unit = p.tiles ? 32 : WIDTH, P = p.padded = (w->units + unit - 1) / unit * unit;
    const long Q = p.wide = (w->characters + unit - 1) / unit * unit, longer = P > Q ? P : Q;
    const long places = (w->time + 1) * w->rows;
    sizes[0] = sizes[1] = 0;
    for (p.layer = 0; p.layer < w->layers; p.layer++) {
        Layer *l = layers + p.layer;
        l->h = take(work, &sizes[1], places * P);
        l->copy = w->bfloat16 ? take(work, &sizes[1], places * P / 2) : l->h;
        l->a = take(work, &sizes[1], places * P / p.half);
        EACH(reader, READERS) {
            const long shape[] = {P, reader == LOGITS ? Q : P}, is_read = w->weights[4 * p.layer + 1 + reader] != NULL;
            const int is_masked = is_read && mask_of(&p, reader, 0);
            l->read[reader] = is_masked ? take(work, &sizes[1], places * P / p.half) : l->copy;
            if (is_read) EACH(way, 2) l->matrix[reader][way] = (Matrix){
                shape[way] / p.half, shape[1 - way], take(packed, &sizes[0], P * shape[1] / p.half)};
        }
    }
    p.d = take(work, &sizes[1], places * Q / p.half);
    p.sums = take(work, &sizes[1], longer * ((w->rows > P ? w->rows : P) + TILES));
    p.masked = take(work, &sizes[1], (w->rows + TILES) * P);
    p.width = (w->time * w->rows + p.half * unit - 1) / (p.half * unit) * unit;
    p.left = take(work, &sizes[1], (P + ROWS) * LEAST(p.width, BLOCK));
    p.right = take(work, &sizes[1], (2 * P + Q) * p.width);
    take(work, &sizes[1], TILES * longer); /* tiles may end beyond the last row */
    return p;
}

/* Pack the weights, for all parts of a step; return how many floats it takes, or just this if there is no memory.
   V, U and W are bfloat16 if products are. */
long pack_weights(const Window *w, float *packed) {
    Layer layers[w->layers];
    long sizes[2];
    lay_out(w, layers, packed, NULL, sizes);
    EACH(i, w->layers * READERS) {
        const long columns = i % READERS == LOGITS ? w->characters : w->units;
        const float *weights = w->weights[4 * (i / READERS) + 1 + i % READERS];
        const Matrix *m = layers[i / READERS].matrix[i % READERS];
        if (!weights || !packed) continue;
        pack(&m[0], COLUMNS, weights, w->units, columns, columns, 1, w->bfloat16);
        pack(&m[1], COLUMNS, weights, columns, w->units, 1, columns, w->bfloat16);
    }
    return sizes[0];
}

/* Compute the loss of a part, the gradients, which are 0 before, and the last state; return as `pack_weights` does. */
long run(const Window *w, float *packed, float *work) {
    Layer layers[w->layers];
    long sizes[2];
    Part p = lay_out(w, layers, packed, work, sizes);
    if (!work) return sizes[1];
    use_tiles(&p, 1);
    p.time = -1;
    for (p.layer = 0; p.layer < w->layers; p.layer++) EACH(r, w->rows) {
        EACH_VECTOR(at, p.padded) *(vector *)(layers[p.layer].h + r * p.padded + at) =
            load(w->state + (p.layer * w->rows + r) * w->units + at, w->units - at);
        write_copies(&p, r);
    }
    *w->loss = forward(&p) * w->share / (w->time * w->rows);
    backward(&p);
    gradients_of_weights(&p);
    EACH(i, w->layers) EACH(r, w->rows) memcpy(w->last + (i * w->rows + r) * w->units,
        layers[i].h + (w->time * w->rows + r) * p.padded, 4 * w->units);
    use_tiles(&p, 0);
    return sizes[1];
}

/* Whether `bfloat16` means anything: whether this was compiled for a processor that multiplies it. */
const int has_bfloat16 = BFLOAT16;
