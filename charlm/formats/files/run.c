/* Writes text with a network that charlm has exported to model.bin. Build and run:

       cc -O3 run.c -lm -o run
       ./run model.bin "The " 500           a prompt, and how many characters to write
       ./run model.bin "The " 500 0.7 20 1  the temperature too (0.5 without), among how many characters to choose
                                            (0 = all), and the seed (the time without)
       ./run model.bin --logits < ids       float32 logits after each of the int32 ids, for checks

   At temperature 0 it writes the most likely character, as `charlm sample -t 0` does. Above, a character is drawn from
   softmax(logits / temperature); a seed gives the same text again, but not that of charlm. The recurrence of each layer
   is h_t = f(x_t U + h_{t-1} V + b), the logits are h W + c (Elman 1990). A terminal gets control characters as
   escapes such as \x1b. */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 11, RESERVED = 0xFFFFFFFF };

static int is_terminal;
static int32_t vocabulary, layers, units, width, is_embedded, has_skips, activation, unknown_id, end_id;
static uint32_t *characters;                       /* [vocabulary], code points; RESERVED = none */
static float *embedding, **tables, **below, **recurrent, *logits_kernel, *logits_bias;
static float *states, *next_output, *logits;       /* [layers, units], [units], [vocabulary] */

static void fail(const char *message) {
    fprintf(stderr, "run: %s\n", message);
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) fail("out of memory");
    return memory;
}

static void read_exactly(FILE *file, void *target, size_t count) {
    if (fread(target, 4, count, file) != count) fail("the model is cut short");
}

static float *read_matrix(FILE *file, size_t rows, size_t columns) {
    float *matrix = allocate(rows * columns, sizeof(float));
    read_exactly(file, matrix, rows * columns);
    return matrix;
}

/* y [columns] += x [rows] times matrix [rows, columns]; four rows at once, so that y is read and written less often */
static void multiply_add(float *restrict y, const float *restrict x, const float *restrict matrix, int rows, int columns) {
    int row = 0;
    for (; row + 4 <= rows; row += 4) {
        const float *restrict m = matrix + (size_t)row * columns;
        float a = x[row], b = x[row + 1], c = x[row + 2], d = x[row + 3];
        for (int j = 0; j < columns; j++)
            y[j] += (a * m[j] + b * m[j + columns]) + (c * m[j + 2 * columns] + d * m[j + 3 * columns]);
    }
    for (; row < rows; row++)
        for (int j = 0; j < columns; j++) y[j] += x[row] * matrix[(size_t)row * columns + j];
}

static float activate(float x) {
    switch (activation) {
    case 0: return tanhf(x);
    case 1: return x > 0 ? x : 0;
    case 2: return 0.5f * tanhf(0.5f * x) + 0.5f; /* sigmoid */
    default: return x;
    }
}

/* Reads the numbers, the characters and the matrices of model.bin, little-endian, each row after row. */
static void read_model(const char *path) {
    FILE *file = fopen(path, "rb");
    int32_t head[HEADER];
    if (!file) fail("the model cannot be opened");
    read_exactly(file, head, HEADER);
    if (memcmp(head, "CHARLM-1", 8)) fail("not a model of charlm, format 1, or not a little-endian machine");
    vocabulary = head[2], layers = head[3], units = head[4], width = head[5], is_embedded = head[6];
    has_skips = head[7], activation = head[8], unknown_id = head[9], end_id = head[10];
    if (vocabulary < 1 || vocabulary > 1 << 21 || units < 1 || units > 1 << 21 || layers < 1 || layers > 64 ||
        width < 1 || width > 1 << 21 || (!is_embedded && width != vocabulary) || unknown_id >= vocabulary || end_id >= vocabulary || activation < 0 || activation > 3)
        fail("the model is damaged");
    characters = allocate(vocabulary, 4);
    read_exactly(file, characters, vocabulary);
    for (int id = 0; id < vocabulary; id++)
        if (characters[id] != RESERVED && characters[id] > 0x10FFFF) fail("the model is damaged");
    embedding = is_embedded ? read_matrix(file, vocabulary, width) : NULL;
    tables = allocate(layers, sizeof *tables);
    below = allocate(layers, sizeof *below);
    recurrent = allocate(layers, sizeof *recurrent);
    for (int layer = 0; layer < layers; layer++) {
        below[layer] = read_matrix(file, layer ? units : 0, units);
        tables[layer] = read_matrix(file, (layer && !has_skips ? 0 : width) + 1, units); /* rows of U for x, then b */
        recurrent[layer] = read_matrix(file, units, units);
    }
    logits_kernel = read_matrix(file, (size_t)units * (has_skips ? layers : 1), vocabulary);
    logits_bias = read_matrix(file, 1, vocabulary);
    fclose(file);
    states = allocate((size_t)layers * units, sizeof(float));
    next_output = allocate(units, sizeof(float));
    logits = allocate(vocabulary, sizeof(float));
}

