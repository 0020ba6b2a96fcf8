/* A step of Muon (Jordan et al. 2024) for a matrix of weights w with the gradient g and momentum m.

     m <- mu m + g,  x = g + mu m with Nesterov's acceleration, else m
     x <- x / |x|, then for each polynomial (a, b, c):  x <- (a I + b G + c G G) x,  G = x x^T
     w <- (1 - decay) w - rate x

   The polynomials move x to the nearest orthogonal matrix. G and G G are symmetric, so only their
   blocks on and below the diagonal are computed. With bfloat16, the factors of products are rounded;
   sums are float32.

   Axes: P the shorter side of the matrix, Q the longer side, both padded. A matrix with more rows
   than columns is transposed before the iterations and again after them. */

#include "products.h"

/* Copy the lower triangle of a square matrix, whose size is a multiple of WIDTH, to the upper
   triangle. */
static void mirror(float *square, long size) {
    for (long row = 0; row < size; row += WIDTH) {
        float *left = square + row * size;
        transpose(square + row, size, left, size, WIDTH, row);
        EACH(i, WIDTH) EACH(j, i) left[j * size + row + i] = left[i * size + row + j];
    }
}

typedef struct { /* as in charlm.engine.kernel */
    long rows, columns, polynomials;
    int bfloat16, nesterov;
    float momentum, decay, rate; /* mu; share of the weights that is subtracted; learning rate */
    const float *abc;            /* coefficients [polynomials, 3] */
    const float *gradient, *momentums, *weights;
    float *new_momentums, *new_weights;
} MuonStep;

/* Update the momentum, and write the matrix x that is orthogonalized; return its norm. */
static float update_momentum(const MuonStep *step, float *x) {
    const long count = step->rows * step->columns;
    double total = 0;
    for (long begin = 0; begin < count; begin += 4096) {
        vector sum = {0};
        for (long at = begin; at < MIN(begin + 4096, count); at += WIDTH) {
            const vector gradient = load(step->gradient + at, count - at);
            const vector momentum = load(step->momentums + at, count - at) * step->momentum + gradient;
            const vector update = step->nesterov ? gradient + momentum * step->momentum : momentum;
            store(step->new_momentums + at, momentum, count - at);
            store(x + at, update, count - at);
            sum += update * update;
        }
        total += sum_of(sum);
    }
    return (float)sqrt(total);
}

/* Take a step of Muon with a matrix. Return the number of floats of memory that it needs; without
   memory, do nothing else. */
long muon_step(const MuonStep *step, float *floats) {
    const Format format = format_of(step->bfloat16);
    const long rows = step->rows, columns = step->columns, half = format.half, is_tall = rows > columns;
    const long P = round_up(MIN(rows, columns), format.unit), Q = round_up(MAX(rows, columns), format.unit);
    Memory memory = {floats, 0};
    float *x = allocate(&memory, rows * columns);
    float *padded = allocate(&memory, P * Q);         /* x, or its transpose if x is tall */
    float *rounded = allocate(&memory, P * Q / half); /* the padded x as a factor */
    float *gram = allocate(&memory, P * P);
    float *square = allocate(&memory, P * P);
    float *factor = allocate(&memory, P * P / half);
    float *panels = allocate(&memory, P * Q / half);
    if (!floats) return memory.used;

    const Packed transposed_x = {Q / half, P, panels};
    const Packed packed_gram = {P / half, P, panels};
    const Packed packed_x = {P / half, Q, panels};
    const unsigned long denormals = flush_denormals();
    const float scale = 1 / (update_momentum(step, x) + 1e-7f); /* the spectral norm is then at most 1 */
    memset(padded, 0, 4 * P * Q);
    if (is_tall) transpose(padded, Q, x, columns, rows, columns);
    else EACH(i, rows) memcpy(padded + i * Q, x + i * columns, 4 * columns);
    EACH_VECTOR(at, P * Q) *(vector *)(padded + at) *= scale;

    EACH(n, step->polynomials) {
        const float a = step->abc[3 * n], b = step->abc[3 * n + 1], c = step->abc[3 * n + 2];
        round_factor(&format, rounded, padded, P * Q);
        pack_transposed(&transposed_x, rounded);
        memset(gram, 0, 4 * P * P);
        add_rows(&format, rounded, P, &transposed_x, gram, 1);
        mirror(gram, P);

        round_factor(&format, factor, gram, P * P);
        pack(&packed_gram, factor, P, format.bfloat16);
        memset(square, 0, 4 * P * P);
        add_rows(&format, factor, P, &packed_gram, square, 1);

        EACH_VECTOR(at, P * P) *(vector *)(gram + at) = *(vector *)(gram + at) * b + *(vector *)(square + at) * c;
        EACH(i, P) gram[i * P + i] += a;
        mirror(gram, P);
        round_factor(&format, factor, gram, P * P);
        pack(&packed_x, rounded, P, format.bfloat16);
        memset(padded, 0, 4 * P * Q);
        add_rows(&format, factor, P, &packed_x, padded, 0);
    }
    if (is_tall) transpose(x, columns, padded, Q, columns, rows);
    else EACH(i, rows) memcpy(x + i * columns, padded + i * Q, 4 * columns);
    EACH_VECTOR(at, rows * columns) {
        const long left = rows * columns - at;
        const vector kept = load(step->weights + at, left) * (1 - step->decay);
        store(step->new_weights + at, kept - load(x + at, left) * step->rate, left);
    }
    end_tiles();
    restore_denormals(denormals);
    return memory.used;
}
