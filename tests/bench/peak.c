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
    const Window w = {.bfloat16 = bfloat16, .units = 1, .characters = 1};
    long sizes[2];
    Part p = lay_out(&w, NULL, NULL, NULL, sizes);
    use_tiles(&p, 1);
    p.sums = aligned_alloc(64, 4 * TILES * COLUMNS);
    const long rows = p.tiles ? TILES : ROWS, width = bfloat16 ? 128 : 256;
    float *panel = aligned_alloc(64, 4 * 256 * COLUMNS), *left = aligned_alloc(64, 4 * 256 * TILES);
    const Matrix matrix = {width, COLUMNS, panel};
    const Factors factors = {left, width, 1, rows * width, rows, &matrix, 0, width};
    memset(panel, 0, 4 * 256 * COLUMNS);
    memset(left, 0, 4 * 256 * TILES);
    memset(p.sums, 0, 4 * TILES * COLUMNS);
    double best = 0;
    for (int repetition = 0; repetition < 20; repetition++) {
        const double start = seconds();
        const long turns = 2000;
        EACH(turn, turns) add_product(&p, &factors, rows);
        const double found = 2.0 * turns * rows * 256 * COLUMNS / (seconds() - start);
        if (found > best) best = found;
    }
    use_tiles(&p, 0);
    free(panel);
    free(left);
    free(p.sums);
    return best;
}

int main(void) {
    printf("%.0f", speed(0));
    if (has_bfloat16) printf(" %.0f", speed(1));
    printf("\n");
    return 0;
}
