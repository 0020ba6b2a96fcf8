/* charlm.h: text from a model that charlm has exported to model.bin. MIT license, see LICENSE.

   Compile charlm.c with your program, as C11 or as C++17, and link the math library:

       cc -O3 yours.c charlm.c -lm

   A model never changes after it is loaded, so several threads can share it. A state is an array
   of charlm_state_size(model) floats that you allocate: what the network remembers of the text
   that it has read, and the logits of the next character. A state of zeros has read nothing; copy
   a state with memcpy, for instance to continue one text in several ways.

   A character is a Unicode code point, and its id is a number from 0 to V - 1. Up to two ids are
   reserved: the unknown id, which means any character without an id, and the end of a text.

   The library has no global variables, never prints, and never ends the program. No pointer may
   be NULL unless a function says so. */

#ifndef CHARLM_H
#define CHARLM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum charlm_status {
    CHARLM_OK = 0,
    CHARLM_NO_MEMORY,   /* not enough memory */
    CHARLM_CANNOT_READ, /* the file cannot be opened or read */
    CHARLM_DAMAGED,     /* the data is not a model.bin, or is damaged */
    CHARLM_BAD_INPUT,   /* the text is not UTF-8, or the model has no such id */
    CHARLM_NO_CHOICE    /* no id can be chosen: the state has read nothing, a logit is NaN or
                           infinite, or all logits are -INFINITY */
} charlm_status;

typedef struct charlm_model charlm_model;

/* Loads model.bin from a file, or from `size` bytes in memory with any alignment, which are copied.

   Sets *model to a model that you free with charlm_free, or to NULL after an error. */
charlm_status charlm_load(const char *path, charlm_model **model);
charlm_status charlm_load_memory(const void *data, size_t size, charlm_model **model);

/* Frees a model; NULL is fine. */
void charlm_free(charlm_model *model);

/* Returns V, the number of ids. */
int32_t charlm_vocabulary_size(const charlm_model *model);

/* Returns the number of floats of a state. */
size_t charlm_state_size(const charlm_model *model);

/* Returns the V logits in a state; the probabilities of the next id are their softmax. You may
   change them before charlm_sample, for instance set one to -INFINITY to rule out an id. */
float *charlm_logits(const charlm_model *model, float *state);

/* Reads one id: changes the state, and computes the logits of the id after it.
   Error: CHARLM_BAD_INPUT. */
charlm_status charlm_step(const charlm_model *model, float *state, int32_t id);

/* Reads a text: `size` bytes of UTF-8, in the Unicode normal form NFC, which charlm trains on.

   A character without an id becomes the unknown id; if the model has none, the character is left
   out. If the state has read nothing at the end, it reads what a text begins with.
   left_out: becomes the number of characters that were left out.
   Error: CHARLM_BAD_INPUT; the state has then read the text before the error. */
charlm_status charlm_read_text(const charlm_model *model, float *state, const char *text,
                               size_t size, size_t *left_out);

/* Scores a text while reading it like charlm_read_text: *nats becomes the sum of -log p over its
   characters, and *characters their number. If the state has read nothing, it first reads
   what a text begins with. (`charlm evaluate` begins with the first character instead, and does
   not score it.)
   Errors: CHARLM_BAD_INPUT; CHARLM_NO_CHOICE if a logit is NaN or infinite. */
charlm_status charlm_score(const charlm_model *model, float *state, const char *text, size_t size,
                           double *nats, size_t *characters, size_t *left_out);

/* Scores a line, `size` bytes of UTF-8 without its line break, like `charlm evaluate --lines`:
   *score becomes the mean loss of its three most surprising characters, among them the line break
   at its end. A character without an id has a loss of 100. What the state has read is forgotten.
   Errors: CHARLM_BAD_INPUT, also if the model does not know line breaks; CHARLM_NO_CHOICE. */
charlm_status charlm_score_line(const charlm_model *model, float *state, const char *line,
                                size_t size, double *score);

/* Chooses the next id, never the unknown id. The state does not read it: call charlm_step.

   temperature: above 0, the id is drawn from softmax(logits / temperature); otherwise the most
   likely id is chosen.
   random: the state of the random numbers (splitmix64), which a draw changes. It may begin as any
   number; the same number gives the same ids.
   Error: CHARLM_NO_CHOICE. */
charlm_status charlm_sample(const charlm_model *model, float *state, double temperature,
                            uint64_t *random, int32_t *id);

/* Writes the character of an id as UTF-8, with a zero after it. Returns its number of bytes, 1 to
   4; 0 for the end of a text and for a number that is no id. The unknown id becomes U+FFFD. */
size_t charlm_decode(const charlm_model *model, int32_t id, char text[5]);

#ifdef __cplusplus
}
#endif

#endif
