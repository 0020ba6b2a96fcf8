/* A step of the optimizer for a tensor of weights w with the gradient g, as in Keras.

     g <- clip g
     Adam:  m <- m + (1 - beta_1) (g - m),  v <- v + (1 - beta_2) (g g - v)
            d = rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)
     SGD:   m <- mu m - rate g,  d = -m
     Muon:  m <- mu m + g,  x = g + mu m;  d = rate scale (the orthogonal matrix nearest to x)
     w <- (1 - rate decay) w - d,  average <- average + share (w - average)

   Muon (Jordan et al. 2024) moves x to the nearest orthogonal matrix: x <- x / |x|, then for each
   polynomial (a, b, c):  x <- (a I + b G + c G G) x,  G = x x^T. G and G G are symmetric, so only
   their blocks on and below the diagonal are computed. With bfloat16, the factors of products are
   rounded; sums are float32.

   Axes: P the shorter side of the matrix, Q the longer side, both padded. A matrix with more rows
   than columns is transposed before the iterations and again after them. */

#include "products.h"

typedef struct { /* as in charlm.engines.kernel */
    long rows, columns;
    float decay;
    float scale;                          /* factor of the rate, of Muon and Adam; 0 = SGD */
    float momentum_factor;                /* mu */
    float momentum_share, velocity_share; /* 1 - beta_1, 1 - beta_2 */
    float epsilon;
    const float *gradient;
    float *weights, *momentum; /* NULL = SGD without momentum */
    float *velocity;           /* of Adam; NULL = another rule */
    float *average;            /* NULL = no average */
} Tensor;

typedef struct { /* what a step has in common for all tensors, as in charlm.engines.kernel */
    long polynomials;
    int bfloat16;
    float clip, rate, adam_rate, share; /* adam_rate: the rate with its corrections */
    const float *abc;                   /* coefficients [polynomials, 3] */
} Step;

/* Subtract d from some weights, after the decay, and update their average. */
INLINE void change_weights(const Step *step, const Tensor *t, long at, vector d) {
    const long left = t->rows * t->columns - at;
    const vector weights = load(t->weights + at, left) * (1 - step->rate * t->decay) - d;
    store(t->weights + at, weights, left);
    if (!t->average) return;
    const vector average = load(t->average + at, left);
    store(t->average + at, average + (weights - average) * step->share, left);
}

/* Load some of the gradient, clipped. An explicit FMA cannot be merged with what follows, so all
   compilers compute the same bits. */
INLINE vector load_gradient(const Step *step, const Tensor *t, long at) {
    return FMA(load(t->gradient + at, t->rows * t->columns - at), splat(step->clip), (vector){0});
}

static void adam(const Step *step, const Tensor *t) {
    const long count = t->rows * t->columns;
    const float rate = step->adam_rate * t->scale;
    EACH_VECTOR(at, count) {
        const long left = count - at;
        const vector gradient = load_gradient(step, t, at);
        vector momentum = load(t->momentum + at, left), velocity = load(t->velocity + at, left), root;
        momentum += (gradient - momentum) * t->momentum_share;
        velocity += (gradient * gradient - velocity) * t->velocity_share;
        EACH(i, WIDTH) root[i] = sqrtf(velocity[i]);
        store(t->momentum + at, momentum, left);
        store(t->velocity + at, velocity, left);
        change_weights(step, t, at, momentum * rate / (root + t->epsilon));
    }
}

static void sgd(const Step *step, const Tensor *t) {
    const long count = t->rows * t->columns;
    EACH_VECTOR(at, count) {
        vector d = FMA(load_gradient(step, t, at), splat(step->rate), (vector){0});
        if (t->momentum) {
            d = FMA(-load(t->momentum + at, count - at), splat(t->momentum_factor), d);
            store(t->momentum + at, -d, count - at);
        }
        change_weights(step, t, at, d);
    }
}

/* Copy the lower triangle of a square matrix, whose size is a multiple of WIDTH, to the upper
   triangle. */
static void mirror(float *square, long size) {
    for (long row = 0; row < size; row += WIDTH) {
        float *left = square + row * size;
        transpose(square + row, size, left, size, WIDTH, row);
        EACH(i, WIDTH) EACH(j, i) left[j * size + row + i] = left[i * size + row + j];
    }
}

/* Return the Euclidean norm of some numbers. */
float norm(const float *numbers, long count) {
    double total = 0;
    for (long begin = 0; begin < count; begin += 4096) {
        vector sum = {0};
        for (long at = begin; at < MIN(begin + 4096, count); at += WIDTH) {
            const vector some = load(numbers + at, count - at);
            sum = FMA(some, some, sum);
        }
        total += sum_of(sum);
    }
    return (float)sqrt(total);
}

/* Update the momentum, and write the matrix x that is orthogonalized. */
static void update_momentum(const Step *step, const Tensor *t, float *x) {
    const long count = t->rows * t->columns;
    EACH_VECTOR(at, count) {
        const vector gradient = load_gradient(step, t, at);
        const vector momentum = load(t->momentum + at, count - at) * t->momentum_factor + gradient;
        store(t->momentum + at, momentum, count - at);
        store(x + at, momentum * t->momentum_factor + gradient, count - at);
    }
}

/* Take a step of Muon with a matrix. Return the number of floats of memory that it needs; without
   memory, do nothing else. */
static long muon(const Step *step, const Tensor *t, float *floats) {
    const Format format = format_of(step->bfloat16);
    const long rows = t->rows, columns = t->columns, half = format.half, is_tall = rows > columns;
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
    update_momentum(step, t, x);
    const float scale = 1 / (norm(x, rows * columns) + 1e-7f); /* the spectral norm is then at most 1 */
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
    EACH_VECTOR(at, rows * columns)
        change_weights(step, t, at, FMA(load(x + at, rows * columns - at), splat(step->rate * t->scale), (vector){0}));
    return memory.used;
}

/* Take a step with every tensor whose number, divided by `turns`, leaves the remainder `turn`. Return
   the number of floats of memory that this needs; without memory, do nothing else. */
long update(const Step *step, const Tensor *tensors, long count, long turn, long turns, float *memory) {
    long most = 0;
    const unsigned long denormals = flush_denormals();
    for (long i = turn; i < count; i += turns) {
        const Tensor *t = tensors + i;
        const long used = t->scale && !t->velocity ? muon(step, t, memory) : 0;
        most = MAX(most, used);
        if (memory && t->velocity) adam(step, t);
        else if (memory && !t->scale) sgd(step, t);
    }
    end_tiles();
    restore_denormals(denormals);
    return most;
}
