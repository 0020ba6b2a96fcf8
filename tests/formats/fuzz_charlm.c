/* libFuzzer's target for charlm.c. The first byte of an input is the number of bytes of the
   prompt, the second one is the allocation that fails (0 = none). The prompt follows, then
   model.bin.

   The library is included here so that its allocations are counted: none may be left over, and
   they may not be much larger than the model. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t live_blocks, allocations, failing_allocation, allocated_bytes;

static void *count_block(void *block, size_t size) {
    live_blocks += block != NULL;
    allocated_bytes += size;
    return block;
}

static void *counted_calloc(size_t number, size_t size) {
    if (++allocations == failing_allocation) return NULL;
    return count_block(calloc(number, size), number * size);
}

static void *counted_malloc(size_t size) {
    if (++allocations == failing_allocation) return NULL;
    return count_block(malloc(size), size);
}

static void counted_free(void *block) {
    live_blocks -= block != NULL;
    free(block);
}

#define calloc counted_calloc
#define malloc counted_malloc
#define free counted_free
#include CHARLM_C
#undef calloc
#undef malloc
#undef free

enum { STEPS = 20 };

static void require(int condition, const char *message) {
    if (condition) return;
    fprintf(stderr, "%s\n", message);
    abort();
}

static void generate(const charlm_model *model, charlm_state *state) {
    uint64_t random = 1;
    for (int count = 0; count < STEPS; count++) {
        int32_t id;
        char text[CHARLM_CHARACTER_BYTES];
        size_t size;
        double temperature = count % 3 * 0.5;
        size_t top_k = count % 2 ? 3 : 0;
        charlm_status status = charlm_sample(state, temperature, top_k, &random, &id);
        if (status != CHARLM_OK) {
            require(status == CHARLM_NOT_FINITE || status == CHARLM_NO_CHOICE, "wrong status");
            return;
        }
        require(charlm_decode(model, id, text, &size) == CHARLM_OK, "cannot decode");
        require(size < CHARLM_CHARACTER_BYTES && text[size] == '\0', "no zero after the character");
        require(charlm_step(state, id) == CHARLM_OK, "cannot step");
    }
}

static charlm_status use_model(const charlm_model *model, const char *prompt, size_t size) {
    charlm_state *state;
    charlm_status status = charlm_new_state(model, &state);
    if (status != CHARLM_OK) return status;
    int32_t ids[256];
    size_t count, left_out, left_out_again;
    charlm_status encoded = charlm_encode(model, prompt, size, ids, &count, &left_out);
    status = charlm_read_text(state, prompt, size, &left_out_again);
    require(encoded == status && left_out == left_out_again, "two readings differ");
    if (status == CHARLM_OK) generate(model, state);
    require(charlm_copy_state(state, state) == CHARLM_OK, "cannot copy");
    charlm_reset_state(state);
    require(charlm_logits(state) == NULL, "a new state has logits");
    charlm_free_state(state);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size - 2 < data[0]) return -1;
    size_t prompt_size = data[0];
    const uint8_t *model_data = data + 2 + prompt_size;
    size_t model_size = size - 2 - prompt_size;
    char *prompt = malloc(prompt_size); /* the sanitizer finds what is read after its end */
    memcpy(prompt, data + 2, prompt_size);
    allocations = allocated_bytes = 0;
    failing_allocation = data[1];
    charlm_model *model;
    charlm_status status = charlm_load_memory(model_data, model_size, &model);
    require((status == CHARLM_OK) == (model != NULL), "the model does not match the status");
    if (model) status = use_model(model, prompt, prompt_size);
    charlm_free_model(model);
    free(prompt);
    int has_failed = failing_allocation > 0 && allocations >= failing_allocation;
    require(has_failed == (status == CHARLM_NO_MEMORY), "a failed allocation is not returned");
    require(live_blocks == 0, "memory was not freed");
    require(allocated_bytes <= 4096 + 4 * model_size, "more memory than the model explains");
    return 0;
}
