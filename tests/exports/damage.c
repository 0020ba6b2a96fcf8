/* Damages a model.bin in many random ways, corrects its checksum, and uses what can be loaded.

       damage model.bin RUNS SEED        prints how many of the damaged models were loaded */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charlm.c" /* for its checksum */

static unsigned long long number;

static size_t draw(size_t below) {
    number = number * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return below ? (size_t)((number >> 33) % below) : 0;
}

static size_t damage(unsigned char *data, size_t size) {
    static const unsigned char bytes[] = {0, 1, 2, 127, 128, 255};
    for (size_t count = 1 + draw(4); count > 0; count--) {
        size_t reach = draw(2) ? 100 : size; /* half of the changes are near the header */
        data[draw(reach < size ? reach : size)] = draw(2) ? bytes[draw(6)] : (unsigned char)draw(256);
    }
    return draw(4) ? size : draw(size + 1);
}

static void use(const charlm_model *model) {
    float *state = (float *)calloc(charlm_state_size(model), sizeof(float));
    uint64_t random = 1;
    size_t left_out;
    char text[5];
    if (!state) exit(1);
    charlm_read_text(model, state, "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80x\xFF", 12, &left_out);
    for (int32_t id = 0, count = 0; count < 10; count++) {
        charlm_sample(model, state, count % 3 * 0.5, &random, &id);
        size_t size = charlm_decode(model, id, text);
        if (size > 4 || text[size] != '\0') exit(1);
        charlm_step(model, state, id);
    }
    free(state);
}

int main(int count, char **arguments) {
    if (count < 4) return 1;
    static unsigned char original[100000];
    FILE *file = fopen(arguments[1], "rb");
    if (!file) return 1;
    size_t whole = fread(original, 1, sizeof original, file);
    fclose(file);
    number = strtoull(arguments[3], NULL, 10);
    long loaded = 0;
    for (long runs = atol(arguments[2]); runs > 0; runs--) {
        charlm_model *model;
        unsigned char *copy = (unsigned char *)malloc(whole);
        memcpy(copy, original, whole);
        size_t size = damage(copy, whole);
        unsigned char *data = (unsigned char *)malloc(size); /* so that reading past it is found */
        memcpy(data, copy, size);
        if (size > 4) {
            uint32_t sum = checksum(data, size - 4);
            for (size_t i = 0; i < 4; i++) data[size - 4 + i] = (unsigned char)(sum >> 8 * i);
        }
        charlm_status status = charlm_load_memory(data, size, &model);
        free(data);
        free(copy);
        if ((status == CHARLM_OK) != (model != NULL)) return 1;
        if (!model) continue;
        use(model);
        charlm_free(model);
        loaded++;
    }
    printf("%ld\n", loaded);
    return 0;
}
