/* Generates text with a model that charlm has exported: an example of how to use charlm.h.

       cc -O3 main.c charlm.c -lm -o run
       ./run model.bin "The " 500           a prompt, and how many characters to generate
       ./run model.bin "The " 500 0.7 20 1  also the temperature (default 0.5), how many of the
                                            likeliest characters to draw from (default 0 = all),
                                            and the seed (default: the time)
       ./run model.bin --logits < ids       for checks: the float32 logits after each int32 id

   A terminal shows control characters as escapes such as \x1b. */

#include "charlm.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#define isatty _isatty
#else
#include <unistd.h>
#endif

static void fail(const char *message) {
    fprintf(stderr, "run: %s\n", message);
    exit(1);
}

static void check(charlm_status status) {
    if (status != CHARLM_OK) fail(charlm_message(status));
}

/* Prints a character of `size` bytes. A terminal would obey control characters other than line
   breaks and tabs, so a terminal gets an escape, whose number is the last byte of the character. */
static void print_character(const char *text, size_t size, int is_terminal) {
    unsigned char first = (unsigned char)text[0];
    unsigned char last = (unsigned char)text[size - 1];
    int is_c0 = size == 1 && first < 0x20 && first != '\n' && first != '\t';
    int is_delete = size == 1 && first == 0x7F;
    int is_c1 = size == 2 && first == 0xC2 && last < 0xA0;
    if (is_terminal && (is_c0 || is_delete || is_c1))
        printf("\\x%02x", last);
    else
        fwrite(text, 1, size, stdout);
    fflush(stdout);
}

/* Reads ids from standard input and writes the logits after each id. */
static void print_logits(const charlm_model *model, charlm_state *state) {
    size_t vocabulary = (size_t)charlm_vocabulary_size(model);
    int32_t id;
#ifdef _WIN32
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
#endif
    while (fread(&id, sizeof id, 1, stdin) == 1) {
        check(charlm_step(state, id));
        fwrite(charlm_logits(state), sizeof(float), vocabulary, stdout);
    }
}

static void read_prompt(charlm_state *state, const char *prompt) {
    size_t left_out;
    check(charlm_read_text(state, prompt, strlen(prompt), &left_out));
    if (left_out == 0) return;
    fprintf(stderr, "run: left out %lu characters of the prompt that the model does not know\n",
            (unsigned long)left_out);
}

/* Generates characters until there are `length`, or until the model ends the text. */
static void generate(const charlm_model *model, charlm_state *state, long length,
                     double temperature, size_t top_k, uint64_t *random) {
    int is_terminal = isatty(1);
    while (length-- > 0) {
        int32_t id;
        char text[CHARLM_CHARACTER_BYTES];
        size_t size;
        check(charlm_sample(state, temperature, top_k, random, &id));
        check(charlm_decode(model, id, text, &size));
        if (size == 0) return;
        print_character(text, size, is_terminal);
        check(charlm_step(state, id));
    }
}

static long parse_whole(const char *text, const char *message) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < 0) fail(message);
    return number;
}

static double parse_temperature(const char *text) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= 0) || isinf(number))
        fail("TEMPERATURE must be a number, 0 or more");
    return number;
}

int main(int count, char **arguments) {
    if (count < 2) fail("usage: run model.bin [PROMPT [LENGTH [TEMPERATURE [TOP [SEED]]]]]");
    const char *prompt = count > 2 ? arguments[2] : "";
    long length = 500;
    double temperature = 0.5;
    long top_k = 0;
    uint64_t random = (uint64_t)time(NULL);
    if (count > 3) length = parse_whole(arguments[3], "LENGTH must be a whole number, 0 or more");
    if (count > 4) temperature = parse_temperature(arguments[4]);
    if (count > 5) top_k = parse_whole(arguments[5], "TOP must be a whole number, 0 (all) or more");
    if (count > 6)
        random = (uint64_t)parse_whole(arguments[6], "SEED must be a whole number, 0 or more");

    charlm_model *model;
    charlm_state *state;
    check(charlm_load(arguments[1], &model));
    check(charlm_new_state(model, &state));
    if (strcmp(prompt, "--logits") == 0) {
        print_logits(model, state);
    } else {
        read_prompt(state, prompt);
        fputs(prompt, stdout);
        generate(model, state, length, temperature, (size_t)top_k, &random);
    }
    charlm_free_state(state);
    charlm_free_model(model);
    return 0;
}
