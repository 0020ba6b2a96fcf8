/* Runs kernel.c on arrays that end where they must, for the sanitizers of the compiler; with an argument, also on the
   large windows, in which nearly all of the time is spent. */

#include <stdio.h>

#include "kernel.c"

static float *numbers(long count) {
    float *made = malloc(4 * count);
    EACH(i, count) made[i] = (float)((i * 37) % 19 - 9) / 16; /* whose halves are numbers, too */
    return made;
}

#define MOST_PRODUCTS 2000000 /* so that every pair of sizes is left */

int main(int count, char **words) {
    (void)words;
    const long times[] = {1, 3}, rows[] = {1, 7, 33}, units[] = {1, 7, 33, 64, 130, 333}, characters[] = {2, 65, 5000};
    long windows = 0;
    EACH(a, 2) EACH(b, 3) EACH(c, 6) EACH(kind, 6) {
        const long T = times[a], R = rows[b], H = units[c], N = characters[kind % 3], L = 1 + kind % 2, skips = kind / 2 % 2;
        const long F = skips ? L * H : H;
        if (count < 2 && T * R * (F * N + (2 * L - 1) * H * H) > MOST_PRODUCTS) continue;
        int32_t *ids = malloc(4 * (T + 1) * R);
        const float *weights[9] = {0};
        float *gradients[9] = {0};
        EACH(i, (T + 1) * R) ids[i] = (int32_t)(i * 7 % N);
        EACH(i, L) {
            const long sizes[] = {i == 0 || skips ? N * H : H, H * H, i < L - 1 ? H * H : 0, skips || i == L - 1 ? H * N : 0};
            EACH(j, 4) if (sizes[j]) weights[4 * i + j] = numbers(sizes[j]), gradients[4 * i + j] = calloc(sizes[j], 4);
        }
        weights[4 * L] = numbers(N);
        gradients[4 * L] = calloc(N, 4);
        Window w = {T, R, L, H, N, "trs"[kind % 3], has_bfloat16 && kind % 2, (int)skips, 0.5f, 0.9f, 1, ids,
            kind % 2 ? numbers(T * R * N) : NULL, numbers(L * R * H), kind > 2 ? numbers(L * R * H) : NULL,
            kind > 2 && L > 1 ? numbers((L - 1) * R * H) : NULL, kind > 3 ? numbers(T * R * F) : NULL,
            weights, gradients, malloc(4 * L * R * H), malloc(4 * T * R)};
        float *packed = aligned_alloc(64, 4 * packed_size(&w)), *work = aligned_alloc(64, 4 * run(&w, packed, NULL));
        EACH(turn, 2) {
            float *memory = aligned_alloc(64, 4 * pack_weights(&w, packed, turn, 2, NULL));
            pack_weights(&w, packed, turn, 2, memory);
            free(memory);
        }
        run(&w, packed, work);
        EACH(i, T * R) if (!(w.losses[i] >= 0)) return 1; /* not a number */
        Window alone = w; /* without masks and gradients */
        alone.gradients = NULL;
        alone.recurrent_mask = alone.layer_mask = alone.output_mask = NULL;
        float *less = aligned_alloc(64, 4 * run(&alone, packed, NULL));
        run(&alone, packed, less);
        EACH(i, T * R) if (!(w.losses[i] >= 0)) return 2;
        free(less);
        void *others[] = {ids, (void *)w.soft, (void *)w.state, (void *)w.recurrent_mask, (void *)w.layer_mask, (void *)w.output_mask,
            w.last, w.losses, packed, work};
        EACH(i, 10) free(others[i]);
        EACH(i, 9) free((void *)weights[i]), free(gradients[i]);
        windows++;
    }
    long steps = 0;
    EACH(a, 6) EACH(b, 6) EACH(kind, 5) { /* Muon in float32, in bfloat16; Adam; SGD with and without momentum */
        const long count = units[a] * units[b];
        float abc[] = {7, -18, 12, 3, -2, 0.4f};
        float *arrays[] = {numbers(count), numbers(count), numbers(count), numbers(count), numbers(count)};
        EACH(i, count) arrays[4][i] *= arrays[4][i];
        const Tensor tensor = {units[a], units[b], 0.1f, kind < 2 ? 0.2f : 0, 0.9f, 0.1f, 0.01f, 1e-7f, arrays[0], arrays[1],
            kind < 4 ? arrays[2] : NULL, kind == 2 ? arrays[4] : NULL, kind ? arrays[3] : NULL};
        const Step step = {2, has_bfloat16 && kind == 1, 0.5f, 0.01f, 0.01f, 0.1f, abc};
        float *memory = aligned_alloc(64, 4 * update(&step, &tensor, 1, 0, 1, NULL) + 64);
        update(&step, &tensor, 1, 0, 1, memory);
        EACH(i, count) if (!(fabsf(arrays[1][i]) < 100)) return 3;
        EACH(i, 5) free(arrays[i]);
        free(memory);
        steps++;
    }
    printf("%ld windows, %ld steps of an optimizer\n", windows, steps);
    return 0;
}
