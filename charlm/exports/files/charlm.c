/* charlm.c: the network, its file and its texts; charlm.h says what each function does.
   MIT license, see LICENSE.

   The recurrence of each layer is h_t = f(x_t U + h_{t-1} R + b), the logits are h W + c (Elman
   1990). x_t is the output of the layer below, followed by the input if the layer reads it. All
   matrices are stored row after row. This file is C11 and C++17, so malloc's result is cast. */

#if defined(_MSC_VER) && !defined(_CRT_SECURE_NO_WARNINGS)
#define _CRT_SECURE_NO_WARNINGS /* fopen is standard C */
#endif

#include "charlm.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT
#endif

static_assert(sizeof(float) == 4, "model.bin has float32");

enum { HEADER_BYTES = 48, MAX_LAYERS = 64, MAX_SIZE = 1 << 21 };
enum { TANH = 't', RELU = 'r', SIGMOID = 's', LINEAR = 'l' };

#define NONE 0xFFFFFFFFu    /* no id; or the code point of a reserved id */
#define REPLACEMENT 0xFFFDu /* stands for an unknown character */
#define UNKNOWN_NATS 100.0  /* loss of a character without an id in a line */
#define MOST_SURPRISING 3   /* number of characters whose mean loss is the score of a line */

struct charlm_model {
    uint32_t vocabulary; /* V */
    uint32_t layers;
    uint32_t units;
    uint32_t width; /* the size of the input: the width of the embedding, or V */
    uint32_t has_embedding;
    uint32_t has_skips; /* every layer reads the input, and the logits read every layer */
    uint32_t activation;
    uint32_t unknown_id;  /* or NONE */
    uint32_t start_id;    /* what a text without a prompt begins with, */
    uint32_t starts;      /* and how often */
    uint32_t *characters; /* [vocabulary], code points; NONE = reserved */
    float *weights;       /* all matrices, in the order in which a step reads them */
};

/* ---- Reading model.bin ---- */

