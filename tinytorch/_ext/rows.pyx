# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# rows.pyx -- the Python edge of rows.h: it checks every array, gives up the GIL and calls C.

include "common.pxi"

from tinytorch._ext._reference import rows as checked

cdef extern from "rows.h" nogil:
    void tt_relu(const float* x, float* out, Py_ssize_t n, int threads)


def relu(cnp.ndarray x not None, cnp.ndarray out not None, int threads=0):
    """Write max(x, 0) into out, of the same shape: float32, C-contiguous; out may be x."""
    if not (readable(x, cnp.NPY_FLOAT32) and writable(out, cnp.NPY_FLOAT32) and cnp.PyArray_SAMESHAPE(x, out)
            and not partly_overlap(x, out)):
        checked.check_elementwise("relu", out, x)
    with nogil:
        tt_relu(<const float*>x.data, <float*>out.data, cnp.PyArray_SIZE(x), threads)
