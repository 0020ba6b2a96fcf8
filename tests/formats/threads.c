/* Generates a text in each of two threads with one model, and prints both, each in a line. */

#include <pthread.h>
#include <stdio.h>

#include "charlm.h"

enum { LENGTH = 2000 };

typedef struct {
    const charlm_model *model;
    charlm_status status;
    int32_t ids[LENGTH];
} task;

static void *generate(void *argument) {
    task *own = argument;
    charlm_state *state;
    uint64_t random = 1;
    own->status = charlm_new_state(own->model, &state);
    if (!own->status) own->status = charlm_read_text(state, "a", 1, NULL);
    for (int i = 0; i < LENGTH && !own->status; i++) {
        own->status = charlm_sample(state, 1.0, 3, &random, &own->ids[i]);
        if (!own->status) own->status = charlm_step(state, own->ids[i]);
    }
    charlm_free_state(state);
    return NULL;
}

int main(int count, char **arguments) {
    static task tasks[2];
    pthread_t threads[2];
    charlm_model *model;
    if (count < 2 || charlm_load(arguments[1], &model)) return 1;
    for (int i = 0; i < 2; i++) {
        tasks[i].model = model;
        if (pthread_create(&threads[i], NULL, generate, &tasks[i])) return 1;
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        if (tasks[i].status) return 1;
        for (int j = 0; j < LENGTH; j++) printf("%d ", tasks[i].ids[j]);
        printf("\n");
    }
    charlm_free_model(model);
    return 0;
}
