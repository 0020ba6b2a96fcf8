/* The loss of a window and its gradient with respect to every weight, or the loss alone, for some
   rows of a batch.

     h_t = f((n g_t) U + (m h_{t-1}) V + table[x_t])    z_t = sum over layers of (o h_t) W + c    t = 1 to T
     loss_t = log sum exp z_t - z_t[y_t]
     minimised: the mean of (1 - w) H(y, p) + w H(q, p) over all t and rows,  p = softmax(z / tau)

   In each layer, g is the h of the layer below, x the input characters and y the target characters.
   A layer that reads no character has a table of one row. m, n and o are dropout masks, q the soft
   targets. The backward pass runs from t = T to 1 and from the top layer down. With d_t = d minimised
   / d z_t, b the a of the layer above, and a_{T+1} = 0:

     a_t = f'(h_t) (o (d_t W^T) + n (b_t U^T) + m (a_{t+1} V^T))
     dV = sum of (m h_{t-1})^T a_t    dU = sum of (n g_t)^T a_t    dW = sum of (o h_t)^T d_t
     dtable[x_t] += a_t               dc = sum of d_t

   A place is the index of a time and a row. The weights are packed once a step, for all parts of a
   batch. For dV, dU and dW, the columns of the left matrix become the rows of a product; BLOCK places
   are packed at a time. Every sum adds its terms in index order, then in the order of the equations
   (for dtable from t = T down), however a batch is divided into rows, so results repeat to the bit.
   The loss, and h in f', are float32. Arrays of the caller are C-contiguous.

   Axes: T time, R rows, H units, N characters, L layers; P and Q are H and N, padded.
     each layer: h [T + 1, R, P]; h as a factor, once for each mask; a [T, R, P], a factor
     all layers together: d [T, R, Q], a factor */

#include "update.h"

#define AT_ONCE 128 /* places that a layer reads before the next layer reads them */
#define BLOCK 256  /* places, or pairs of places, in a block of the gradients of weights */

/* Activation functions: the first letters of their names. */
enum { TANH = 't', RELU = 'r', SIGMOID = 's', LINEAR = 'l' };

/* tanh as a quotient of two polynomials, as in Eigen; accurate to a few units in the last place. */
INLINE vector tanh_of(vector x) {
    const float limit = 7.90531110763549805f;
    x = choose(x > splat(limit), splat(limit), choose(x < splat(-limit), splat(-limit), x));
    const vector s = x * x;
    const vector p = (((((s * -2.76076847742355e-16f + 2.00018790482477e-13f) * s + -8.60467152213735e-11f) * s
        + 5.12229709037114e-08f) * s + 1.48572235717979e-05f) * s + 6.37261928875436e-04f) * s + 4.89352455891786e-03f;
    return x * p / (((s * 1.19825839466702e-06f + 1.18534705686654e-04f) * s + 2.26843463243900e-03f) * s
        + 4.89352518554385e-03f);
}

/* exp of numbers up to 0, as in Cephes: 2^n times a polynomial of the remainder. Values below -87
   are clamped. */
INLINE vector exp_of(vector x) {
    x = choose(x < splat(-87), splat(-87), x);
    const float shift = 12582912; /* 1.5 2^23: rounds to whole numbers */
    const vector n = x * 1.44269504088896341f + shift - shift;
    const vector s = x - n * 0.693359375f + n * 2.12194440e-4f;
    const vector p = ((((s * 1.9875691500e-4f + 1.3981999507e-3f) * s + 8.3334519073e-3f) * s + 4.1665795894e-2f) * s
        + 1.6666665459e-1f) * s + 5.0000001201e-1f;
    return (p * s * s + s + 1.0f) * (vector)((__builtin_convertvector(n, integers) + 127) << 23);
}

INLINE vector activate(int f, vector a) {
    if (f == TANH) return tanh_of(a);
    if (f == RELU) return choose(a <= splat(0), splat(0), a); /* keeps NaN */
    return f == SIGMOID ? tanh_of(a * 0.5f) * 0.5f + 0.5f : a;
}

/* f' as a function of h = f(a). */
INLINE vector slope(int f, vector h) {
    if (f == TANH) return 1.0f - h * h;
    if (f == RELU) return choose(h > splat(0), splat(1), splat(0));
    return f == SIGMOID ? h * (1.0f - h) : splat(1);
}

