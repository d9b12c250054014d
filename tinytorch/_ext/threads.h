/* threads.h -- how many threads a kernel takes.
 *
 *     int threads = tt_threads(wanted, nanoseconds);
 *     #pragma omp parallel for num_threads(threads) schedule(static)
 *
 * `wanted` is the kernel's argument `threads`: 0 stands for the process's default, which tinytorch.backend sets
 * (TINYTORCH_NUM_THREADS, else OMP_NUM_THREADS, else the processors it may use, at most 4). `nanoseconds` is about how long
 * the work takes on one thread: no thread is woken for less than TT_GRAIN of it.
 *
 * tt_start() is called once, when the extension module is loaded. After fork() a child runs on one thread: the parent's
 * OpenMP team does not exist there, and libgomp would wait for it for ever. DataLoader's workers are such children.
 *
 * Waiting is passive (tinytorch/_ext/__init__.py sets it before libgomp loads): where threads outnumber processors, as on a
 * hub, a spinning team is many times slower than one thread.
 *
 * Rules for kernels: one element or one row is computed by one thread, so that results do not depend on their number;
 * a sum across rows is cut at places that depend on the shape alone, and the parts are added in order. */
#ifndef TINYTORCH_THREADS_H
#define TINYTORCH_THREADS_H
#include <stddef.h>
#include <pthread.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include "isa.h"

/* Waking a passive thread and joining it takes 5 to 20 microseconds on Linux. */
#define TT_GRAIN 20000.0

static int tt_default_threads = 1;
static int tt_forked = 0;

static void tt_after_fork(void) { tt_forked = 1; }

static inline int tt_has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

static inline void tt_start(void) {
    tt_isa = tt_best_isa();
    pthread_atfork(NULL, NULL, tt_after_fork);
}

static inline int tt_threads(int wanted, double nanoseconds) {
#ifdef _OPENMP
    if (wanted <= 0) wanted = tt_default_threads;
    if (wanted == 1 || tt_forked || omp_in_parallel()) return 1;
    double useful = nanoseconds / TT_GRAIN;
    return useful < 1 ? 1 : useful < wanted ? (int)useful : wanted;
#else
    (void)wanted, (void)nanoseconds;
    return 1;
#endif
}

static inline int tt_thread_number(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}
#endif
