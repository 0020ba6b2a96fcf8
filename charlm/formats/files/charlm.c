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

enum { HEADER_WORDS = 11, MAX_LAYERS = 64, MAX_SIZE = 1 << 21 };
enum { TANH, RELU, SIGMOID, LINEAR };

#define MAGIC_0 0x52414843u /* the bytes CHAR */
#define MAGIC_1 0x312D4D4Cu /* the bytes LM-1 */
#define NONE 0xFFFFFFFFu    /* no id; or the code point of a reserved id */
#define MAX_CODE_POINT 0x10FFFFu
#define REPLACEMENT 0xFFFDu /* stands for an unknown character */

/* Where the matrices of a layer begin in the weights of its model. */
typedef struct {
    size_t below;     /* [units, units]; the first layer has none */
    size_t input;     /* [width, units], if the layer reads the input */
    size_t bias;      /* [units] */
    size_t recurrent; /* [units, units] */
} layer_weights;

struct charlm_model {
    size_t vocabulary; /* V */
    size_t layers;
    size_t units;
    size_t width; /* the size of the input: the width of the embedding, or V */
    int has_embedding;
    int has_skips; /* every layer reads the input, and the logits read every layer */
    uint32_t activation;
    int32_t unknown_id;   /* -1 = none */
    int32_t start_id;     /* what a text without a prompt begins with */
    uint32_t *characters; /* [vocabulary], code points; NONE = reserved */
    float *weights;       /* all matrices */

    /* Where the matrices begin in the weights. */
    size_t embedding;     /* [vocabulary, width], if there is an embedding */
    size_t logits_kernel; /* [features, vocabulary] */
    size_t logits_bias;   /* [vocabulary] */
    layer_weights layer[MAX_LAYERS];
};

/* An id that can be drawn. */
typedef struct {
    double weight; /* its probability, times a constant */
    float logit;
    int32_t id;
} candidate;

struct charlm_state {
    const charlm_model *model;
    int has_read;
    float *outputs; /* [layers, units]; the two that follow are in the same block of memory */
    float *sums;    /* [units]: what the next outputs of a layer are computed from */
    float *logits;  /* [vocabulary] */
    candidate *candidates; /* [vocabulary], for charlm_sample */
};

const char *charlm_message(charlm_status status) {
    switch (status) {
    case CHARLM_OK: return "no error";
    case CHARLM_NULL: return "a pointer is NULL";
    case CHARLM_NO_MEMORY: return "not enough memory";
    case CHARLM_CANNOT_READ: return "the file cannot be read";
    case CHARLM_NOT_A_MODEL: return "not a model.bin that charlm has exported";
    case CHARLM_DAMAGED: return "the model is damaged";
    case CHARLM_NOT_UTF8: return "the text is not UTF-8";
    case CHARLM_BAD_ID: return "the model has no such id";
    case CHARLM_BAD_TEMPERATURE: return "the temperature must be 0 or more, and finite";
    case CHARLM_DIFFERENT_MODELS: return "the states belong to different models";
    case CHARLM_NOTHING_READ: return "the state has read nothing yet";
    case CHARLM_NOT_FINITE: return "a logit is not finite";
    case CHARLM_NO_CHOICE: return "no character can be chosen";
    }
    return "unknown status";
}

/* ---- Reading model.bin ---- */

/* A file, or data in memory. */
typedef struct {
    FILE *file; /* NULL: the data is in memory */
    const unsigned char *data;
    uint64_t left; /* how many bytes have not been read */
} source;

/* Reads words of 32 bits, which are little-endian in the source. */
static charlm_status read_words(source *from, void *words, size_t count) {
    size_t size = 4 * count;
    if (from->left < size) return CHARLM_DAMAGED;
    if (from->file) {
        if (fread(words, 1, size, from->file) != size) return CHARLM_CANNOT_READ;
    } else {
        memcpy(words, from->data, size);
        from->data += size;
    }
    from->left -= size;
    unsigned char *bytes = (unsigned char *)words;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *b = bytes + 4 * i;
        uint32_t word = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(bytes + 4 * i, &word, 4);
    }
    return CHARLM_OK;
}

static int is_id_or_none(uint32_t word, uint32_t vocabulary) {
    return word < vocabulary || word == NONE;
}