/* The readers of h: the same layer at t + 1 (V), the next layer (U), the logits (W). */
enum { RECURRENT, ABOVE, LOGITS, READERS };

typedef struct { /* as in charlm.engines.kernel */
    long time, rows, layers, units, characters; /* T, R, L, H, N */
    int activation, bfloat16;
    int skips; /* whether all layers read the character, and the logits read all layers */
    float soft_weight, temperature, share; /* w; tau; factor of the mean over T and R */
    const int32_t *ids;        /* [T + 1, R]: x at 0 to T - 1, y at 1 to T */
    const float *soft;         /* q [T, R, N], or NULL */
    const float *state;        /* h_0 [L, R, H] */
    const float *recurrent_mask, *layer_mask; /* m, n [L, R, H], or NULL */
    const float *output_mask;                 /* o [T, R, H or L H], or NULL */
    const float *const *weights; /* for each layer: table [N or 1, H], V [H, H], U of the next layer,
                                    W [H, N], or NULL; last, c */
    float *const *gradients;     /* in the same order; NULL = compute only losses */
    float *last, *losses;        /* h_T [L, R, H]; the loss of each character in nats [T, R] */
} Window;

typedef struct {
    float *h, *factor, *a;
    float *input[READERS]; /* of each reader: the factor, or h times a mask as a factor */
    Packed weights[READERS], transposed[READERS];
} Layer;

typedef struct { /* the memory of a part of a batch */
    const Window *w;
    Layer *layers;
    Format format;
    long padded, padded_characters; /* P, Q */
    float *d;
    float *sums, *masked; /* sums of products [places, P or Q]; for dV, dU and dW [P, P or Q] */
    long times;           /* number of times that are read together */
    float *left, *right;  /* packed factors for dV, dU and dW */
    long depth;           /* number of packed places, or pairs of places */
} Part;

/* The address of a number in an array of factors. */
#define AT(array, numbers) ((array) + (numbers) / p->format.half)

/* Return the dropout mask of a reader for the h of a layer at a time, 1 to T, and a row, or NULL. */
INLINE const float *mask_of(const Window *w, long layer, int reader, long time, long row) {
    const float *masks[] = {w->recurrent_mask, w->layer_mask, w->output_mask};
    if (!masks[reader]) return NULL;
    if (reader != LOGITS) return masks[reader] + (layer * w->rows + row) * w->units;
    const long all = w->skips ? w->layers : 1, before = w->skips ? layer : 0;
    return time ? masks[reader] + (((time - 1) * w->rows + row) * all + before) * w->units : NULL;
}

/* Return the number of characters for the logits, or of units for a layer. */
INLINE long output_size(const Window *w, int reader) {
    return reader == LOGITS ? w->characters : w->units;
}

/* Write the inputs of all readers from the h of a layer at a time, 0 to T, for a row. */
static void write_inputs(const Part *p, long layer, long time, long row) {
    const Layer *l = p->layers + layer;
    const long place = (time * p->w->rows + row) * p->padded;
    const vector *h = (const vector *)(l->h + place);
    if (l->factor != l->h) EACH_VECTOR(at, p->padded) store_rounded(l->factor, place + at, h[at / WIDTH], 1);
    EACH(reader, READERS) if (l->input[reader] != l->factor) {
        const float *mask = mask_of(p->w, layer, reader, time, row);
        EACH_VECTOR(at, p->padded) {
            const vector scale = mask ? load(mask + at, p->w->units - at) : splat(1);
            store_rounded(l->input[reader], place + at, h[at / WIDTH] * scale, p->format.bfloat16);
        }
    }
}

/* Return the start of the row of a character in the table of a layer. */
INLINE long table_row(const Window *w, long layer, long place) {
    return layer == 0 || w->skips ? w->ids[place] * w->units : 0;
}

INLINE float highest(vector v) {
    float top = v[0];
    EACH(i, WIDTH) top = MAX(top, v[i]);
    return top;
}

/* Add the bias to a row of sums, and subtract the largest logit from all logits. Padding gets a
   probability of 0. NaN does not count as the largest logit, but is kept. */
