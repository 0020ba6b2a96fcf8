/* Runs kernel.c on arrays that end where they must, for the sanitizers of the compiler. */

#include <stdio.h>

#include "kernel.c"

static void *numbers(long count, long bytes) {
    unsigned char *made = malloc(count * bytes);
    EACH(i, count) {
        const float x = (float)((i * 37) % 19 - 9) / 20;
        const uint32_t bits = rounded(x) << 16;
        memcpy(made + i * bytes, bytes == 4 ? (const char *)&x : (const char *)&bits + 2, bytes);
    }
    return made;
}

int main(void) {
    const long times[] = {1, 3}, rows[] = {1, 7, 33}, units[] = {1, 7, 33, 64, 130, 333};
    long windows = 0;
    EACH(a, 2) EACH(b, 3) EACH(c, 6) EACH(f, 3) EACH(kind, 6) {
        const long T = times[a], R = rows[b], H = units[c], bytes = has_bfloat16 && kind % 2 ? 2 : 4, ids = kind / 2;
        Layer l = {T, R, H, (int)f, bytes == 2, numbers(H * H, 4), ids == 2 ? numbers(R * H, 4) : 0, 0,
                   numbers(5 * H, 4), numbers((T + 1) * R * H, 4), numbers(R * H, 4), 0, 0, numbers((T + 1) * R * H, bytes)};
        int32_t *places = malloc(4 * T * R);
        EACH(i, T * R) places[i] = (int32_t)(i % 5);
        if (ids) l.ids = places;
        else l.given = numbers(T * R * H, bytes);
        if (run(&l, 0)) return 1;
        void *d = numbers(T * R * H, bytes), *outputs = l.out, *given = l.given;
        l.given = l.d_other = d;
        l.out = numbers(T * R * H, bytes);
        if (run(&l, 1)) return 1;
        void *all_of_them[] = {(void *)l.matrix, (void *)l.mask, places, l.table, l.states, l.d_state, d, l.out, outputs, given};
        EACH(i, 10) free(all_of_them[i]);
        windows++;
    }
    printf("%ld windows\n", windows);
    return 0;
}
