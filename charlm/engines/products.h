/* Vectors and matrix products. The columns of the right matrix are packed into panels.

   A panel holds COLUMNS columns, row by row, so a row of a panel fills VECTORS vector registers.
   `add_product` keeps the sums of a block of rows in registers while it reads a panel. Every sum
   adds its terms in index order, whatever the size of the blocks, so results repeat to the bit.

   With bfloat16, both factors are rounded to bfloat16 and the sums are float32. Two bfloat16 share
   the space of a float: the left matrix holds pairs of neighbouring columns, and a panel holds
   pairs of neighbouring rows. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif
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
#define WIDTH 16  /* floats in a vector */
#define VECTORS 4 /* vectors in a row of a panel */
#define FMA(a, b, c) (vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)) /* a b + c, rounded once */
#elif defined(__FMA__)
#define WIDTH 8
#define VECTORS 2
#define FMA(a, b, c) (vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#else
#define WIDTH 4
#define VECTORS 4
#define FMA(a, b, c) ((a) * (b) + (c))
#endif
#define ROWS 6   /* rows of a block: its sums fill the registers */
#define TILES 32 /* most rows of a block on a processor with tiles (AMX) */
#define COLUMNS (WIDTH * VECTORS)

typedef float vector __attribute__((vector_size(4 * WIDTH)));
typedef float loose __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * WIDTH)));
#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) for (long i = 0; i < (n); i++)
#define EACH_VECTOR(at, columns) for (long at = 0; at < (columns); at += WIDTH)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

INLINE vector splat(float x) { return x - (vector){0}; }
INLINE vector choose(integers i, vector a, vector b) { return (vector)(((integers)a & i) | ((integers)b & ~i)); }
INLINE long round_up(long count, long unit) { return (count + unit - 1) / unit * unit; }

/* Load a vector; if fewer than WIDTH numbers are left, fill it up with zeros. */
INLINE vector load(const float *from, long left) {
    vector v = {0};
    if (left >= WIDTH) return *(const loose *)from;
    if (left > 0) memcpy(&v, from, 4 * left);
    return v;
}

/* Store a vector, or its first numbers if fewer than WIDTH are left. */
INLINE void store(float *to, vector v, long left) {
    if (left >= WIDTH) *(loose *)to = v;
    else if (left > 0) memcpy(to, &v, 4 * left);
}

INLINE float sum_of(vector v) {
    float sum = 0;
    EACH(i, WIDTH) sum += v[i];
    return sum;
}

/* Store a whole vector at an index of an array of bfloat16 or float32 numbers. */
INLINE void store_rounded(float *to, long index, vector v, int bfloat16) {
#ifdef __AVX512BF16__
    if (bfloat16) {
        _mm256_storeu_si256((__m256i *)((uint16_t *)to + index), (__m256i)_mm512_cvtneps_pbh((__m512)v));
        return;
    }
#endif
    *(loose *)(to + index) = v;
}

/* Treat denormal numbers as zero in this thread: they are many times slower than other numbers, and
   too small to matter. Return the previous mode for `restore_denormals`. */
static unsigned long flush_denormals(void) {
    unsigned long before = 0;
#if defined(__SSE__)
    before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | 1UL << 24));
#endif
    return before;
}