/* Fills in the sizes; export_c in charlm/formats/exporting.py describes the header. */
static charlm_status read_header(source *from, charlm_model *model, uint32_t *end_id) {
    uint32_t head[HEADER_WORDS];
    if (from->left < sizeof head) return CHARLM_NOT_A_MODEL;
    charlm_status status = read_words(from, head, HEADER_WORDS);
    if (status != CHARLM_OK) return status;
    if (head[0] != MAGIC_0 || head[1] != MAGIC_1) return CHARLM_NOT_A_MODEL;

    uint32_t vocabulary = head[2], layers = head[3], units = head[4], width = head[5];
    uint32_t has_embedding = head[6], has_skips = head[7], activation = head[8];
    uint32_t unknown_id = head[9];
    if (vocabulary < 1 || vocabulary > MAX_SIZE) return CHARLM_DAMAGED;
    if (layers < 1 || layers > MAX_LAYERS) return CHARLM_DAMAGED;
    if (units < 1 || units > MAX_SIZE) return CHARLM_DAMAGED;
    if (width < 1 || width > MAX_SIZE) return CHARLM_DAMAGED;
    if (has_embedding > 1 || has_skips > 1 || activation > LINEAR) return CHARLM_DAMAGED;
    if (!has_embedding && width != vocabulary) return CHARLM_DAMAGED;
    if (!is_id_or_none(unknown_id, vocabulary)) return CHARLM_DAMAGED;
    if (!is_id_or_none(head[10], vocabulary)) return CHARLM_DAMAGED;

    model->vocabulary = vocabulary;
    model->layers = layers;
    model->units = units;
    model->width = width;
    model->has_embedding = has_embedding == 1;
    model->has_skips = has_skips == 1;
    model->activation = activation;
    model->unknown_id = unknown_id == NONE ? -1 : (int32_t)unknown_id;
    *end_id = head[10];
    return CHARLM_OK;
}

static size_t place_matrix(uint64_t *count, size_t rows, size_t columns) {
    size_t place = (size_t)*count;
    *count += (uint64_t)rows * columns;
    return place;
}

static int reads_input(const charlm_model *model, size_t layer) {
    return layer == 0 || model->has_skips;
}

/* Finds the place of each matrix, in the order of the file; returns the number of weights. */
static uint64_t place_matrices(charlm_model *model) {
    size_t units = model->units;
    uint64_t count = 0;
    size_t embedded = model->has_embedding ? model->vocabulary : 0;
    model->embedding = place_matrix(&count, embedded, model->width);
    for (size_t index = 0; index < model->layers; index++) {
        layer_weights *layer = &model->layer[index];
        size_t below = index > 0 ? units : 0;
        size_t width = reads_input(model, index) ? model->width : 0;
        layer->below = place_matrix(&count, below, units);
        layer->input = place_matrix(&count, width, units);
        layer->bias = place_matrix(&count, 1, units);
        layer->recurrent = place_matrix(&count, units, units);
    }
    size_t features = model->has_skips ? model->layers * units : units;
    model->logits_kernel = place_matrix(&count, features, model->vocabulary);
    model->logits_bias = place_matrix(&count, 1, model->vocabulary);
    return count;
}

static int is_code_point(uint32_t code) {
    int is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code <= MAX_CODE_POINT && !is_surrogate;
}

static charlm_status read_characters(source *from, charlm_model *model) {
    model->characters = (uint32_t *)calloc(model->vocabulary, sizeof(uint32_t));
    if (!model->characters) return CHARLM_NO_MEMORY;
    charlm_status status = read_words(from, model->characters, model->vocabulary);
    if (status != CHARLM_OK) return status;
    for (size_t id = 0; id < model->vocabulary; id++) {
        uint32_t code = model->characters[id];
        if (code != NONE && !is_code_point(code)) return CHARLM_DAMAGED;
    }
    return CHARLM_OK;
}

/* Returns the id of a code point, or -1. */
static int32_t find_character(const charlm_model *model, uint32_t code) {
    for (size_t id = 0; id < model->vocabulary; id++)
        if (model->characters[id] == code) return (int32_t)id;
    return -1;
}

static int32_t choose_start(const charlm_model *model, uint32_t end_id) {
    if (end_id != NONE) return (int32_t)end_id;
    int32_t line_break = find_character(model, '\n');
    return line_break < 0 ? 0 : line_break;
}