/* Reads one character: its id changes the states, and the logits become those of the next character. */
static void advance(int id) {
    for (int layer = 0; layer < layers; layer++) {
        float *state = states + (size_t)layer * units;
        int rows = layer && !has_skips ? 0 : width;
        memcpy(next_output, tables[layer] + (size_t)rows * units, units * sizeof(float));
        if (rows && is_embedded) multiply_add(next_output, embedding + (size_t)id * width, tables[layer], width, units);
        else if (rows)
            for (int j = 0; j < units; j++) next_output[j] += tables[layer][(size_t)id * units + j];
        if (layer) multiply_add(next_output, state - units, below[layer], units, units);
        multiply_add(next_output, state, recurrent[layer], units, units);
        for (int j = 0; j < units; j++) state[j] = activate(next_output[j]);
    }
    memcpy(logits, logits_bias, vocabulary * sizeof(float));
    int first = has_skips ? 0 : layers - 1;
    multiply_add(logits, states + (size_t)first * units, logits_kernel, units * (layers - first), vocabulary);
}

/* Returns the next code point of UTF-8 and moves on; -1 at the end. */
static int64_t next_character(const unsigned char **text, const unsigned char *end) {
    if (*text >= end) return -1;
    uint32_t lead = *(*text)++;
    if (lead < 0x80) return lead;
    int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    uint32_t code = lead & (0x3F >> more);
    if (lead < 0xC0 || lead > 0xF4 || end - *text < more) fail("the text is not UTF-8");
    while (more--) {
        if ((**text & 0xC0) != 0x80) fail("the text is not UTF-8");
        code = code << 6 | (*(*text)++ & 0x3F);
    }
    uint32_t least = lead >= 0xF0 ? 0x10000 : lead >= 0xE0 ? 0x800 : 0x80;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail("the text is not UTF-8");
    return code;
}

static int find_id(int64_t code) {
    for (int id = 0; id < vocabulary; id++)
        if (characters[id] != RESERVED && characters[id] == code) return id;
    return unknown_id;
}

/* Writes a code point as UTF-8; a terminal would obey control characters, but for line breaks and tabs. */
static void write_character(uint32_t code) {
    int is_control = (code < 0x20 && code != '\n' && code != '\t') || code == 0x7F || code - 0x80 < 0x20;
    if (is_control && is_terminal) printf("\\x%02x", (unsigned)code);
    else if (code < 0x80) putchar(code);
    else if (code < 0x800) putchar(0xC0 | code >> 6), putchar(0x80 | (code & 0x3F));
    else {
        if (code < 0x10000) putchar(0xE0 | code >> 12);
        else putchar(0xF0 | code >> 18), putchar(0x80 | (code >> 12 & 0x3F));
        putchar(0x80 | (code >> 6 & 0x3F)), putchar(0x80 | (code & 0x3F));
    }
    fflush(stdout);
}

static int most_likely(void) {
    int best = -1;
    for (int id = 0; id < vocabulary; id++)
        if (id != unknown_id && (best < 0 || !(logits[id] <= logits[best]))) best = id;
    if (best >= 0 && !isfinite(logits[best])) fail("the weights are not finite: no character can be chosen");
    return best;
}

