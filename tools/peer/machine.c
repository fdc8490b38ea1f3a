/* What two cores can do at most: products and sums in registers, and bytes through memory.
 *
 *     cc -O3 -march=native -pthread tools/peer/machine.c -o machine && ./machine
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CORES = 2, VECTORS = 12, LANES = 16, FLOATS = 32 << 20, ROUNDS = 10 };
static const long STEPS = 200000000;
typedef float vector __attribute__((vector_size(LANES * sizeof(float))));
static float *from[CORES], *to[CORES], kept[CORES];

static void *multiply(void *core) {
    vector sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        for (int lane = 0; lane < LANES; lane++) sums[i][lane] = 0.01f * i;
    for (long step = 0; step < STEPS; step++)
        for (int i = 0; i < VECTORS; i++) sums[i] = sums[i] * 0.999f + 0.001f;
    for (int i = 0; i < VECTORS; i++) kept[(long)core] += sums[i][0];
    return 0;
}

static void *move(void *core) {
    for (int round = 0; round < ROUNDS; round++)
        for (long i = 0; i < FLOATS; i++) to[(long)core][i] = from[(long)core][i] * 0.5f + 1.0f;
    return 0;
}

static double seconds(void *(*work)(void *)) {
    pthread_t threads[CORES];
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (long core = 0; core < CORES; core++) pthread_create(threads + core, 0, work, (void *)core);
    for (int core = 0; core < CORES; core++) pthread_join(threads[core], 0);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return ended.tv_sec - began.tv_sec + 1e-9 * (ended.tv_nsec - began.tv_nsec);
}

int main(void) {
    size_t size = FLOATS * sizeof(float);
    for (int core = 0; core < CORES; core++) {
        memset(from[core] = malloc(size), 1, size);
        memset(to[core] = malloc(size), 1, size);
    }
    for (int round = 0; round < 3; round++) {
        double products = 2.0 * CORES * LANES * VECTORS * STEPS / seconds(multiply);
        double bytes = 2.0 * CORES * size * ROUNDS / seconds(move);
        printf("%.0f GFLOP/s, %.1f GB/s (%g)\n", 1e-9 * products, 1e-9 * bytes, kept[0] + to[0][0]);
    }
}