INLINE void finish_logits(const Part *p, float *z) {
    const long N = p->w->characters;
    const float *bias = p->w->weights[4 * p->w->layers];
    vector top = splat(-1e30f);
    integers number;
    EACH(i, WIDTH) number[i] = (int32_t)i;
    EACH_VECTOR(n, p->padded_characters) {
        const vector sum = *(vector *)(z + n) + load(bias + n, N - n);
        const vector logits = choose(number < (int32_t)(N - n), sum, splat(-1e30f));
        *(vector *)(z + n) = logits;
        top = choose(logits > top, logits, top);
    }
    const float largest = highest(top);
    EACH_VECTOR(n, p->padded_characters) *(vector *)(z + n) -= largest;
}

/* Return the loss at a place from the sums of (o h) W. */
static float softmax_loss(const Part *p, long place, float *z) {
    vector sum = {0};
    finish_logits(p, z);
    const float target_logit = z[p->w->ids[place + p->w->rows]];
    EACH_VECTOR(n, p->padded_characters) sum += exp_of(*(vector *)(z + n));
    return logf(sum_of(sum)) - target_logit;
}

/* Return the loss at a place, write d, and add d to the gradient of the bias. */
static float softmax_loss_and_gradient(const Part *p, long place, float *z) {
    const Window *w = p->w;
    const float inverse_temperature = 1 / w->temperature;
    const float hard = w->soft ? 1 - w->soft_weight : 1;
    const float weight = w->share / (w->time * w->rows) * inverse_temperature;
    const long target = w->ids[place + w->rows], N = w->characters;
    float *d_bias = w->gradients[4 * w->layers];
    vector sum = {0}, soft_sum = {0};
    finish_logits(p, z);
    const float target_logit = z[target];
    EACH_VECTOR(n, p->padded_characters) {
        vector *x = (vector *)(z + n);
        const vector unscaled = exp_of(*x);
        sum += unscaled;
        *x = inverse_temperature == 1 ? unscaled : exp_of(*x * inverse_temperature);
        soft_sum += *x;
    }
    const float scale = 1 / sum_of(soft_sum);
    EACH_VECTOR(n, p->padded_characters) {
        vector d = *(vector *)(z + n) * scale;
        if (w->soft) d -= load(w->soft + place * N + n, N - n) * w->soft_weight;
        if (target >= n && target < n + WIDTH) d[target - n] -= hard;
        d *= weight;
        if (N - n < WIDTH) for (long i = MAX(N - n, 0); i < WIDTH; i++) d[i] = 0;
        store_rounded(p->d, place * p->padded_characters + n, d, p->format.bfloat16);
        store(d_bias + n, load(d_bias + n, N - n) + d, N - n);
    }
    return logf(sum_of(sum)) - target_logit;
}

/* Add the input of a reader times its weights to sums, for a number of places from `time` on. */
static void add_input(const Part *p, long layer, int reader, long time, long places, float *sums) {
    const Layer *l = p->layers + layer;
    const float *left = AT(l->input[reader], time * p->w->rows * p->padded);
    add_rows(&p->format, left, places, &l->weights[reader], sums, 0);
}

/* Compute the h of all layers for a number of times from `begin` on, and the logits without bias.

   A layer reads all of these characters before the next layer reads them. So its own matrix stays in
   the cache, and its readers multiply all of these places together. */
static void forward(const Part *p, long begin, long times) {
    const Window *w = p->w;
    const long R = w->rows, P = p->padded, places = times * R;
    EACH(layer, w->layers) {
        memset(p->sums, 0, 4 * places * P);
        if (layer) add_input(p, layer - 1, ABOVE, begin + 1, places, p->sums);
        EACH(time, times) {
            float *sums = p->sums + time * R * P;
            add_input(p, layer, RECURRENT, begin + time, R, sums);
            EACH(r, R) {
                const long place = (begin + time) * R + r;
                const float *table = w->weights[4 * layer] + table_row(w, layer, place);
                float *h = p->layers[layer].h + (place + R) * P;
                EACH_VECTOR(at, P) {
                    const vector sum = *(vector *)(sums + r * P + at) + load(table + at, w->units - at);
                    *(vector *)(h + at) = activate(w->activation, sum);
                }
                write_inputs(p, layer, begin + time + 1, r);
            }
        }
    }
    memset(p->sums, 0, 4 * places * p->padded_characters);
    EACH(layer, w->layers) if (w->weights[4 * layer + 1 + LOGITS])
        add_input(p, layer, LOGITS, begin + 1, places, p->sums);
}