/* Returns a number from 0 to below 1: splitmix64 (Steele, Lea and Flood 2014). */
static double uniform(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0; /* 2^53 */
}

static int by_logit(const void *one, const void *other) {
    float a = logits[*(const int *)one], b = logits[*(const int *)other];
    return (a < b) - (a > b);
}

/* Draws an id among the `top` most likely ones (0 = all) at a temperature; the unknown id is never drawn. */
static int draw(double temperature, long top, uint64_t *seed) {
    static int *order;
    int best = most_likely(), count = 0;
    if (best < 0 || temperature <= 0) return best;
    if (!order) order = allocate(vocabulary, sizeof *order);
    for (int id = 0; id < vocabulary; id++)
        if (id != unknown_id) order[count++] = id;
    if (top > 0 && top < count) {
        qsort(order, count, sizeof *order, by_logit);
        count = top;
    }
    double total = 0, sum = 0;
    for (int i = 0; i < count; i++) total += exp((logits[order[i]] - logits[best]) / temperature);
    double bar = uniform(seed) * total;
    for (int i = 0; i < count; i++)
        if ((sum += exp((logits[order[i]] - logits[best]) / temperature)) > bar) return order[i];
    return best;
}

/* Reads a text of some bytes from the zero state, without characters that the model does not know; returns how many
   characters it has read. */
static long read_text(const unsigned char *text, size_t size) {
    const unsigned char *end = text + size;
    long count = 0, left_out = 0;
    for (int64_t code; (code = next_character(&text, end)) >= 0; ) {
        int id = find_id(code);
        if (id < 0) left_out++;
        else advance(id), count++;
    }
    if (left_out) fprintf(stderr, "run: left out %ld characters of the prompt that the model does not know\n", left_out);
    return count;
}

/* Reads int32 ids from the standard input and writes the float32 logits after each. */
static void print_logits(void) {
    for (int32_t id; fread(&id, 4, 1, stdin) == 1; ) {
        if (id < 0 || id >= vocabulary) fail("an id is out of range");
        advance(id);
        fwrite(logits, sizeof(float), vocabulary, stdout);
    }
}

/* Returns an argument that must be a whole number from 0 to LONG_MAX. */
static long whole(const char *text, const char *message) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < 0) fail(message);
    return number;
}

int main(int count, char **arguments) {
    if (count < 2) fail("usage: run model.bin [PROMPT [LENGTH [TEMPERATURE [TOP [SEED]]]]]");
    const char *prompt = count > 2 ? arguments[2] : "";
    long length = count > 3 ? whole(arguments[3], "LENGTH must be a whole number, 0 or more") : 500;
    long top = count > 5 ? whole(arguments[5], "TOP must be a whole number, 0 (all) or more") : 0;
    uint64_t seed = count > 6 ? (uint64_t)whole(arguments[6], "SEED must be a whole number, 0 or more") : (uint64_t)time(NULL);
    char *rest = "";
    double temperature = count > 4 ? strtod(arguments[4], &rest) : 0.5;
    if (rest == (count > 4 ? arguments[4] : NULL) || *rest || !(temperature >= 0) || isinf(temperature))
        fail("TEMPERATURE must be a number, 0 or more");
    is_terminal = isatty(1);
    read_model(arguments[1]);
    if (count > 2 && !strcmp(arguments[2], "--logits")) return print_logits(), 0;
    fputs(prompt, stdout);
    if (!read_text((const unsigned char *)prompt, strlen(prompt))) {
        int line_break = find_id('\n');
        advance(end_id >= 0 ? end_id : line_break >= 0 && line_break != unknown_id ? line_break : 0);
    }
    while (length-- > 0) {
        int id = draw(temperature, top, &seed);
        if (id < 0 || characters[id] == RESERVED) break; /* the model ends the text */
        write_character(characters[id]);
        advance(id);
    }
    return 0;
}
