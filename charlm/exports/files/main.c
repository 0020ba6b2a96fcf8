/* Generates text with a model that charlm has exported: an example of how to use charlm.h.

       cc -O3 main.c charlm.c -lm -o run
       ./run model.bin "The " 500        a prompt, and how many characters to generate
       ./run model.bin "The " 500 0.7 1  also the temperature (0.5) and the seed (the time) */

#include "charlm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h> /* for isatty; with Visual C++, include io.h instead */

static void require(int condition, const char *message) {
    if (condition) return;
    fprintf(stderr, "run: %s\n", message);
    exit(1);
}

static double parse(const char *text, const char *message) {
    char *end;
    double number = strtod(text, &end);
    require(end != text && *end == '\0' && number >= 0 && number <= 1e15, message);
    return number;
}

/* Prints the character of an id; returns 0 for the end of the text. A terminal would obey control
   characters other than line breaks and tabs, so it gets an escape with their last byte. */
static int print(const charlm_model *model, int32_t id) {
    char text[5];
    size_t size = charlm_decode(model, id, text);
    if (size == 0) return 0;
    unsigned char first = (unsigned char)text[0], last = (unsigned char)text[size - 1];
    int is_plain = first == '\n' || first == '\t' || (first >= 0x20 && first != 0x7F);
    if (isatty(1) && (!is_plain || (first == 0xC2 && last < 0xA0)))
        printf("\\x%02x", last);
    else
        fwrite(text, 1, size, stdout);
    fflush(stdout);
    return 1;
}

int main(int count, char **arguments) {
    require(count > 1, "usage: run model.bin [PROMPT [LENGTH [TEMPERATURE [SEED]]]]");
    const char *prompt = count > 2 ? arguments[2] : "";
    double length = 500, temperature = 0.5, seed = (double)time(NULL);
    if (count > 3) length = parse(arguments[3], "LENGTH must be a number, 0 or more");
    if (count > 4) temperature = parse(arguments[4], "TEMPERATURE must be a number, 0 or more");
    if (count > 5) seed = parse(arguments[5], "SEED must be a number, 0 or more");
    uint64_t random = (uint64_t)seed;
    charlm_model *model;
    require(charlm_load(arguments[1], &model) == CHARLM_OK, "the model cannot be loaded");
    float *state = (float *)calloc(charlm_state_size(model), sizeof(float));
    require(state != NULL, "not enough memory");
    int32_t id;
    size_t left_out;
    charlm_status status = charlm_read_text(model, state, prompt, strlen(prompt), &left_out);
    require(status == CHARLM_OK, "the prompt is not UTF-8");
    if (left_out) fprintf(stderr, "run: left out %lu characters\n", (unsigned long)left_out);
    fputs(prompt, stdout);
    for (; length >= 1; length--) {
        status = charlm_sample(model, state, temperature, &random, &id);
        require(status == CHARLM_OK, "no character can be chosen");
        if (!print(model, id)) break;
        charlm_step(model, state, id);
    }
    free(state);
    charlm_free(model);
    return 0;
}
