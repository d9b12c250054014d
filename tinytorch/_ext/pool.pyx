# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# pool.pyx -- the Python edge of pool.h: it checks every array, gives up the GIL and calls C. The checks are the twins'.

include "common.pxi"

from libc.stdint cimport int32_t

from tinytorch._ext._reference.pool import check_pool, check_places

cdef extern from "pool.h" nogil:
    ctypedef struct Pool:
        Py_ssize_t planes, H, W, OH, OW, KH, KW, stride_h, stride_w, padding_h, padding_w
    void tt_max_pool2d(const float* x, float* out, int32_t* index, const Pool* p, int threads)
    bint tt_places_fit(const int32_t* index, Py_ssize_t n, int32_t size)
    void tt_max_pool2d_backward(const float* grad, const int32_t* index, float* dx, const Pool* p, int threads)
    void tt_avg_pool2d(const float* x, float* out, const Pool* p, int threads)
    void tt_avg_pool2d_backward(const float* grad, float* dx, const Pool* p, int threads)


cdef Pool describe(cnp.ndarray x, cnp.ndarray out, kernel, stride, padding) except *:
    return Pool(planes=x.shape[0] * x.shape[1], H=x.shape[2], W=x.shape[3], OH=out.shape[2], OW=out.shape[3],
                KH=kernel[0], KW=kernel[1], stride_h=stride[0], stride_w=stride[1], padding_h=padding[0],
                padding_w=padding[1])


def max_pool2d(cnp.ndarray x not None, cnp.ndarray out not None, cnp.ndarray index not None, kernel, stride,
               padding=(0, 0), int threads=0):
    """Write the largest number of every window of x (N, C, H, W) into out (N, C, OH, OW), and its place into index.

    OH = (H + 2 padding - KH) // stride + 1. index, int32, counts through the H x W plane; of equals the first is taken, and
    NaN is larger than any number. float32, C-contiguous; kernel, stride and padding are pairs, padding at most half of kernel.
    """
    check_pool("max_pool2d", x, out, kernel, stride, padding, "out", index)
    cdef Pool p = describe(x, out, kernel, stride, padding)
    with nogil:
        tt_max_pool2d(<const float*>x.data, <float*>out.data, <int32_t*>index.data, &p, threads)


def max_pool2d_backward(cnp.ndarray grad not None, cnp.ndarray index not None, cnp.ndarray dx not None, kernel, stride,
                    padding=(0, 0), int threads=0):
    """Write the gradient of max_pool2d's x into dx, given that of its out: what each window gets goes to its index."""
    check_pool("max_pool2d_backward", dx, grad, kernel, stride, padding, "dx", index)
    cdef Pool p = describe(dx, grad, kernel, stride, padding)
    if not tt_places_fit(<const int32_t*>index.data, index.size, <int32_t>(p.H * p.W)):
        check_places("max_pool2d_backward", index, dx)
    with nogil:
        tt_max_pool2d_backward(<const float*>grad.data, <const int32_t*>index.data, <float*>dx.data, &p, threads)


def avg_pool2d(cnp.ndarray x not None, cnp.ndarray out not None, kernel, stride, padding=(0, 0), int threads=0):
    """Write the mean of every window of x (N, C, H, W) into out; zeros of the padding count. Arguments as max_pool2d's."""
    check_pool("avg_pool2d", x, out, kernel, stride, padding, "out")
    cdef Pool p = describe(x, out, kernel, stride, padding)
    with nogil:
        tt_avg_pool2d(<const float*>x.data, <float*>out.data, &p, threads)


def avg_pool2d_backward(cnp.ndarray grad not None, cnp.ndarray dx not None, kernel, stride, padding=(0, 0), int threads=0):
    """Write the gradient of avg_pool2d's x into dx, given that of its out: each number of a window gets an equal share."""
    check_pool("avg_pool2d_backward", dx, grad, kernel, stride, padding, "dx")
    cdef Pool p = describe(dx, grad, kernel, stride, padding)
    with nogil:
        tt_avg_pool2d_backward(<const float*>grad.data, <float*>dx.data, &p, threads)