/* Add the gradient with respect to h that comes back from a reader, through its mask if it has one,
   to sums, for a number of places from `time` on. */
static void add_gradient(const Part *p, long layer, int reader, const float *from, long time,
                         long places, float *sums) {
    const Window *w = p->w;
    const long R = w->rows, P = p->padded;
    const int is_masked = mask_of(w, layer, reader, 1, 0) != NULL;
    float *added = is_masked ? memset(p->masked, 0, 4 * places * P) : sums;
    add_rows(&p->format, from, places, &p->layers[layer].transposed[reader], added, 0);
    if (is_masked) EACH(place, places) {
        const float *mask = mask_of(w, layer, reader, time + place / R, place % R);
        EACH_VECTOR(at, P) *(vector *)(sums + place * P + at) +=
            *(vector *)(added + place * P + at) * load(mask + at, w->units - at);
    }
}

/* Compute the a of all layers for a number of times from `begin` on, and add to the gradients of
   tables. */
static void backward(const Part *p, long begin, long times) {
    const Window *w = p->w;
    const long R = w->rows, P = p->padded, units = w->units, first = begin * R;
    for (long layer = w->layers - 1; layer >= 0; layer--) {
        const Layer *l = p->layers + layer;
        memset(p->sums, 0, 4 * times * R * P);
        if (w->weights[4 * layer + 1 + LOGITS])
            add_gradient(p, layer, LOGITS, AT(p->d, first * p->padded_characters), begin + 1, times * R, p->sums);
        if (layer < w->layers - 1)
            add_gradient(p, layer, ABOVE, AT(l[1].a, first * P), begin + 1, times * R, p->sums);
        for (long time = begin + times - 1; time >= begin; time--) {
            float *sums = p->sums + (time - begin) * R * P;
            if (time < w->time - 1)
                add_gradient(p, layer, RECURRENT, AT(l->a, (time + 1) * R * P), time + 1, R, sums);
            EACH(r, R) {
                const long place = time * R + r;
                const float *h = l->h + (place + R) * P;
                float *table = w->gradients[4 * layer] + table_row(w, layer, place);
                EACH_VECTOR(at, P) {
                    const vector a = *(vector *)(sums + r * P + at) * slope(w->activation, *(const vector *)(h + at));
                    store_rounded(l->a, place * P + at, a, p->format.bfloat16);
                    store(table + at, load(table + at, units - at) + a, units - at);
                }
            }
        }
    }
}

typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint16_t eight_halves __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint32_t eight_pairs __attribute__((vector_size(32), aligned(4), may_alias));

/* Pack ROWS columns of a left factor [places, P] side by side. Eight columns are stored at a time;
   the next store overwrites two of them. */
INLINE void pack_rows(float *to, const float *left, long depth, long places, long P, int bfloat16) {
    if (!bfloat16) {
        EACH(k, depth) *(eight *)(to + ROWS * k) = k < places ? *(const eight *)(left + k * P) : (eight){0};
        return;
    }
    const uint16_t *from = (const uint16_t *)left;
    EACH(k, depth) {
        const uint16_t *pair = from + 2 * k * P;
        eight_pairs packed = {0};
        if (2 * k < places) packed = __builtin_convertvector(*(const eight_halves *)pair, eight_pairs);
        if (2 * k + 1 < places) packed |= __builtin_convertvector(*(const eight_halves *)(pair + P), eight_pairs) << 16;
        *(eight_pairs *)(to + ROWS * k) = packed;
    }
}

/* Pack a block of a left factor for dV, dU or dW: ROWS of its columns side by side, or, with tiles,
   16 pairs of each of TILES columns. */
