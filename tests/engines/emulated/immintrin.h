/* What kernel.c uses of AVX2, AVX-512, AVX512-BF16 and AMX, in portable C, so that every machine can test these paths.

   This file takes the place of the compiler's own, by -I; the macros by which kernel.c knows a processor are given by
   -D. What the functions compute is written in the Intel Intrinsics Guide; the order of sums, rounding and faults in
   the Intel 64 and IA-32 Architectures Software Developer's Manual. A fault of the processor is a call of abort(). */

#ifndef EMULATED_IMMINTRIN_H
#define EMULATED_IMMINTRIN_H

#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h> /* both before the macro `syscall` */
#include <unistd.h>

#define EMULATED(type) static inline __attribute__((unused)) type
#define EMULATED_VECTOR(bytes) __attribute__((vector_size(bytes), may_alias))

typedef float __m256 EMULATED_VECTOR(32);
typedef float __m512 EMULATED_VECTOR(64);
typedef int64_t __m256i EMULATED_VECTOR(32);
typedef uint16_t __m256bh EMULATED_VECTOR(32);
typedef uint16_t __m512bh EMULATED_VECTOR(64);

/* FMA and AVX-512 */

EMULATED(__m256) _mm256_fmadd_ps(__m256 a, __m256 b, __m256 c) {
    for (int i = 0; i < 8; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}

EMULATED(__m512) _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
    for (int i = 0; i < 16; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}

EMULATED(void) _mm256_storeu_si256(void *to, __m256i v) { memcpy(to, &v, sizeof v); }

/* AVX512-BF16. Sums round to nearest even; denormals, given or computed, are zeros of their sign. */

EMULATED(float) emulated_flush(float x) { return __builtin_fabsf(x) < FLT_MIN ? __builtin_copysignf(0, x) : x; }

EMULATED(float) emulated_float(uint16_t bfloat16) {
    const uint32_t bits = (uint32_t)bfloat16 << 16;
    float x;
    memcpy(&x, &bits, 4);
    return emulated_flush(x);
}

EMULATED(float) emulated_sum(uint16_t a, uint16_t b, float sum) { /* a b + sum, rounded once */
    return emulated_flush(__builtin_fmaf(emulated_float(a), emulated_float(b), emulated_flush(sum)));
}

EMULATED(__m512) _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) { /* the second product of a pair comes first */
    for (int i = 0; i < 16; i++)
        sum[i] = emulated_sum(a[2 * i], b[2 * i], emulated_sum(a[2 * i + 1], b[2 * i + 1], sum[i]));
    return sum;
}