/* Returns the word of 32 bits at an index; words are little-endian. */
static uint32_t word_at(const unsigned char *data, size_t index) {
    const unsigned char *b = data + 4 * index;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Returns the Adler-32 checksum of some bytes, as in zlib. */
static uint32_t checksum(const unsigned char *data, size_t size) {
    uint32_t sum = 1, sum_of_sums = 0;
    for (size_t i = 0; i < size; i++) {
        sum = (sum + data[i]) % 65521;
        sum_of_sums = (sum_of_sums + sum) % 65521;
    }
    return sum_of_sums << 16 | sum;
}

static int is_between(uint32_t number, uint32_t least, uint32_t most) {
    return number >= least && number <= most;
}

static int is_code_point(uint32_t code) {
    return code <= 0x10FFFF && !is_between(code, 0xD800, 0xDFFF);
}

/* Reads the header, which export_c in charlm/exports/exporting.py describes; returns whether it
   is valid. */
static int read_header(const unsigned char *data, charlm_model *model) {
    uint32_t *fields[] = {&model->vocabulary, &model->layers,        &model->units,
                          &model->width,      &model->has_embedding, &model->has_skips,
                          &model->activation, &model->unknown_id,    &model->start_id,
                          &model->starts};
    if (memcmp(data, "CHARLM-3", 8) != 0) return 0;
    for (size_t i = 0; i < 10; i++) *fields[i] = word_at(data, 2 + i);
    return is_between(model->vocabulary, 1, MAX_SIZE) && is_between(model->layers, 1, MAX_LAYERS)
           && is_between(model->units, 1, MAX_SIZE) && is_between(model->width, 1, MAX_SIZE)
           && model->has_embedding <= 1 && model->has_skips <= 1
           && (model->activation == TANH || model->activation == RELU
               || model->activation == SIGMOID || model->activation == LINEAR)
           && (model->has_embedding || model->width == model->vocabulary)
           && (model->unknown_id < model->vocabulary || model->unknown_id == NONE)
           && model->start_id < model->vocabulary && is_between(model->starts, 1, 2);
}

/* Returns the number of weights, which is below 2^52. */
static uint64_t count_weights(const charlm_model *model) {
    uint64_t vocabulary = model->vocabulary, layers = model->layers, units = model->units;
    uint64_t connected = model->has_skips ? layers : 1; /* layers with the input and the logits */
    uint64_t embedding = model->has_embedding ? vocabulary * model->width : 0;
    uint64_t biases = layers * units + vocabulary;
    uint64_t recurrent = (2 * layers - 1) * units * units; /* and from the layer below */
    return embedding + biases + recurrent + connected * units * (model->width + vocabulary);
}

/* Returns the id of a code point, or NONE. */
static uint32_t find_character(const charlm_model *model, uint32_t code) {
    for (uint32_t id = 0; id < model->vocabulary; id++)
        if (model->characters[id] == code) return id;
    return NONE;
}

static charlm_status read_model(const unsigned char *data, size_t size, charlm_model *model) {
    if (size < HEADER_BYTES || !read_header(data, model)) return CHARLM_DAMAGED;
    uint64_t count = count_weights(model);
    if (size - HEADER_BYTES != 4 * (model->vocabulary + count + 1)) return CHARLM_DAMAGED;
    if (word_at(data, size / 4 - 1) != checksum(data, size - 4)) return CHARLM_DAMAGED;
    data += HEADER_BYTES;
    model->characters = (uint32_t *)malloc(4 * (size_t)model->vocabulary);
    model->weights = (float *)malloc(4 * (size_t)count);
    if (!model->characters || !model->weights) return CHARLM_NO_MEMORY;
    for (size_t id = 0; id < model->vocabulary; id++) {
        model->characters[id] = word_at(data, id);
        if (model->characters[id] != NONE && !is_code_point(model->characters[id]))
            return CHARLM_DAMAGED;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t word = word_at(data, model->vocabulary + i);
        memcpy(&model->weights[i], &word, 4);
    }
    return CHARLM_OK;
}

charlm_status charlm_load_memory(const void *data, size_t size, charlm_model **model) {
    charlm_status status = CHARLM_NO_MEMORY;
    *model = (charlm_model *)calloc(1, sizeof(charlm_model));
    if (*model) status = read_model((const unsigned char *)data, size, *model);
    if (status == CHARLM_OK) return status;
    charlm_free(*model);
    *model = NULL;
    return status;
}

static charlm_status load_file(FILE *file, charlm_model **model) {
    if (fseek(file, 0, SEEK_END)) return CHARLM_CANNOT_READ;
    long size = ftell(file);
    if (size < 0 || size == LONG_MAX || fseek(file, 0, SEEK_SET)) return CHARLM_CANNOT_READ;
    void *data = malloc((size_t)size + 1);
    if (!data) return CHARLM_NO_MEMORY;
    charlm_status status = CHARLM_CANNOT_READ;
    if (fread(data, 1, (size_t)size, file) == (size_t)size)
        status = charlm_load_memory(data, (size_t)size, model);
    free(data);
    return status;
}

charlm_status charlm_load(const char *path, charlm_model **model) {
    *model = NULL;
    FILE *file = fopen(path, "rb");
    if (!file) return CHARLM_CANNOT_READ;
    charlm_status status = load_file(file, model);
    fclose(file);
    return status;
}

void charlm_free(charlm_model *model) {
    if (!model) return;
    free(model->characters);
    free(model->weights);
    free(model);
}

/* ---- The network ---- */

/* A state has these parts: 1 if it has read anything, the outputs [layers, units], memory for the
   sums of a layer [units], and the logits [V]. */
static size_t count_outputs(const charlm_model *model) {
    return (size_t)model->layers * model->units;
}

int32_t charlm_vocabulary_size(const charlm_model *model) {
    return (int32_t)model->vocabulary;
}

size_t charlm_state_size(const charlm_model *model) {
    return 1 + count_outputs(model) + model->units + model->vocabulary;
}

float *charlm_logits(const charlm_model *model, float *state) {
    return state + 1 + count_outputs(model) + model->units;
}

/* Adds x [rows] times matrix [rows, columns] to y [columns]; four rows at a time, so that y is
   read and written less often. Returns the end of the matrix. */
static const float *multiply_add(float *RESTRICT y, const float *RESTRICT x,
                                 const float *RESTRICT matrix, size_t rows, size_t columns) {
    size_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        const float *RESTRICT m = matrix + row * columns;
        float a = x[row], b = x[row + 1], c = x[row + 2], d = x[row + 3];
        for (size_t j = 0; j < columns; j++)
            y[j] += (a * m[j] + b * m[j + columns])
                    + (c * m[j + 2 * columns] + d * m[j + 3 * columns]);
    }
    for (; row < rows; row++)
        for (size_t j = 0; j < columns; j++) y[j] += x[row] * matrix[row * columns + j];
    return matrix + rows * columns;
}

