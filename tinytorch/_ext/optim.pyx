# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# optim.pyx -- the Python edge of optim.h: it checks every array, computes the constants of the step and calls C.

include "common.pxi"

from tinytorch._ext._reference.optim import check_step

cdef extern from "optim.h" nogil:
    ctypedef struct optim_adam:
        float beta1, beta2, first_rate, second_rate, step_size, root_scale, eps, decay
        int decoupled
    ctypedef struct optim_sgd:
        float lr, momentum, rate, decay
        int nesterov, fresh
    void tt_adam_step(float* x, const float* grad, float* first, float* second, Py_ssize_t n, optim_adam o, int threads)
    void tt_sgd_step(float* x, const float* grad, float* buffer, Py_ssize_t n, optim_sgd o, int threads)


cdef inline bint beside(cnp.ndarray a, cnp.ndarray b) noexcept:
    return cnp.PyArray_SAMESHAPE(a, b) and not overlap(a, b)


def adam_step(cnp.ndarray x not None, cnp.ndarray grad not None, cnp.ndarray first not None, cnp.ndarray second not None,
              long long step, double lr, double beta1, double beta2, double eps, double weight_decay=0, bint decoupled=False,
              int threads=0):
    """One step of Adam on x with its running averages first and second, all of grad's shape, in place. float32, contiguous.

    step counts from 1. decoupled=True is AdamW. Formulas as in optimizers.adam_rule and decay.
    """
    cdef optim_adam o
    if not (writable(x, cnp.NPY_FLOAT32) and readable(grad, cnp.NPY_FLOAT32) and writable(first, cnp.NPY_FLOAT32)
            and writable(second, cnp.NPY_FLOAT32) and beside(x, grad) and beside(x, first) and beside(x, second)
            and beside(first, second) and beside(first, grad) and beside(second, grad) and step > 0):
        check_step("adam_step", step, x, grad, first, second)
    o.beta1, o.beta2, o.first_rate, o.second_rate = beta1, beta2, 1 - beta1, 1 - beta2
    o.step_size, o.root_scale, o.eps = lr / (1 - beta1 ** step), 1 / (1 - beta2 ** step), eps
    o.decay, o.decoupled = lr * weight_decay if decoupled else weight_decay, decoupled
    with nogil:
        tt_adam_step(<float*>x.data, <const float*>grad.data, <float*>first.data, <float*>second.data, cnp.PyArray_SIZE(x), o,
                     threads)


def sgd_step(cnp.ndarray x not None, cnp.ndarray grad not None, cnp.ndarray buffer, double lr, double momentum=0,
             double dampening=0, bint nesterov=False, double weight_decay=0, bint fresh=False, int threads=0):
    """One step of SGD on x, in place; buffer, the velocity, is None without momentum. float32, contiguous, of one shape.

    fresh: the first step, in which the gradient becomes the velocity. Formulas as in optimizers.velocity and look_ahead.
    """
    cdef optim_sgd o
    if not (writable(x, cnp.NPY_FLOAT32) and readable(grad, cnp.NPY_FLOAT32) and beside(x, grad)
            and (buffer is None or (writable(buffer, cnp.NPY_FLOAT32) and beside(x, buffer) and beside(grad, buffer)))):
        check_step("sgd_step", 1, x, grad, buffer)
    o.lr, o.momentum, o.rate, o.decay, o.nesterov, o.fresh = lr, momentum, 1 - dampening, weight_decay, nesterov, fresh
    with nogil:
        tt_sgd_step(<float*>x.data, <const float*>grad.data, <float*>buffer.data if buffer is not None else NULL,
                    cnp.PyArray_SIZE(x), o, threads)