static charlm_status read_model(source *from, charlm_model *model) {
    uint32_t end_id;
    charlm_status status = read_header(from, model, &end_id);
    if (status != CHARLM_OK) return status;

    /* The count is below 2^52, so 64 bits hold every size; a size_t of 32 bits may not. */
    uint64_t count = place_matrices(model);
    if (from->left != 4 * (model->vocabulary + count)) return CHARLM_DAMAGED;
    if (count > SIZE_MAX / (2 * sizeof(float))) return CHARLM_NO_MEMORY;

    status = read_characters(from, model);
    if (status != CHARLM_OK) return status;
    model->start_id = choose_start(model, end_id);
    model->weights = (float *)malloc((size_t)count * sizeof(float));
    if (!model->weights) return CHARLM_NO_MEMORY;
    return read_words(from, model->weights, (size_t)count);
}

static charlm_status load(source *from, charlm_model **result) {
    charlm_model *model = (charlm_model *)calloc(1, sizeof(charlm_model));
    if (!model) return CHARLM_NO_MEMORY;
    charlm_status status = read_model(from, model);
    if (status == CHARLM_OK)
        *result = model;
    else
        charlm_free_model(model);
    return status;
}

charlm_status charlm_load_memory(const void *data, size_t size, charlm_model **model) {
    if (!model) return CHARLM_NULL;
    *model = NULL;
    if (!data) return CHARLM_NULL;
    source from = {NULL, (const unsigned char *)data, size};
    return load(&from, model);
}

static charlm_status load_file(FILE *file, charlm_model **model) {
    if (fseek(file, 0, SEEK_END)) return CHARLM_CANNOT_READ;
    long size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET)) return CHARLM_CANNOT_READ;
    source from = {file, NULL, (uint64_t)size};
    return load(&from, model);
}

charlm_status charlm_load(const char *path, charlm_model **model) {
    if (!model) return CHARLM_NULL;
    *model = NULL;
    if (!path) return CHARLM_NULL;
    FILE *file = fopen(path, "rb");
    if (!file) return CHARLM_CANNOT_READ;
    charlm_status status = load_file(file, model);
    fclose(file);
    return status;
}

void charlm_free_model(charlm_model *model) {
    if (!model) return;
    free(model->characters);
    free(model->weights);
    free(model);
}

int32_t charlm_vocabulary_size(const charlm_model *model) {
    return model ? (int32_t)model->vocabulary : 0;
}

/* ---- Text ---- */

/* Reads one character of UTF-8; returns its number of bytes, or 0 if the text is not UTF-8. */
static size_t read_character(const unsigned char *text, size_t size, uint32_t *code) {
    uint32_t lead = text[0];
    if (lead < 0x80) {
        *code = lead;
        return 1;
    }
    if (lead < 0xC0 || lead > 0xF4) return 0;
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (size < length) return 0;
    uint32_t value = lead & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (text[i] & 0x3Fu);
    }
    uint32_t smallest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (value < smallest || !is_code_point(value)) return 0;
    *code = value;
    return length;
}

static int is_utf8(const unsigned char *text, size_t size) {
    uint32_t code;
    while (size > 0) {
        size_t length = read_character(text, size, &code);
        if (length == 0) return 0;
        text += length;
        size -= length;
    }
    return 1;
}

/* Reads one character of a text that is UTF-8, and moves on; returns its id, or -1. */
static int32_t next_id(const charlm_model *model, const unsigned char **text, size_t *size) {
    uint32_t code = 0;
    size_t length = read_character(*text, *size, &code);
    *text += length;
    *size -= length;
    int32_t id = find_character(model, code);
    return id < 0 ? model->unknown_id : id;
}

charlm_status charlm_encode(const charlm_model *model, const char *text, size_t size,
                            int32_t *ids, size_t *count, size_t *left_out) {
    if (count) *count = 0;
    if (left_out) *left_out = 0;
    if (!model || !count || (size > 0 && (!text || !ids))) return CHARLM_NULL;
    const unsigned char *rest = (const unsigned char *)text;
    if (!is_utf8(rest, size)) return CHARLM_NOT_UTF8;
    while (size > 0) {
        int32_t id = next_id(model, &rest, &size);
        if (id >= 0)
            ids[(*count)++] = id;
        else if (left_out)
            ++*left_out;
    }
    return CHARLM_OK;
}

