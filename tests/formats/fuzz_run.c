#define _GNU_SOURCE /* memfd_create */
/* libFuzzer's target for run.c: the first byte says how many of the next are the prompt, the rest is the model.

   What would end the program ends one try, and what it has allocated is freed, so that millions of tries fit into a
   process. The temperature is 0: above, `draw` keeps an array for the model of its first call. */

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 20, MOST_BLOCKS = 128 }; /* 128 MB: libFuzzer ends at 2 GB, which its own records share */

static jmp_buf end_of_try;
static void *blocks[MOST_BLOCKS];
static int count;
static FILE *model;

static void *allocate_for_try(size_t number, size_t size) {
    if (size && number > MOST_BYTES / size) return NULL;
    return count < MOST_BLOCKS ? blocks[count++] = calloc(number, size) : NULL;
}

static FILE *open_for_try(const char *path, const char *mode) {
    (void)path;
    return model = fopen("/proc/self/fd/100", mode);
}

static int close_for_try(FILE *file) {
    model = NULL;
    return fclose(file);
}

#define calloc allocate_for_try
#define fopen open_for_try
#define fclose close_for_try
#define exit(code) longjmp(end_of_try, 1)
#define fprintf(...) ((void)0)
#define main run_main
#include RUN_C
#undef fclose

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    dup2(memfd_create("model.bin", 0), 100);
    return !freopen("/dev/null", "w", stdout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size || size - 1 < data[0]) return -1;
    char prompt[256] = {0}, *arguments[] = {"run", "model.bin", prompt, "20", "0", NULL};
    memcpy(prompt, data + 1, data[0]);
    size -= 1 + data[0];
    if (ftruncate(100, 0) || pwrite(100, data + 1 + data[0], size, 0) != (ssize_t)size) abort();
    if (!setjmp(end_of_try)) run_main(5, arguments);
    if (model) fclose(model), model = NULL;
    while (count) free(blocks[--count]);
    return 0;
}
