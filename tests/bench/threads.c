/* SPDX-License-Identifier: MIT */
/* threads.c - 1, 2, 4 and 8 threads, each with 8 direct 4 KiB reads in flight, on one descriptor
 * and on one each: requests per second of all together.
 */
#include "bench.h"
#include <pthread.h>

#define MOST  8
#define DEPTH 8

static void *reads(void *result) {
    double *rate = result;
    *rate = read_rate((int)*rate, DEPTH, 0.4);
    return NULL;
}

/* In `result` goes the descriptor in, and the rate out. */
static double together(int threads, const int *fds) {
    pthread_t ids[MOST];
    double results[MOST], sum = 0;
    for (int i = 0; i < threads; i++) {
        results[i] = fds[i];
        need(pthread_create(&ids[i], NULL, reads, &results[i]) == 0, "thread");
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += results[i];
    }
    return sum;
}

int main(void) {
    int one[MOST], each[MOST];
    warm_up();
    for (int i = 0; i < MOST; i++) {
        each[i] = data_file(O_RDONLY | O_DIRECT);
        one[i] = each[0];
    }
    for (int threads = 1; threads <= MOST; threads *= 2) {
        char name[64];
        snprintf(name, sizeof name, "threads %d on one descriptor", threads);
        figure(name, "1/s", "higher", together(threads, one));
        snprintf(name, sizeof name, "threads %d on a descriptor each", threads);
        figure(name, "1/s", "higher", together(threads, each));
    }
    return 0;
}
