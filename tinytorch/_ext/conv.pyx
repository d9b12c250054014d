# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# conv.pyx -- the Python edge of conv.h: it checks every array, gives up the GIL and calls C. The checks are Python, those
# of the NumPy twins: ten microseconds, where a small convolution takes a hundred.

include "common.pxi"

from tinytorch._ext._reference.conv import check_conv2d

cdef extern from "conv.h" nogil:
    ctypedef struct Conv:
        Py_ssize_t N, C, H, W, O, OH, OW, KH, KW, groups
        Py_ssize_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w
    int tt_conv2d(const float* x, const float* w, const float* bias, float* out, const Conv* v, int threads)
    int tt_conv2d_input_grad(const float* grad, const float* w, float* dx, const Conv* v, int threads)
    int tt_conv2d_weight_grad(const float* x, const float* grad, float* dw, float* db, const Conv* v, int threads)


cdef Conv describe(cnp.ndarray x, cnp.ndarray w, cnp.ndarray out, stride, padding, dilation, Py_ssize_t groups) except *:
    return Conv(N=x.shape[0], C=x.shape[1], H=x.shape[2], W=x.shape[3], O=out.shape[1], OH=out.shape[2], OW=out.shape[3],
                KH=w.shape[2], KW=w.shape[3], groups=groups, stride_h=stride[0], stride_w=stride[1],
                padding_h=padding[0], padding_w=padding[1], dilation_h=dilation[0], dilation_w=dilation[1])


def conv2d(cnp.ndarray x not None, cnp.ndarray weight not None, cnp.ndarray out not None, cnp.ndarray bias=None,
           stride=(1, 1), padding=(0, 0), dilation=(1, 1), Py_ssize_t groups=1, int threads=0):
    """Write the correlation of images x (N, C, H, W) with weight (O, C / groups, KH, KW), plus bias (O,), into out.

    out (N, O, OH, OW) with OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1. float32, C-contiguous; stride,
    padding and dilation are pairs. The border of zeros takes part: an infinite weight over it gives NaN.
    """
    cdef int failed
    check_conv2d("conv2d", (x, weight, bias, out), ("x", "weight", "bias", "out"), ("out",), stride, padding, dilation,
                 groups)
    cdef Conv v = describe(x, weight, out, stride, padding, dilation, groups)
    cdef const float* b = <const float*>bias.data if bias is not None else NULL
    with nogil:
        failed = tt_conv2d(<const float*>x.data, <const float*>weight.data, b, <float*>out.data, &v, threads)
    if failed:
        raise MemoryError("conv2d: no memory for the copied windows")


def conv2d_input_grad(cnp.ndarray grad not None, cnp.ndarray weight not None, cnp.ndarray dx not None,
                      stride=(1, 1), padding=(0, 0), dilation=(1, 1), Py_ssize_t groups=1, int threads=0):
    """Write the gradient of conv2d's x, given that of its out, into dx. Arrays and arguments as for conv2d."""
    cdef int failed
    check_conv2d("conv2d_input_grad", (dx, weight, None, grad), ("dx", "weight", "bias", "grad"), ("dx",), stride, padding,
                 dilation, groups)
    cdef Conv v = describe(dx, weight, grad, stride, padding, dilation, groups)
    with nogil:
        failed = tt_conv2d_input_grad(<const float*>grad.data, <const float*>weight.data, <float*>dx.data, &v, threads)
    if failed:
        raise MemoryError("conv2d_input_grad: no memory for the copied windows")


def conv2d_weight_grad(cnp.ndarray x not None, cnp.ndarray grad not None, cnp.ndarray dweight not None,
                       cnp.ndarray dbias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), Py_ssize_t groups=1,
                       int threads=0):
    """Write the gradients of conv2d's weight and, unless dbias is None, of its bias, given that of its out."""
    cdef int failed
    check_conv2d("conv2d_weight_grad", (x, dweight, dbias, grad), ("x", "dweight", "dbias", "grad"), ("dweight", "dbias"),
                 stride, padding, dilation, groups)
    cdef Conv v = describe(x, dweight, grad, stride, padding, dilation, groups)
    cdef float* db = <float*>dbias.data if dbias is not None else NULL
    with nogil:
        failed = tt_conv2d_weight_grad(<const float*>x.data, <const float*>grad.data, <float*>dweight.data, db, &v, threads)
    if failed:
        raise MemoryError("conv2d_weight_grad: no memory for the copied windows")