/* Writes a code point as UTF-8, and returns its number of bytes. */
static size_t write_character(uint32_t code, char *text) {
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (length == 1) {
        text[0] = (char)code;
        return 1;
    }
    for (size_t i = length - 1; i > 0; i--) {
        text[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    text[0] = (char)((0xF00u >> length & 0xF0) | code);
    return length;
}

charlm_status charlm_decode(const charlm_model *model, int32_t id,
                            char text[CHARLM_CHARACTER_BYTES], size_t *size) {
    if (size) *size = 0;
    if (!model || !text) return CHARLM_NULL;
    text[0] = '\0';
    if (id < 0 || (size_t)id >= model->vocabulary) return CHARLM_BAD_ID;
    uint32_t code = id == model->unknown_id ? REPLACEMENT : model->characters[id];
    if (code == NONE) return CHARLM_OK;
    size_t length = write_character(code, text);
    text[length] = '\0';
    if (size) *size = length;
    return CHARLM_OK;
}

/* ---- The network ---- */

/* Adds x [rows] times matrix [rows, columns] to y [columns]; four rows at a time, so that y is
   read and written less often. */
static void multiply_add(float *RESTRICT y, const float *RESTRICT x, const float *RESTRICT matrix,
                         size_t rows, size_t columns) {
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
}

static float activate(float x, uint32_t activation) {
    switch (activation) {
    case TANH: return tanhf(x);
    case RELU: return x > 0 ? x : 0;
    case SIGMOID: return 0.5f * tanhf(0.5f * x) + 0.5f;
    default: return x;
    }
}

/* Adds the input of an id times a matrix [width, units] to y [units]. Without an embedding the
   input is one-hot, so that the product is a row of the matrix. */
static void add_input(float *RESTRICT y, const charlm_model *model, size_t id,
                      const float *matrix) {
    size_t units = model->units;
    if (model->has_embedding) {
        const float *embedding = model->weights + model->embedding + id * model->width;
        multiply_add(y, embedding, matrix, model->width, units);
        return;
    }
    const float *row = matrix + id * units;
    for (size_t j = 0; j < units; j++) y[j] += row[j];
}

static void step_layer(charlm_state *state, size_t index, size_t id) {
    const charlm_model *model = state->model;
    const layer_weights *layer = &model->layer[index];
    const float *weights = model->weights;
    size_t units = model->units;
    float *output = state->outputs + index * units;
    float *sums = state->sums;
    memcpy(sums, weights + layer->bias, units * sizeof(float));
    if (reads_input(model, index)) add_input(sums, model, id, weights + layer->input);
    if (index > 0) multiply_add(sums, output - units, weights + layer->below, units, units);
    multiply_add(sums, output, weights + layer->recurrent, units, units);
    for (size_t j = 0; j < units; j++) output[j] = activate(sums[j], model->activation);
}

static void compute_logits(charlm_state *state) {
    const charlm_model *model = state->model;
    const float *weights = model->weights;
    size_t vocabulary = model->vocabulary;
    size_t first = model->has_skips ? 0 : model->layers - 1;
    size_t features = (model->layers - first) * model->units;
    const float *read = state->outputs + first * model->units;
    memcpy(state->logits, weights + model->logits_bias, vocabulary * sizeof(float));
    multiply_add(state->logits, read, weights + model->logits_kernel, features, vocabulary);
}

charlm_status charlm_step(charlm_state *state, int32_t id) {
    if (!state) return CHARLM_NULL;
    if (id < 0 || (size_t)id >= state->model->vocabulary) return CHARLM_BAD_ID;
    for (size_t index = 0; index < state->model->layers; index++)
        step_layer(state, index, (size_t)id);
    compute_logits(state);
    state->has_read = 1;
    return CHARLM_OK;
}

/* ---- States ---- */

/* Returns the number of floats of a state, at most 2^27 + 2^22. */
static size_t count_floats(const charlm_model *model) {
    return model->layers * model->units + model->units + model->vocabulary;
}

charlm_status charlm_new_state(const charlm_model *model, charlm_state **state) {
    if (!state) return CHARLM_NULL;
    *state = NULL;
    if (!model) return CHARLM_NULL;
    charlm_state *made = (charlm_state *)calloc(1, sizeof(charlm_state));
    if (!made) return CHARLM_NO_MEMORY;
    made->model = model;
    made->outputs = (float *)calloc(count_floats(model), sizeof(float));
    made->candidates = (candidate *)calloc(model->vocabulary, sizeof(candidate));
    if (!made->outputs || !made->candidates) {
        charlm_free_state(made);
        return CHARLM_NO_MEMORY;
    }
    made->sums = made->outputs + model->layers * model->units;
    made->logits = made->sums + model->units;
    *state = made;
    return CHARLM_OK;
}

charlm_status charlm_copy_state(charlm_state *target, const charlm_state *original) {
    if (!target || !original) return CHARLM_NULL;
    if (target->model != original->model) return CHARLM_DIFFERENT_MODELS;
    size_t size = count_floats(target->model) * sizeof(float);
    memmove(target->outputs, original->outputs, size); /* they may be the same state */
    target->has_read = original->has_read;
    return CHARLM_OK;
}

void charlm_reset_state(charlm_state *state) {
    if (!state) return;
    memset(state->outputs, 0, count_floats(state->model) * sizeof(float));
    state->has_read = 0;
}

void charlm_free_state(charlm_state *state) {
    if (!state) return;
    free(state->outputs);
    free(state->candidates);
    free(state);
}

charlm_status charlm_read_text(charlm_state *state, const char *text, size_t size,
                               size_t *left_out) {
    if (left_out) *left_out = 0;
    if (!state || (size > 0 && !text)) return CHARLM_NULL;
    const charlm_model *model = state->model;
    const unsigned char *rest = (const unsigned char *)text;
    if (!is_utf8(rest, size)) return CHARLM_NOT_UTF8;
    while (size > 0) {
        int32_t id = next_id(model, &rest, &size);
        if (id >= 0)
            charlm_step(state, id);
        else if (left_out)
            ++*left_out;
    }
    return state->has_read ? CHARLM_OK : charlm_step(state, model->start_id);
}

float *charlm_logits(charlm_state *state) {
    return state && state->has_read ? state->logits : NULL;
}

/* ---- Sampling ---- */

/* Lists the ids that can be chosen, in their order, and the most likely of them. */
static charlm_status list_candidates(charlm_state *state, size_t *count, candidate *best) {
    size_t vocabulary = state->model->vocabulary;
    *count = 0;
    for (size_t index = 0; index < vocabulary; index++) {
        candidate found = {0, state->logits[index], (int32_t)index};
        if (found.id == state->model->unknown_id) continue;
        if (isnan(found.logit) || found.logit == INFINITY) return CHARLM_NOT_FINITE;
        if (*count == 0 || found.logit > best->logit) *best = found;
        state->candidates[(*count)++] = found;
    }
    return *count == 0 || best->logit == -INFINITY ? CHARLM_NO_CHOICE : CHARLM_OK;
}

/* Orders candidates from the most to the least likely, and equally likely ones by id. */
static int compare_candidates(const void *one, const void *other) {
    const candidate *a = (const candidate *)one;
    const candidate *b = (const candidate *)other;
    if (a->logit != b->logit) return a->logit < b->logit ? 1 : -1;
    return a->id < b->id ? -1 : 1;
}

/* Returns a number from 0 to below 1: splitmix64 (Steele, Lea and Flood 2014). */
static double uniform(uint64_t *random) {
    uint64_t z = *random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0; /* 2^53 */
}

/* Draws from softmax(logits / temperature) of the candidates. */
static int32_t draw(candidate *candidates, size_t count, candidate best, double temperature,
                    uint64_t *random) {
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        candidates[i].weight = exp((candidates[i].logit - best.logit) / temperature);
        total += candidates[i].weight;
    }
    double drawn = uniform(random) * total;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += candidates[i].weight;
        if (sum > drawn) return candidates[i].id;
    }
    return best.id;
}

charlm_status charlm_sample(charlm_state *state, double temperature, size_t top_k,
                            uint64_t *random, int32_t *id) {
    if (id) *id = -1;
    if (!state || !random || !id) return CHARLM_NULL;
    if (!(temperature >= 0) || isinf(temperature)) return CHARLM_BAD_TEMPERATURE;
    if (!state->has_read) return CHARLM_NOTHING_READ;
    size_t count;
    candidate best;
    charlm_status status = list_candidates(state, &count, &best);
    if (status != CHARLM_OK) return status;
    if (temperature == 0) {
        *id = best.id;
        return CHARLM_OK;
    }
    if (top_k > 0 && top_k < count) {
        qsort(state->candidates, count, sizeof(candidate), compare_candidates);
        count = top_k;
    }
    *id = draw(state->candidates, count, best, temperature, random);
    return CHARLM_OK;
}
