/* SPDX-License-Identifier: MIT */
/* Random insertions and removals of shim/request/rank.c against a list that is walked; for rank.sh.
 */
#include "request/rank.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 2000, SEEDS = 400 };

static struct kaio_req reqs[MANY], *model[MANY];
static struct kaio_reqs list;
static int used, length;

/* Behind the last that it must not pass. */
static void insert(int ranks) {
    struct kaio_req *req = &reqs[used++];
    int at = length;
    req->op = rand() % 5 ? KAIO_WRITE : KAIO_FSYNC;
    req->iocb.aio_reqprio = (short)(rand() % ranks);
    while (req->op == KAIO_WRITE && at > 0 && model[at - 1]->op == KAIO_WRITE &&
           rank(model[at - 1]) > rank(req))
        at--;
    memmove(&model[at + 1], &model[at], (size_t)(length++ - at) * sizeof *model);
    model[at] = req;
    kaio_rank_insert(&list, req);
}

static void drop(int at) {
    kaio_rank_remove(&list, model[at]);
    memmove(&model[at], &model[at + 1], (size_t)(--length - at) * sizeof *model);
}

static bool is_same(void) {
    const struct kaio_req *req;
    int i = 0;
    TAILQ_FOREACH(req, &list, link)
        if (i == length || req != model[i++]) return false;
    return i == length;
}

int main(void) {
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        srand(seed);
        memset(reqs, 0, sizeof reqs);
        TAILQ_INIT(&list);
        used = length = 0;
        int ranks = 1 + rand() % 6;
        while (used < MANY) {
            if (length == 0 || rand() % 3) insert(ranks);
            else drop(rand() % 2 ? 0 : rand() % length); /* its turn has come, or cancelled */
            if (!is_same()) {
                printf("seed %u, request %d: another order\n", seed, used);
                return 1;
            }
        }
    }
    puts("done");
    return 0;
}