static Product pack_left(const Part *p, const float *left, long first, long places, const Packed *right) {
    const long P = p->padded;
    const long depth = MIN(p->depth - first, BLOCK);
    places -= first * p->format.half;
    left += first * P;
    if (!p->format.tiles) {
        for (long row = 0; row < p->w->units; row += ROWS)
            pack_rows(p->left + row * depth, AT(left, row), depth, places, P, p->format.bfloat16);
        return (Product){p->left, 1, ROWS, ROWS * depth, ROWS, right, first, depth};
    }
    const uint16_t *from = (const uint16_t *)left;
    uint32_t *to = (uint32_t *)p->left;
    for (long row = 0; row < P; row += TILES) for (long k = 0; k < depth; k += 16) EACH(r, TILES) EACH(pair, 16) {
        const long place = 2 * (k + pair), i = place * P + row + r;
        *to++ = (place < places ? from[i] : 0) | (place + 1 < places ? (uint32_t)from[i + P] << 16 : 0);
    }
    return (Product){p->left, 16, TILES, TILES * depth, TILES, right, first, depth};
}

/* Compute the gradients of the weights of all readers: left^T right, summed over all places. */
static void add_weight_gradients(Part *p) {
    const Window *w = p->w;
    const long places = w->time * w->rows, depth = p->depth, P = p->padded, Q = p->padded_characters;
    float *right_of[] = {p->right, p->right + depth * P, p->right + 2 * depth * P};
    const Packed rights[] = {{depth, P, right_of[0]}, {depth, P, right_of[1]}, {depth, Q, right_of[2]}};
    pack(&rights[2], p->d, places, p->format.bfloat16);
    for (long i = w->layers - 1; i >= 0; i--) {
        /* The other of the two arrays still has the a of the layer above. */
        pack(&rights[i % 2], p->layers[i].a, places, p->format.bfloat16);
        EACH(reader, READERS) {
            const Packed *right = &rights[reader == LOGITS ? 2 : (i + reader) % 2];
            const float *left = AT(p->layers[i].input[reader], reader == RECURRENT ? 0 : w->rows * P);
            const long columns = output_size(w, reader);
            float *gradient = w->gradients[4 * i + 1 + reader];
            if (!gradient) continue;
            memset(p->sums, 0, 4 * P * right->columns);
            for (long first = 0; first < depth; first += BLOCK) {
                const Product block = pack_left(p, left, first, places, right);
                add_product(&p->format, &block, p->sums, w->units, 0);
            }
            EACH(r, w->units) memcpy(gradient + r * columns, p->sums + r * right->columns, 4 * columns);
        }
    }
}

/* Divide the memory of a layer: h, a (only for gradients), and the weights and inputs of readers. */
static void allocate_layer(const Part *p, long layer, Memory *packed, Memory *work) {
    const Window *w = p->w;
    Layer *l = p->layers + layer;
    const long P = p->padded, half = p->format.half;
    const long places = w->time * w->rows, states = places + w->rows;
    l->h = allocate(work, states * P);
    l->factor = w->bfloat16 ? allocate(work, states * P / half) : l->h;
    if (w->gradients) l->a = allocate(work, places * P / half);
    EACH(reader, READERS) {
        l->input[reader] = l->factor;
        if (!w->weights[4 * layer + 1 + reader]) continue;
        const long columns = reader == LOGITS ? p->padded_characters : P;
        if (mask_of(w, layer, reader, 1, 0)) l->input[reader] = allocate(work, states * P / half);
        l->weights[reader] = (Packed){P / half, columns, allocate(packed, P * columns / half)};
        l->transposed[reader] = (Packed){columns / half, P, allocate(packed, P * columns / half)};
    }
}

/* Divide the memory for packed weights and for a part of a batch. Only gradients need d and a. */
static Part allocate_part(const Window *w, Layer *layers, Memory *packed, Memory *work) {
    Part p = {.w = w, .layers = layers, .format = format_of(w->bfloat16)};
    const long unit = p.format.unit, half = p.format.half, places = w->time * w->rows;
    const long P = p.padded = round_up(w->units, unit);
    const long Q = p.padded_characters = round_up(w->characters, unit);
    const long longer = MAX(P, Q);
    EACH(layer, w->layers) allocate_layer(&p, layer, packed, work);
    p.times = MAX(1, MIN(w->time, AT_ONCE / MAX(1, w->rows)));
    p.sums = allocate(work, MAX(p.times * w->rows, P) * longer);
    if (w->gradients) {
        p.d = allocate(work, places * Q / half);
        p.masked = allocate(work, p.times * w->rows * P);
        p.depth = round_up(places, half * unit) / half;
        p.left = allocate(work, (P + ROWS) * MIN(p.depth, BLOCK));
        p.right = allocate(work, (2 * P + Q) * p.depth);
    }
    return p;
}

