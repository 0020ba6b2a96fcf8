/* charlm.h: text from a model that charlm has exported to model.bin. MIT license, see LICENSE.

   Compile charlm.c with your program, as C11 or as C++17, and link the math library:

       cc -O3 yours.c charlm.c -lm

   A model is the weights and the characters. Nothing changes it once it is loaded, so several
   threads can use one model at the same time. A state is what the network remembers of the text
   that it has read, with room for the logits of the next character. A thread that generates text
   needs a state of its own. Any number of models and states can be used at the same time.

   A character is a Unicode code point, and its id is a number from 0 to V - 1, where V is the
   number of ids of the model. Up to two ids are reserved: the unknown id, which means any
   character without an id, and the end of a text.

   Text must be UTF-8 in the Unicode normal form NFC, which charlm trains on. NFC writes "e" with
   an accent as one character. The library does not convert text. A character that the model does
   not know, for instance a combining accent, becomes the unknown id; if the model has none, the
   character is left out and counted.

   Functions that can fail return a charlm_status. The library never prints and never ends the
   program. Each function says which pointers may be NULL; for other pointers, NULL gives
   CHARLM_NULL. */

#ifndef CHARLM_H
#define CHARLM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum charlm_status {
    CHARLM_OK = 0,
    CHARLM_NULL,              /* a pointer that a function needs is NULL */
    CHARLM_NO_MEMORY,         /* not enough memory */
    CHARLM_CANNOT_READ,       /* the file cannot be opened or read */
    CHARLM_NOT_A_MODEL,       /* the data does not begin like a model.bin */
    CHARLM_DAMAGED,           /* the data is cut short, too long, or has impossible sizes */
    CHARLM_NOT_UTF8,          /* the text is not UTF-8 */
    CHARLM_BAD_ID,            /* the id is below 0 or above V - 1 */
    CHARLM_BAD_TEMPERATURE,   /* the temperature is negative or not finite */
    CHARLM_DIFFERENT_MODELS,  /* the two states belong to different models */
    CHARLM_NOTHING_READ,      /* the state has no logits yet, because it has read nothing */
    CHARLM_NOT_FINITE,        /* a logit is NaN or infinite */
    CHARLM_NO_CHOICE          /* no id can be chosen: each is unknown or has the logit -INFINITY */
} charlm_status;

typedef struct charlm_model charlm_model;
typedef struct charlm_state charlm_state;

/* Maximum number of bytes that charlm_decode writes: four for a character, and a zero. */
#define CHARLM_CHARACTER_BYTES 5

/* Returns a status as a sentence in English, without a full stop. The string is constant. */
const char *charlm_message(charlm_status status);

/* ---- Models ---- */

/* Loads model.bin. The path is passed to fopen and must name a regular file.

   Sets *model to a model that the caller frees with charlm_free_model, or to NULL after an error.
   The size of the file is compared with what its header says before memory is allocated.
   Errors: CHARLM_CANNOT_READ, CHARLM_NOT_A_MODEL, CHARLM_DAMAGED, CHARLM_NO_MEMORY. */
charlm_status charlm_load(const char *path, charlm_model **model);

/* Loads the bytes of a model.bin from memory, with any alignment. Like charlm_load, but never
   returns CHARLM_CANNOT_READ. The data is copied, so it is not needed afterwards. */
charlm_status charlm_load_memory(const void *data, size_t size, charlm_model **model);

/* Frees a model; NULL is fine. Its states can be freed later, but not used any more. */
void charlm_free_model(charlm_model *model);

/* Returns V, the number of ids: 1 or more, or 0 if the model is NULL. */
int32_t charlm_vocabulary_size(const charlm_model *model);

/* ---- Text ---- */

/* Encodes a text.

   text: UTF-8 of `size` bytes, which need not end with a zero; NULL if size is 0.
   ids: memory for `size` ids, which is enough for any text; NULL if size is 0.
   count: becomes the number of ids, 0 after an error.
   left_out: becomes the number of characters that were left out, 0 after an error; or NULL.
   Errors: CHARLM_NOT_UTF8, and then the contents of `ids` have no meaning. */
charlm_status charlm_encode(const charlm_model *model, const char *text, size_t size,
                            int32_t *ids, size_t *count, size_t *left_out);

/* Writes the character of an id as UTF-8, with a zero after it.

   text: memory for CHARLM_CHARACTER_BYTES bytes.
   size: becomes the number of bytes before that zero, 1 to 4, or 0 for the end of a text; or
   NULL. The unknown id becomes U+FFFD.
   Errors: CHARLM_BAD_ID. */
charlm_status charlm_decode(const charlm_model *model, int32_t id,
                            char text[CHARLM_CHARACTER_BYTES], size_t *size);

/* ---- States ---- */

/* Makes a state that has read nothing. The state uses the model until the state is freed.

   Sets *state to a state that the caller frees with charlm_free_state, or to NULL after an error.
   Errors: CHARLM_NO_MEMORY. */
charlm_status charlm_new_state(const charlm_model *model, charlm_state **state);

/* Makes `target` equal to `source`, for instance to continue one text in several ways.
   Errors: CHARLM_DIFFERENT_MODELS. */
charlm_status charlm_copy_state(charlm_state *target, const charlm_state *source);

/* Resets a state, so that it has read nothing; NULL is fine. */
void charlm_reset_state(charlm_state *state);

/* Frees a state; NULL is fine. */
void charlm_free_state(charlm_state *state);

/* Reads one id: changes the state, and computes the logits of the character after it.
   Errors: CHARLM_BAD_ID. */
charlm_status charlm_step(charlm_state *state, int32_t id);

/* Reads a text: a prompt, or more of it. If the state has read nothing before, and no character
   of the text becomes an id, the state reads what `charlm sample` reads for an empty prompt: the
   end-of-text id, or else a line break, or else the id 0.

   text: UTF-8 of `size` bytes, which need not end with a zero; NULL if size is 0.
   left_out: becomes the number of characters that were left out, 0 after an error; or NULL.
   Errors: CHARLM_NOT_UTF8, and then the state is unchanged. */
charlm_status charlm_read_text(charlm_state *state, const char *text, size_t size,
                               size_t *left_out);

/* Returns the V logits that the last id gave; the probabilities are their softmax. The array
   belongs to the state, and the next id overwrites it. The array may be changed before
   charlm_sample: add the logits of another model, or set a logit to -INFINITY to rule out an id.
   NULL if the state is NULL or has read nothing. */
float *charlm_logits(charlm_state *state);

/* Chooses the next id. The state does not read it: call charlm_step.

   temperature: 0 chooses the most likely id, as `charlm sample -t 0` does. Above 0, the id is
   drawn from softmax(logits / temperature).
   top_k: draws from the `top_k` most likely ids; 0 = all.
   random: the state of the random numbers (splitmix64), which a draw changes. It may begin
   as any number; the same number gives the same ids, but not those of charlm.
   id: becomes the id, -1 after an error. It is never the unknown id.
   Errors: CHARLM_BAD_TEMPERATURE, CHARLM_NOTHING_READ, CHARLM_NOT_FINITE, CHARLM_NO_CHOICE. */
charlm_status charlm_sample(charlm_state *state, double temperature, size_t top_k,
                            uint64_t *random, int32_t *id);

#ifdef __cplusplus
}
#endif

#endif