static float activate(float x, uint32_t activation) {
    switch (activation) {
    case TANH: return tanhf(x);
    case RELU: return x > 0 ? x : 0;
    case SIGMOID: return 0.5f * tanhf(0.5f * x) + 0.5f;
    default: return x;
    }
}

charlm_status charlm_step(const charlm_model *model, float *state, int32_t id) {
    if (id < 0 || (uint32_t)id >= model->vocabulary) return CHARLM_BAD_INPUT;
    static const float one = 1;
    size_t units = model->units, width = model->width, vocabulary = model->vocabulary;
    const float *matrix = model->weights;
    const float *embedding = matrix + (size_t)id * width;
    float *output = state + 1;
    float *sums = output + count_outputs(model);
    float *logits = sums + units;
    if (model->has_embedding) matrix += vocabulary * width;
    state[0] = 1;
    for (size_t layer = 0; layer < model->layers; layer++, output += units) {
        memcpy(sums, matrix, units * sizeof(float)); /* the bias */
        matrix += units;
        if (layer > 0) matrix = multiply_add(sums, output - units, matrix, units, units);
        if (layer == 0 || model->has_skips) {
            if (model->has_embedding)
                multiply_add(sums, embedding, matrix, width, units);
            else /* the input is one-hot, so that the product is a row of the matrix */
                multiply_add(sums, &one, matrix + (size_t)id * units, 1, units);
            matrix += width * units;
        }
        matrix = multiply_add(sums, output, matrix, units, units);
        for (size_t j = 0; j < units; j++) output[j] = activate(sums[j], model->activation);
    }
    size_t features = model->has_skips ? count_outputs(model) : units;
    memcpy(logits, matrix, vocabulary * sizeof(float)); /* the bias */
    multiply_add(logits, output - features, matrix + vocabulary, features, vocabulary);
    return CHARLM_OK;
}

/* ---- Text ---- */

/* Reads one character of UTF-8; returns its number of bytes, or 0 if the text is not UTF-8. */
static size_t read_character(const unsigned char *text, size_t size, uint32_t *code) {
    uint32_t lead = text[0];
    *code = lead;
    if (lead < 0x80) return 1;
    if (lead < 0xC0 || lead > 0xF4) return 0;
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (size < length) return 0;
    *code = lead & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (text[i] & 0x3Fu);
    }
    uint32_t smallest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    return *code >= smallest && is_code_point(*code) ? length : 0;
}

/* Returns -log p of an id, from the logits before it. */
static double loss(const charlm_model *model, const float *logits, uint32_t id) {
    double best = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < model->vocabulary; i++)
        if (logits[i] > best) best = logits[i];
    for (uint32_t i = 0; i < model->vocabulary; i++) sum += exp(logits[i] - best);
    return log(sum) + best - logits[id];
}

/* Reads what a text without a prompt begins with. */
static charlm_status begin(const charlm_model *model, float *state) {
    charlm_status status = CHARLM_OK;
    for (uint32_t i = 0; i < model->starts; i++)
        status = charlm_step(model, state, (int32_t)model->start_id);
    return status;
}

/* Reads a text, and scores it unless `nats` is NULL. */
static charlm_status read_text(const charlm_model *model, float *state, const char *text,
                               size_t size, double *nats, size_t *characters, size_t *left_out) {
    const unsigned char *rest = (const unsigned char *)text;
    *characters = *left_out = 0;
    if (nats) *nats = 0;
    if (nats && state[0] == 0) begin(model, state);
    while (size > 0) {
        uint32_t code;
        size_t length = read_character(rest, size, &code);
        if (length == 0) return CHARLM_BAD_INPUT;
        rest += length;
        size -= length;
        uint32_t id = find_character(model, code);
        if (id == NONE) id = model->unknown_id;
        if (id == NONE) {
            ++*left_out;
            continue;
        }
        if (nats) *nats += loss(model, charlm_logits(model, state), id);
        ++*characters;
        charlm_step(model, state, (int32_t)id);
    }
    return state[0] != 0 ? CHARLM_OK : begin(model, state);
}

