# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# batch_norm.pyx -- the Python edge of batch_norm.h: it checks every array, gives up the GIL and calls C.

include "common.pxi"

from tinytorch._ext._reference.batch_norm import check_batch_norm

cdef extern from "batch_norm.h" nogil:
    void tt_batch_norm(const float* x, const float* weight, const float* bias, float* out, float* mean, float* var,
                       Py_ssize_t N, Py_ssize_t C, Py_ssize_t P, double eps, int training, int threads)
    void tt_batch_norm_backward(const float* x, const float* grad, const float* weight, const float* mean, const float* var,
                            float* dx, float* dweight, float* dbias, Py_ssize_t N, Py_ssize_t C, Py_ssize_t P, double eps,
                            int training, int threads)


def batch_norm(cnp.ndarray x not None, cnp.ndarray weight not None, cnp.ndarray bias not None, cnp.ndarray out not None,
               cnp.ndarray mean not None, cnp.ndarray var not None, double eps=1e-5, bint training=True, int threads=0):
    """Write (x - mean) / sqrt(var + eps) * weight + bias, channel by channel of x (N, C, ...), into out.

    In training, mean and var (C,) are written: of the channel over everything but C, var dividing by the count. In
    evaluation they are read. float32, C-contiguous; training wants at least one number a channel.
    """
    check_batch_norm("batch_norm", x, out, (weight, bias, mean, var), ("weight", "bias", "mean", "var"),
                     ("out", "mean", "var") if training else ("out",), training)
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], P = cnp.PyArray_SIZE(x) // max(N * C, 1)
    with nogil:
        tt_batch_norm(<const float*>x.data, <const float*>weight.data, <const float*>bias.data, <float*>out.data,
                      <float*>mean.data, <float*>var.data, N, C, P, eps, training, threads)


def batch_norm_backward(cnp.ndarray x not None, cnp.ndarray grad not None, cnp.ndarray weight not None,
                    cnp.ndarray mean not None, cnp.ndarray var not None, cnp.ndarray dx not None,
                    cnp.ndarray dweight not None, cnp.ndarray dbias not None, double eps=1e-5, bint training=True,
                    int threads=0):
    """Write the gradients of batch_norm's x, weight and bias, given that of its out and the mean and var that it used."""
    check_batch_norm("batch_norm_backward", x, grad, (weight, mean, var, dx, dweight, dbias),
                     ("weight", "mean", "var", "dx", "dweight", "dbias"), ("dx", "dweight", "dbias"), training)
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], P = cnp.PyArray_SIZE(x) // max(N * C, 1)
    with nogil:
        tt_batch_norm_backward(<const float*>x.data, <const float*>grad.data, <const float*>weight.data,
                           <const float*>mean.data, <const float*>var.data, <float*>dx.data, <float*>dweight.data,
                           <float*>dbias.data, N, C, P, eps, training, threads)
