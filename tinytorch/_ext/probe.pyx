# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# probe.pyx -- the Python edge of probe.h: what `python -m tinytorch.bench roofline` times.

include "common.pxi"

from tinytorch._ext._reference import probe as twin

cdef extern from "probe.h" nogil:
    int CHAINS
    Py_ssize_t tt_lanes()
    double tt_multiply_add(Py_ssize_t rounds, float factor, float term, int threads)
    void tt_triad(float* a, const float* b, const float* c, float factor, Py_ssize_t n, int threads)


def multiply_add(Py_ssize_t rounds, int threads=1):
    """Multiply and add in registers, on each thread -> how many floating-point operations that were, on all of them."""
    cdef double result
    if rounds < 0 or threads < 1:
        return twin.multiply_add(rounds, threads)
    with nogil:
        result = tt_multiply_add(rounds, 0.999999, 1e-6, threads)
    if result == 0:                     # never, but the compiler cannot know, and has to compute it
        return 0
    return 2 * CHAINS * tt_lanes() * rounds * threads


def triad(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray c not None, float factor=3.0, int threads=1):
    """Write b + factor c into a: float32, one shape, C-contiguous, apart -> the bytes moved, 12 an element."""
    if not (writable(a, cnp.NPY_FLOAT32) and readable(b, cnp.NPY_FLOAT32) and readable(c, cnp.NPY_FLOAT32) and threads > 0
            and cnp.PyArray_SAMESHAPE(a, b) and cnp.PyArray_SAMESHAPE(a, c) and not overlap(a, b) and not overlap(a, c)):
        return twin.triad(a, b, c, factor, threads)
    with nogil:
        tt_triad(<float*>a.data, <const float*>b.data, <const float*>c.data, factor, cnp.PyArray_SIZE(a), threads)
    return 12 * cnp.PyArray_SIZE(a)