/* Return the number of floats of the packed weights. */
long packed_size(const Window *w) {
    Layer layers[w->layers];
    Memory packed = {NULL, 0}, work = {NULL, 0};
    allocate_part(w, layers, &packed, &work);
    return packed.used;
}

/* Pack every weight whose number, divided by `turns`, leaves the remainder `turn`. Return the number of
   floats of memory that this needs; without memory, do nothing else. */
long pack_weights(const Window *w, float *packed_weights, long turn, long turns, float *floats) {
    Layer layers[w->layers];
    Memory packed = {packed_weights, 0}, work = {NULL, 0}, memory = {floats, 0};
    const Part p = allocate_part(w, layers, &packed, &work);
    const long P = p.padded, longer = MAX(P, p.padded_characters);
    float *padded = allocate(&memory, P * longer);
    float *factor = allocate(&memory, P * longer / p.format.half);
    if (!floats) return memory.used;
    long number = 0;
    EACH(layer, w->layers) EACH(reader, READERS) {
        const float *weights = w->weights[4 * layer + 1 + reader];
        if (!weights || number++ % turns != turn) continue;
        const Layer *l = layers + layer;
        const long columns = output_size(w, reader), stride = l->weights[reader].columns;
        memset(padded, 0, 4 * P * stride);
        EACH(r, w->units) memcpy(padded + r * stride, weights + r * columns, 4 * columns);
        round_factor(&p.format, factor, padded, P * stride);
        pack(&l->weights[reader], factor, P, p.format.bfloat16);
        pack_transposed(&l->transposed[reader], factor);
    }
    return memory.used;
}

/* Set the gradients that a window adds to, of tables and of the bias, to 0. */
static void clear_gradients(const Window *w) {
    EACH(layer, w->layers) {
        const long rows = layer == 0 || w->skips ? w->characters : 1;
        memset(w->gradients[4 * layer], 0, 4 * rows * w->units);
    }
    memset(w->gradients[4 * w->layers], 0, 4 * w->characters);
}

/* Compute the losses and the last state of a part, and the gradients unless they are NULL. Return
   the number of floats of memory that this needs; without memory, do nothing else. */
long run(const Window *w, float *packed_weights, float *floats) {
    Layer layers[w->layers];
    Memory packed = {packed_weights, 0}, work = {floats, 0};
    Part p = allocate_part(w, layers, &packed, &work);
    if (!floats) return work.used;
    const long R = w->rows, P = p.padded, places = w->time * R;
    const unsigned long denormals = flush_denormals();
    if (w->gradients) clear_gradients(w);
    EACH(layer, w->layers) EACH(r, R) {
        const float *state = w->state + (layer * R + r) * w->units;
        EACH_VECTOR(at, P) *(vector *)(layers[layer].h + r * P + at) = load(state + at, w->units - at);
        write_inputs(&p, layer, 0, r);
    }
    for (long begin = 0; begin < w->time; begin += p.times) {
        const long times = MIN(p.times, w->time - begin);
        forward(&p, begin, times);
        EACH(i, times * R) {
            const long place = begin * R + i;
            float *z = p.sums + i * p.padded_characters;
            w->losses[place] = w->gradients ? softmax_loss_and_gradient(&p, place, z)
                                            : softmax_loss(&p, place, z);
        }
    }
    if (w->gradients) {
        for (long end = w->time; end > 0; end -= p.times)
            backward(&p, MAX(0, end - p.times), MIN(p.times, end));
        add_weight_gradients(&p);
    }
    EACH(layer, w->layers) EACH(r, R)
        memcpy(w->last + (layer * R + r) * w->units, layers[layer].h + (places + r) * P, 4 * w->units);
    end_tiles();
    restore_denormals(denormals);
    return work.used;
}

/* For the tests: charlm.engines.kernel declares the same structs. */
const long struct_sizes[] = {sizeof(Window), sizeof(Tensor), sizeof(Step)};

/* Whether the library was compiled for a processor that multiplies bfloat16. */
const int has_bfloat16 = BFLOAT16;

/* Return whether this process may multiply bfloat16 in tiles. */
int has_tiles(void) { return format_of(1).tiles; }
