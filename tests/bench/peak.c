/* The operations per second of a core: kernel.c's packed product, without anything around it, on a block and a panel
   that stay in the cache. Prints those of float32, and of bfloat16 if the processor multiplies it. */

#include <stdio.h>
#include <time.h>

#include "kernel.c"

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static double speed(int bfloat16) {
    Plan p = {.bfloat16 = bfloat16, .padded = 256, .width = bfloat16 ? 128 : 256};
#ifdef __AMX_BF16__
    p.tiles = bfloat16 && use_tiles();
#endif
    const long rows = p.tiles ? TILES : ROWS;
    float *panel = aligned_alloc(64, 4 * 256 * COLUMNS), *left = aligned_alloc(64, 4 * 256 * TILES);
    float sums[TILES * COLUMNS] __attribute__((aligned(64)));
    memset(panel, 0, 4 * 256 * COLUMNS);
    memset(left, 0, 4 * 256 * TILES);
    double best = 0;
    for (int repetition = 0; repetition < 20; repetition++) {
        const double start = seconds();
        const long turns = 2000;
        EACH(turn, turns) {
#ifdef __AMX_BF16__
            if (p.tiles) multiply_tiles(&p, left, panel, sums, VECTORS);
            else
#endif
            multiply(&p, left, panel, sums, ROWS, VECTORS);
            __asm__ volatile("" ::"r"(sums), "r"(left), "r"(panel) : "memory"); /* to the compiler, each turn is another */
        }
        const double found = 2.0 * turns * rows * 256 * COLUMNS / (seconds() - start);
        if (found > best) best = found;
    }
    free(panel);
    free(left);
    return best;
}

int main(void) {
    printf("%.0f", speed(0));
    if (has_bfloat16) printf(" %.0f", speed(1));
    printf("\n");
    return 0;
}