EMULATED(__m256bh) _mm512_cvtneps_pbh(__m512 v) {
    __m256bh rounded;
    for (int i = 0; i < 16; i++) {
        const float x = emulated_flush(v[i]);
        uint32_t bits;
        memcpy(&bits, &x, 4);
        if (x != x) rounded[i] = bits >> 16 | 0x40; /* a quiet NaN: rounded up, some would become zero */
        else rounded[i] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
    return rounded;
}

/* AMX: tiles of up to 16 rows of up to 64 bytes. Each thread has its own. */

typedef struct {
    int rows, bytes; /* 0 = not configured */
    uint8_t row[16][64];
} emulated_tile;

static int emulated_permission; /* of the process */
static __thread emulated_tile emulated_tiles[8];

/* A number of a tile is a part of the instruction, so it must be a literal from 0 to 7. */
enum { EMULATED_TILE_0, EMULATED_TILE_1, EMULATED_TILE_2, EMULATED_TILE_3,
       EMULATED_TILE_4, EMULATED_TILE_5, EMULATED_TILE_6, EMULATED_TILE_7 };
#define EMULATED_TILE(number) (emulated_tiles + EMULATED_TILE_##number)

EMULATED(void) emulated_check(int holds) {
    if (!holds) abort();
}

/* Linux lets a process use tiles once it has asked for them: Documentation/arch/x86/xstate.rst. */
#ifndef SYS_arch_prctl
#define SYS_arch_prctl 158
#endif
#define syscall emulated_syscall
EMULATED(long) emulated_syscall(long number, int code, int feature) { /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    emulated_check(number == SYS_arch_prctl && code == 0x1023 && feature == 18); /* nothing else is emulated */
#ifdef EMULATED_REFUSAL
    return -1;
#endif
    __atomic_store_n(&emulated_permission, 1, __ATOMIC_RELAXED);
    return 0;
}

EMULATED(void) _tile_release(void) { memset(emulated_tiles, 0, sizeof emulated_tiles); }

EMULATED(void) _tile_loadconfig(const void *from) {
    struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } config;
    memcpy(&config, from, sizeof config);
    emulated_check(__atomic_load_n(&emulated_permission, __ATOMIC_RELAXED));
    emulated_check(config.palette == 1 && config.start == 0);
    for (int i = 0; i < 14; i++) emulated_check(config.reserved[i] == 0);
    _tile_release();
    for (int i = 0; i < 16; i++) {
        emulated_check(config.bytes[i] <= 64 && config.rows[i] <= 16 && !config.bytes[i] == !config.rows[i]);
        emulated_check(i < 8 || !config.rows[i]);
        if (i < 8) emulated_tiles[i].rows = config.rows[i], emulated_tiles[i].bytes = config.bytes[i];
    }
}

EMULATED(void) emulated_zero(emulated_tile *tile) {
    emulated_check(tile->rows);
    memset(tile->row, 0, sizeof tile->row);
}

EMULATED(void) emulated_load(emulated_tile *tile, const void *from, long stride) {
    emulated_zero(tile);
    for (int m = 0; m < tile->rows; m++) memcpy(tile->row[m], (const char *)from + m * stride, tile->bytes);
}

EMULATED(void) emulated_store(const emulated_tile *tile, void *to, long stride) {
    emulated_check(tile->rows);
    for (int m = 0; m < tile->rows; m++) memcpy((char *)to + m * stride, tile->row[m], tile->bytes);
}

/* c += a b, where a row of b has pairs of rows of the matrix. The first and the second products of the pairs have sums
   of their own, which come to c at the end. */
EMULATED(void) emulated_multiply(emulated_tile *c, const emulated_tile *a, const emulated_tile *b) {
    emulated_check(c != a && c != b && a != b);
    emulated_check(c->rows && c->rows == a->rows && c->bytes == b->bytes && a->bytes == 4 * b->rows);
    for (int m = 0; m < c->rows; m++) {
        float sums[32] = {0}, out[16];
        for (int k = 0; k < a->bytes / 4; k++) {
            uint16_t left[2], right[32];
            memcpy(left, a->row[m] + 4 * k, 4);
            memcpy(right, b->row[k], 64);
            for (int n = 0; n < c->bytes / 2; n++) sums[n] = emulated_sum(left[n % 2], right[n], sums[n]);
        }
        memcpy(out, c->row[m], 64);
        for (int n = 0; n < c->bytes / 4; n++)
            out[n] = emulated_flush(emulated_flush(out[n]) + emulated_flush(sums[2 * n] + sums[2 * n + 1]));
        memcpy(c->row[m], out, 64);
    }
}

#define EMULATED_LOAD(tile, from, stride) emulated_load(EMULATED_TILE(tile), from, stride)
#define EMULATED_STORE(tile, to, stride) emulated_store(EMULATED_TILE(tile), to, stride)
#define EMULATED_MULTIPLY(c, a, b) emulated_multiply(EMULATED_TILE(c), EMULATED_TILE(a), EMULATED_TILE(b))
#define _tile_loadd(tile, from, stride) EMULATED_LOAD(tile, from, stride)
#define _tile_stored(tile, to, stride) EMULATED_STORE(tile, to, stride)
#define _tile_dpbf16ps(c, a, b) EMULATED_MULTIPLY(c, a, b)

#endif