charlm_status charlm_read_text(const charlm_model *model, float *state, const char *text,
                               size_t size, size_t *left_out) {
    size_t characters;
    return read_text(model, state, text, size, NULL, &characters, left_out);
}

charlm_status charlm_score(const charlm_model *model, float *state, const char *text, size_t size,
                           double *nats, size_t *characters, size_t *left_out) {
    charlm_status status = read_text(model, state, text, size, nats, characters, left_out);
    return status == CHARLM_OK && !isfinite(*nats) ? CHARLM_NO_CHOICE : status;
}

charlm_status charlm_score_line(const charlm_model *model, float *state, const char *line,
                                size_t size, double *score) {
    double highest[MOST_SURPRISING] = {0};
    size_t count = 0, length, characters, left_out;
    if (find_character(model, '\n') == NONE) return CHARLM_BAD_INPUT;
    memset(state, 0, charlm_state_size(model) * sizeof(float));
    charlm_read_text(model, state, "\n", 1, &left_out);
    for (size_t start = 0; start <= size; start += length, count++) {
        const char *character = start < size ? line + start : "\n";
        uint32_t code;
        double nats;
        length = read_character((const unsigned char *)character, start < size ? size - start : 1,
                                &code);
        if (length == 0) return CHARLM_BAD_INPUT;
        charlm_status status =
            charlm_score(model, state, character, length, &nats, &characters, &left_out);
        if (status != CHARLM_OK) return status;
        if (find_character(model, code) == NONE) nats = UNKNOWN_NATS;
        for (size_t i = 0; i < MOST_SURPRISING; i++) {
            double lower = highest[i];
            if (nats <= lower) continue;
            highest[i] = nats;
            nats = lower;
        }
    }
    if (count > MOST_SURPRISING) count = MOST_SURPRISING;
    *score = 0;
    for (size_t i = 0; i < count; i++) *score += highest[i] / (double)count;
    return CHARLM_OK;
}

size_t charlm_decode(const charlm_model *model, int32_t id, char text[5]) {
    text[0] = '\0';
    if (id < 0 || (uint32_t)id >= model->vocabulary) return 0;
    uint32_t code = (uint32_t)id == model->unknown_id ? REPLACEMENT : model->characters[id];
    if (code == NONE) return 0;
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    text[length] = '\0';
    for (size_t i = length - 1; i > 0; i--) {
        text[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    text[0] = (char)(length == 1 ? code : (0xF00u >> length & 0xF0) | code);
    return length;
}

/* ---- Sampling ---- */

/* Returns a number from 0 to below 1: splitmix64 (Steele, Lea and Flood 2014). */
static double uniform(uint64_t *random) {
    uint64_t z = *random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0; /* 2^53 */
}

/* Returns the sum of the probabilities of the ids before `end`, times a constant. Stops at the id
   at which the sum is above `limit`, and sets *id to it. */
static double add_up(const charlm_model *model, const float *logits, float best,
                     double temperature, double limit, int32_t *id) {
    double sum = 0;
    for (uint32_t i = 0; i < model->vocabulary; i++) {
        if (i == model->unknown_id) continue;
        sum += exp((logits[i] - best) / temperature);
        if (sum > limit) {
            *id = (int32_t)i;
            break;
        }
    }
    return sum;
}

charlm_status charlm_sample(const charlm_model *model, float *state, double temperature,
                            uint64_t *random, int32_t *id) {
    const float *logits = charlm_logits(model, state);
    float best = -INFINITY;
    *id = -1;
    if (state[0] == 0) return CHARLM_NO_CHOICE;
    for (uint32_t i = 0; i < model->vocabulary; i++) {
        if (i == model->unknown_id) continue;
        if (isnan(logits[i]) || logits[i] == INFINITY) return CHARLM_NO_CHOICE;
        if (logits[i] <= best) continue;
        best = logits[i];
        *id = (int32_t)i;
    }
    if (*id < 0) return CHARLM_NO_CHOICE;
    if (!(temperature > 0)) return CHARLM_OK;
    double total = add_up(model, logits, best, temperature, INFINITY, id);
    add_up(model, logits, best, temperature, uniform(random) * total, id);
    return CHARLM_OK;
}