static void restore_denormals(unsigned long before) {
#if defined(__SSE__)
    _mm_setcsr(before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

typedef struct {
    int bfloat16; /* whether the factors of products are bfloat16 */
    int tiles;    /* whether the processor multiplies bfloat16 in tiles */
    long half;    /* numbers of a factor in the space of a float: 2 for bfloat16, else 1 */
    long unit;    /* rows and columns are padded to a multiple of this number */
} Format;

static Format format_of(int bfloat16) {
    Format format = {.bfloat16 = bfloat16, .half = bfloat16 ? 2 : 1};
#ifdef __AMX_BF16__ /* Linux must allow tiles */
    format.tiles = bfloat16 && !syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XFEATURE_XTILEDATA */);
#endif
    format.unit = format.tiles ? TILES : WIDTH;
    return format;
}

/* A packed matrix. */
typedef struct {
    long depth;   /* number of rows, or of pairs of rows */
    long columns; /* a multiple of WIDTH */
    float *panels;
} Packed;

/* A product of a left matrix with a packed right matrix. Strides are in floats. */
typedef struct {
    const float *left;
    long row, column, block; /* strides from one row, column or block of rows of `left` to the next */
    long height;             /* rows in a block */
    const Packed *right;
    long first, depth; /* first row of `right` to multiply, and number of rows */
} Product;

/* Pack a matrix [rows, columns] of factors; add zeros for missing rows. */
INLINE void pack(const Packed *m, const float *from, long rows, int bfloat16) {
    const long depth = m->depth, columns = m->columns;
    EACH(k, depth) for (long column = 0; column < columns; column += COLUMNS) {
        const long width = MIN(columns - column, COLUMNS);
        const long row = bfloat16 ? 2 * k : k;
        const long place = row * columns + column;
        float *to = m->panels + column * depth + k * width;
        if (row >= rows) memset(to, 0, 4 * width);
        else if (!bfloat16) memcpy(to, from + place, 4 * width);
        else {
            const uint16_t *first = (const uint16_t *)from + place, *second = first + columns;
            uint32_t *pairs = (uint32_t *)to;
            if (row + 1 < rows) EACH(c, width) pairs[c] = first[c] | (uint32_t)second[c] << 16;
            else EACH(c, width) pairs[c] = first[c];
        }
    }
}

/* Transpose a matrix [rows, columns] of floats, in blocks that fit into the first cache. */
INLINE void transpose(float *to, long to_stride, const float *from, long from_stride, long rows, long columns) {
    for (long row = 0; row < rows; row += 16) for (long column = 0; column < columns; column += 16) {
        const long height = MIN(16, rows - row), width = MIN(16, columns - column);
        const float *source = from + row * from_stride + column;
        float *target = to + column * to_stride + row;
        if (height == 16 && width == 16) /* sizes that the compiler knows are faster */
            EACH(j, 16) EACH(i, 16) target[j * to_stride + i] = source[i * from_stride + j];
        else EACH(j, width) EACH(i, height) target[j * to_stride + i] = source[i * from_stride + j];
    }
}

/* Pack the transpose of a matrix [rows, columns] of floats or pairs. */
static void pack_transposed(const Packed *m, const float *from) {
    const long rows = m->columns, columns = m->depth;
    for (long row = 0; row < rows; row += COLUMNS) {
        const long width = MIN(rows - row, COLUMNS);
        transpose(m->panels + row * columns, width, from + row * columns, columns, width, columns);
    }
}

/* Copy an array of floats, rounded if factors are bfloat16; its size is a multiple of WIDTH. */
static void round_factor(const Format *format, float *to, const float *from, long count) {
    EACH_VECTOR(at, count) store_rounded(to, at, *(const vector *)(from + at), format->bfloat16);
}

/* Add left [rows, depth] times a panel [depth, vectors] to sums [rows, vectors]; `stride` separates
   the rows of the sums. */
INLINE void multiply(int bfloat16, const Product *p, const float *left, const float *panel, float *sums, long stride,
                     long rows, long vectors) {
    vector sum[ROWS][VECTORS];
    EACH(r, rows) EACH(v, vectors) sum[r][v] = *(const vector *)(sums + r * stride + v * WIDTH);
    for (long k = 0; k < p->depth; k++, panel += vectors * WIDTH, left += p->column) {
        vector right[VECTORS];
        EACH(v, vectors) right[v] = *(const loose *)(panel + v * WIDTH);
        EACH(r, rows) {
            const vector factor = splat(left[r * p->row]); /* with bfloat16, a pair */
#ifdef __AVX512BF16__
            if (bfloat16) EACH(v, vectors)
                sum[r][v] = (vector)_mm512_dpbf16_ps((__m512)sum[r][v], (__m512bh)factor, (__m512bh)right[v]);
            else
#endif
            EACH(v, vectors) sum[r][v] = FMA(factor, right[v], sum[r][v]);
        }
    }
    EACH(r, rows) EACH(v, vectors) *(vector *)(sums + r * stride + v * WIDTH) = sum[r][v];
}

/* Call `multiply` with constant numbers of rows and vectors, so that the sums stay in registers. */
static void multiply_block(int bfloat16, const Product *p, const float *left, const float *panel, float *sums,
                           long stride, long rows, long vectors) {
#define CASE(b, r, v) case 64 * b + 8 * r + v: return multiply(b, p, left, panel, sums, stride, r, v);
#define CASES(b, v) CASE(b, 1, v) CASE(b, 2, v) CASE(b, 3, v) CASE(b, 4, v) CASE(b, 5, v) CASE(b, 6, v)
    switch (64 * bfloat16 + 8 * rows + vectors) {
        CASES(0, 1) CASES(0, 2)
#if VECTORS == 4
        CASES(0, 3) CASES(0, 4)
#endif
#ifdef __AVX512BF16__
        CASES(1, 1) CASES(1, 2) CASES(1, 3) CASES(1, 4)
#endif
    }
}

#ifdef __AMX_BF16__
static __thread long tile_rows; /* rows of a block for which the tiles of this thread are set up; 0 = none */

/* Set up eight tiles for blocks of some rows: 0 to 3 for the sums, 4 and 5 for the left matrix, 6 and
   7 for the right matrix. Up to 16 rows are in the upper tiles, the others in the lower tiles. */
static void set_tiles(long rows) {
    if (rows == tile_rows) return;
    const uint8_t upper = MIN(rows, 16), lower = rows - upper;
    const struct { uint8_t palette, start, unused[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {
        1, 0, {0}, {64, 64, 64 * !!lower, 64 * !!lower, 64, 64 * !!lower, 64, 64},
        {upper, upper, lower, lower, upper, lower, 16, 16}};
    __asm__ volatile("" : : "r"(&tiles) : "memory"); /* gcc 12 believes that only 8 bytes are read */
    _tile_loadconfig(&tiles);
    tile_rows = rows;
}

static void end_tiles(void) {
    if (tile_rows) _tile_release();
    tile_rows = 0;
}

/* Do the work of `multiply` for up to TILES rows, with tiles of up to 16 rows and 16 columns. */
static void multiply_tiles(const Product *p, const float *left, const float *panel, float *sums, long stride,
                           long rows, long vectors) {
    const long left_bytes = 4 * p->row, panel_bytes = 4 * vectors * WIDTH, sums_bytes = 4 * stride;
    const int has_lower = rows > 16;
    set_tiles(rows);
    for (long v = 0; v < vectors; v += 2, sums += 2 * WIDTH) {
        float *lower = sums + 16 * stride;
        const char *a = (const char *)left, *b = (const char *)(panel + v * WIDTH);
        _tile_loadd(0, sums, sums_bytes);
        _tile_loadd(1, sums + WIDTH, sums_bytes);
        if (has_lower) _tile_loadd(2, lower, sums_bytes);
        if (has_lower) _tile_loadd(3, lower + WIDTH, sums_bytes);
        for (long k = 0; k < p->depth; k += 16, a += 64 * p->column, b += 16 * panel_bytes) {
            _tile_loadd(4, a, left_bytes);
            _tile_loadd(6, b, panel_bytes);
            _tile_loadd(7, b + 64, panel_bytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (!has_lower) continue;
            _tile_loadd(5, a + 16 * left_bytes, left_bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, sums, sums_bytes);
        _tile_stored(1, sums + WIDTH, sums_bytes);
        if (has_lower) _tile_stored(2, lower, sums_bytes);
        if (has_lower) _tile_stored(3, lower + WIDTH, sums_bytes);
    }
}
#else
#define end_tiles() (void)0
#endif

/* Add a product to sums [rows, columns of the right matrix].

   With `is_symmetric`, the blocks of rows above the diagonal are left out. */
static void add_product(const Format *format, const Product *p, float *sums, long rows, int is_symmetric) {
    const long stride = p->right->columns, height = p->height;
    for (long column = 0; column < stride; column += COLUMNS) {
        const long vectors = MIN(stride - column, COLUMNS) / WIDTH;
        const float *panel = p->right->panels + column * p->right->depth + p->first * vectors * WIDTH;
        const long top = is_symmetric ? column / height : 0; /* the first block of rows */
        const float *left = p->left + top * p->block;
        for (long row = top * height; row < rows; row += height, left += p->block) {
            float *block = sums + row * stride + column;
            const long block_rows = MIN(rows - row, height);
#ifdef __AMX_BF16__
            if (format->tiles) {
                multiply_tiles(p, left, panel, block, stride, block_rows, vectors);
                continue;
            }
#endif
            multiply_block(format->bfloat16, p, left, panel, block, stride, block_rows, vectors);
        }
    }
}

/* Add the product of contiguous rows with a packed matrix to sums; see `add_product`. All blocks of
   rows but the last have the same height. */
static void add_rows(const Format *format, const float *left, long rows, const Packed *right, float *sums,
                     int is_symmetric) {
    const long most = format->tiles ? TILES : ROWS;
    const long blocks = round_up(rows, most) / most;
    const long height = round_up(rows, blocks) / blocks;
    const Product p = {left, right->depth, 1, height * right->depth, height, right, 0, right->depth};
    add_product(format, &p, sums, rows, is_symmetric);
}

/* Memory that is divided among arrays; with a start of NULL, the arrays are only counted. */
typedef struct {
    float *start;
    long used; /* floats */
} Memory;

/* Return the next floats of the memory, aligned to 64 bytes; NULL if the memory has no start. */
static float *allocate(Memory *memory, long floats) {
    float *allocated = memory->start ? memory->start + memory->used : NULL;
    memory->used += round_up(floats, 16);
    return allocated;
}
