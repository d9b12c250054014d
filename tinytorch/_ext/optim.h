/* optim.h -- one step of an optimizer, in one pass over parameters, gradients and state, all float32.
 * Design: a step does little arithmetic on much memory (Adam reads four arrays and writes three, 28 bytes an element), so its
 * cost is the number of passes; NumPy makes about fifteen. Constants come in as floats, rounded once, as NumPy rounds them. */
#ifndef TT_ISA
#include <math.h>
#include "threads.h"

/* Elements that a thread takes at a time. */
#define OPTIM_CHUNK 8192

/* decay is weight_decay (coupled) or lr * weight_decay (decoupled); first_rate is 1 - beta1; step_size and root_scale have the
 * corrections for a start at zero in them: lr / (1 - beta1^t) and 1 / (1 - beta2^t). */
typedef struct { float beta1, beta2, first_rate, second_rate, step_size, root_scale, eps, decay; int decoupled; } optim_adam;

/* fresh: the first step, which takes the gradient for the velocity. */
typedef struct { float lr, momentum, rate, decay; int nesterov, fresh; } optim_sgd;

#define TT_TEMPLATE "optim.h"
#include "isa.h"

TT_DISPATCH(void, tt_adam_step, (float *x, const float *grad, float *first, float *second, ptrdiff_t n, optim_adam o, int threads),
            (x, grad, first, second, n, o, threads))
TT_DISPATCH(void, tt_sgd_step, (float *x, const float *grad, float *buffer, ptrdiff_t n, optim_sgd o, int threads),
            (x, grad, buffer, n, o, threads))

#else

static void TT(adam_chunk)(float *restrict x, const float *restrict grad, float *restrict first, float *restrict second,
                           ptrdiff_t n, optim_adam o) {
    float keep = o.decoupled ? 1 - o.decay : 1, coupled = o.decoupled ? 0 : o.decay;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) {
        float g = grad[i] + coupled * x[i];
        float m = o.beta1 * first[i] + o.first_rate * g;
        float v = o.beta2 * second[i] + o.second_rate * g * g;
        first[i] = m;
        second[i] = v;
        x[i] = keep * x[i] - o.step_size * m / (sqrtf(v * o.root_scale) + o.eps);
    }
}

static void TT(tt_adam_step)(float *x, const float *grad, float *first, float *second, ptrdiff_t n, optim_adam o, int wanted) {
    int threads = tt_threads(wanted, 0.4 * n);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t i = 0; i < n; i += OPTIM_CHUNK)
        TT(adam_chunk)(x + i, grad + i, first + i, second + i, n - i < OPTIM_CHUNK ? n - i : OPTIM_CHUNK, o);
}

static void TT(sgd_chunk)(float *restrict x, const float *restrict grad, ptrdiff_t n, optim_sgd o) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) x[i] -= o.lr * (grad[i] + o.decay * x[i]);
}

static void TT(momentum_chunk)(float *restrict x, const float *restrict grad, float *restrict buffer, ptrdiff_t n, optim_sgd o) {
    float before = o.fresh ? 0 : o.momentum, rate = o.fresh ? 1 : o.rate;
    float ahead = o.nesterov ? o.momentum : 1, straight = o.nesterov ? 1 : 0;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) {
        float g = grad[i] + o.decay * x[i], v = before * buffer[i] + rate * g;
        buffer[i] = v;
        x[i] -= o.lr * (straight * g + ahead * v);
    }
}

static void TT(tt_sgd_step)(float *x, const float *grad, float *buffer, ptrdiff_t n, optim_sgd o, int wanted) {
    int threads = tt_threads(wanted, 0.2 * n);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t i = 0; i < n; i += OPTIM_CHUNK) {
        ptrdiff_t length = n - i < OPTIM_CHUNK ? n - i : OPTIM_CHUNK;
        if (buffer) TT(momentum_chunk)(x + i, grad + i, buffer + i, length, o);
        else TT(sgd_chunk)(x + i, grad + i, length, o);
    }
}
#endif
