# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# rows.pyx -- the Python edge of rows.h: it checks every array, gives up the GIL and calls C. A check that fails calls its
# NumPy twin's, which says what is wrong.

include "common.pxi"

from libc.math cimport NAN
from libc.stdint cimport int64_t

from tinytorch._ext._reference import rows as checked
from tinytorch._ext._reference.rows import ACTIVATIONS

cdef extern from "rows.h" nogil:
    ctypedef struct rows_target:
        const int64_t* labels
        const float* weight
        int64_t ignore_index
        float smoothing, all_weights, scale
    void tt_activate(const float* x, const float* bias, float* out, Py_ssize_t R, Py_ssize_t D, int kind, int threads)
    void tt_activate_backward(const float* x, const float* bias, const float* grad, float* out, Py_ssize_t R, Py_ssize_t D,
                              int kind, int threads)
    void tt_softmax(const float* x, float* out, Py_ssize_t R, Py_ssize_t D, int logarithm, int threads)
    void tt_softmax_backward(const float* y, const float* grad, float* out, Py_ssize_t R, Py_ssize_t D, int logarithm, int threads)
    void tt_cross_entropy(const float* x, rows_target target, float* losses, float* grad, Py_ssize_t R, Py_ssize_t D, int threads)
    int tt_sum_rows(const float* x, float* out, Py_ssize_t R, Py_ssize_t D, int threads)
    void tt_norm(const float* x, const float* weight, const float* bias, float* out, float* mean, float* rstd, Py_ssize_t R,
                 Py_ssize_t D, float eps, int threads)
    int tt_norm_backward(const float* x, const float* weight, const float* mean, const float* rstd, const float* grad, float* dx,
                         float* dweight, float* dbias, Py_ssize_t R, Py_ssize_t D, int threads)


cdef inline float* data(cnp.ndarray a) noexcept nogil:
    return <float*>a.data if a is not None else NULL


cdef inline Py_ssize_t length(cnp.ndarray x) noexcept nogil:
    """D of an array (..., D)."""
    return x.shape[x.ndim - 1] if x.ndim else 1


cdef inline Py_ssize_t rows(cnp.ndarray x) noexcept nogil:
    """R of an array (..., D) of R rows; 0 if it is empty."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    return n // length(x) if n else 0


cdef inline bint vector(cnp.ndarray a, Py_ssize_t n) noexcept:
    """float32 (n,), or None."""
    return a is None or (readable(a, cnp.NPY_FLOAT32) and a.ndim == 1 and a.shape[0] == n)


cdef inline bint target(cnp.ndarray a, Py_ssize_t n) noexcept:
    return a is None or (writable(a, cnp.NPY_FLOAT32) and cnp.PyArray_SIZE(a) == n)


cdef inline bint alike(cnp.ndarray x, cnp.ndarray out) noexcept:
    """Both float32, contiguous and of one shape; out is writable, and is x or has memory of its own."""
    return (readable(x, cnp.NPY_FLOAT32) and writable(out, cnp.NPY_FLOAT32) and cnp.PyArray_SAMESHAPE(x, out)
            and not partly_overlap(x, out))


def activate(cnp.ndarray x not None, cnp.ndarray out not None, str activation, cnp.ndarray bias=None, int threads=0):
    """Write activation(x + bias) into out, of x's shape (..., D), which may be x. float32, contiguous; bias (D,) or None.

    activation: "identity", "relu", "gelu", "gelu_tanh" or "silu".
    """
    cdef int kind = ACTIVATIONS.get(activation, -1)
    if kind < 0 or not (alike(x, out) and vector(bias, length(x)) and (bias is None or not overlap(out, bias))):
        checked.check_activate("activate", activation, bias, out, x)
    with nogil:
        tt_activate(data(x), data(bias), data(out), rows(x), length(x), kind, threads)


def activate_backward(cnp.ndarray x not None, cnp.ndarray grad not None, cnp.ndarray out not None, str activation,
                      cnp.ndarray bias=None, int threads=0):
    """Write grad times the slope of the activation at x + bias into out, which may be grad. Shapes as in activate.

    For "relu", x may also be what relu returned.
    """
    cdef int kind = ACTIVATIONS.get(activation, -1)
    if kind < 0 or not (alike(x, out) and alike(grad, out) and vector(bias, length(x))
                        and (bias is None or not overlap(out, bias))):
        checked.check_activate("activate_backward", activation, bias, out, x, grad)
    with nogil:
        tt_activate_backward(data(x), data(bias), data(grad), data(out), rows(x), length(x), kind, threads)


def softmax(cnp.ndarray x not None, cnp.ndarray out not None, int threads=0):
    """Write softmax of each row of x (..., D) into out, which may be x. float32, contiguous."""
    if not alike(x, out):
        checked.check_elementwise("softmax", out, x)
    with nogil:
        tt_softmax(data(x), data(out), rows(x), length(x), 0, threads)


def log_softmax(cnp.ndarray x not None, cnp.ndarray out not None, int threads=0):
    """Write the logarithm of softmax of each row of x (..., D) into out, which may be x. float32, contiguous."""
    if not alike(x, out):
        checked.check_elementwise("log_softmax", out, x)
    with nogil:
        tt_softmax(data(x), data(out), rows(x), length(x), 1, threads)


def softmax_backward(cnp.ndarray y not None, cnp.ndarray grad not None, cnp.ndarray out not None, int threads=0):
    """Write the gradient by x of y = softmax(x) (..., D) into out, which may be y or grad. float32, contiguous."""
    if not (alike(y, out) and alike(grad, out)):
        checked.check_elementwise("softmax_backward", out, y, grad)
    with nogil:
        tt_softmax_backward(data(y), data(grad), data(out), rows(y), length(y), 0, threads)


def log_softmax_backward(cnp.ndarray y not None, cnp.ndarray grad not None, cnp.ndarray out not None, int threads=0):
    """Write the gradient by x of y = log_softmax(x) (..., D) into out, which may be y or grad. float32, contiguous."""
    if not (alike(y, out) and alike(grad, out)):
        checked.check_elementwise("log_softmax_backward", out, y, grad)
    with nogil:
        tt_softmax_backward(data(y), data(grad), data(out), rows(y), length(y), 1, threads)


def cross_entropy(cnp.ndarray logits not None, cnp.ndarray labels not None, cnp.ndarray losses not None, cnp.ndarray grad=None,
                  cnp.ndarray weight=None, long long ignore_index=-100, float label_smoothing=0, str reduction="mean",
                  int threads=0):
    """Write the loss of each row of logits (R, C) against labels (R,), int64, into losses (R,) -> the reduced loss, a float.

    With grad (R, C), also the gradient by the logits of the reduced loss, in the same pass; of the sum for "none". weight is
    (C,) or None. Means and formulas as in losses.CrossEntropyLoss. Raises ValueError for a label that is no class.
    """
    cdef rows_target t
    cdef double total = 0, weights = 0
    cdef Py_ssize_t R, C, r
    cdef int64_t label
    cdef float w
    cdef float* loss = <float*>losses.data
    if not (readable(logits, cnp.NPY_FLOAT32) and logits.ndim == 2 and readable(labels, cnp.NPY_INT64) and labels.ndim == 1
            and labels.shape[0] == logits.shape[0] and target(losses, logits.shape[0]) and losses.ndim == 1
            and not overlap(losses, logits) and not overlap(losses, labels)
            and (grad is None or (writable(grad, cnp.NPY_FLOAT32) and cnp.PyArray_SAMESHAPE(grad, logits)
                                  and not overlap(grad, logits) and not overlap(grad, losses) and not overlap(grad, labels)))
            and vector(weight, logits.shape[1]) and 0 <= label_smoothing <= 1 and reduction in ("mean", "sum", "none")):
        checked.check_cross_entropy(logits, labels, losses, grad, weight, label_smoothing, reduction)
    R, C = logits.shape[0], logits.shape[1]
    t.labels, t.weight, t.ignore_index = <const int64_t*>labels.data, data(weight), ignore_index
    t.smoothing, t.all_weights, t.scale = label_smoothing, C, 1
    if weight is not None:
        t.all_weights = 0
        for r in range(C):
            t.all_weights += t.weight[r]
    for r in range(R):
        label = t.labels[r]
        if label != ignore_index:
            if label < 0 or label >= C:
                raise ValueError(f"cross_entropy: label {label} at position {r} is no class: {C} classes are 0 to {C - 1}")
            weights += t.weight[label] if t.weight != NULL else 1
    if reduction == "mean":
        t.scale = 1 / weights if weights != 0 else NAN
    with nogil:
        tt_cross_entropy(data(logits), t, loss, data(grad), R, C, threads)
        for r in range(R):
            total += loss[r]
    return total if reduction != "mean" else total / weights if weights != 0 else NAN


def sum_rows(cnp.ndarray x not None, cnp.ndarray out not None, int threads=0):
    """Write the sum of all rows of x (..., D) into out (D,). float32, contiguous: the gradient of a bias."""
    if not (readable(x, cnp.NPY_FLOAT32) and x.ndim and writable(out, cnp.NPY_FLOAT32) and out.ndim == 1
            and out.shape[0] == length(x) and not overlap(x, out)):
        checked.check_sum_rows(x, out)
    with nogil:
        failed = tt_sum_rows(data(x), data(out), rows(x), length(x), threads)
    if failed:
        raise MemoryError("sum_rows: no memory for sums of blocks")


cdef void run_norm(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray out, cnp.ndarray mean, cnp.ndarray rstd,
                   float eps, int threads):
    with nogil:
        tt_norm(data(x), data(weight), data(bias), data(out), data(mean), data(rstd), rows(x), length(x), eps, threads)


cdef bint norm_fits(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray out, cnp.ndarray mean, cnp.ndarray rstd):
    return (x.ndim > 0 and alike(x, out) and vector(weight, length(x)) and vector(bias, length(x))
            and not (weight is None and bias is not None) and target(mean, rows(x)) and target(rstd, rows(x))
            and not overlap(rstd, x) and not overlap(rstd, out)
            and (mean is None or not (overlap(mean, x) or overlap(mean, out) or overlap(mean, rstd)))
            and (weight is None or not overlap(weight, out)) and (bias is None or not overlap(bias, out)))


cdef bint norm_backward_fits(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray mean, cnp.ndarray rstd, cnp.ndarray grad,
                             cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias):
    return (x.ndim > 0 and alike(x, dx) and alike(grad, dx) and vector(weight, length(x)) and target(mean, rows(x))
            and target(rstd, rows(x)) and target(dweight, length(x)) and target(dbias, length(x))
            and (weight is not None) == (dweight is not None) and not (dbias is not None and weight is None)
            and (dweight is None or not (overlap(dweight, dx) or overlap(dweight, x) or overlap(dweight, grad) or overlap(dweight, weight)))
            and (dbias is None or not (overlap(dbias, dx) or overlap(dbias, x) or overlap(dbias, grad) or overlap(dbias, dweight))))


def layer_norm(cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray out not None, cnp.ndarray mean not None,
               cnp.ndarray rstd not None, float eps=1e-5, int threads=0):
    """Write (x - mean) * rstd * weight + bias into out (..., D), and what each of the R rows has of mean and rstd (R,).

    rstd is 1 / sqrt(variance + eps). weight and bias (D,); bias or both may be None. float32, contiguous; out may be x.
    """
    if not norm_fits(x, weight, bias, out, mean, rstd):
        checked.check_norm("layer_norm", x, weight, bias, out, mean, rstd)
    run_norm(x, weight, bias, out, mean, rstd, eps, threads)


def rms_norm(cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray out not None, cnp.ndarray rstd not None, float eps=1e-6,
             int threads=0):
    """Write x * rstd * weight into out (..., D), and rstd = 1 / sqrt(mean of x² + eps) of each of the R rows into rstd (R,).

    weight (D,) or None. float32, contiguous; out may be x. Source: Zhang and Sennrich 2019.
    """
    if not norm_fits(x, weight, None, out, None, rstd):
        checked.check_norm("rms_norm", x, weight, None, out, None, rstd)
    run_norm(x, weight, None, out, None, rstd, eps, threads)


def layer_norm_backward(cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray rstd not None,
                        cnp.ndarray grad not None, cnp.ndarray dx not None, cnp.ndarray dweight=None, cnp.ndarray dbias=None,
                        int threads=0):
    """Write the gradients by x, weight and bias of layer_norm, with the mean and rstd that it wrote. dx may be grad.

    dweight is given exactly if weight is; dbias may be None.
    """
    if not norm_backward_fits(x, weight, mean, rstd, grad, dx, dweight, dbias):
        checked.check_norm_backward("layer_norm_backward", x, weight, mean, rstd, grad, dx, dweight, dbias)
    with nogil:
        failed = tt_norm_backward(data(x), data(weight), data(mean), data(rstd), data(grad), data(dx), data(dweight), data(dbias),
                                  rows(x), length(x), threads)
    if failed:
        raise MemoryError("layer_norm_backward: no memory for sums of blocks")


def rms_norm_backward(cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray rstd not None, cnp.ndarray grad not None,
                      cnp.ndarray dx not None, cnp.ndarray dweight=None, int threads=0):
    """Write the gradients by x and weight of rms_norm, with the rstd that it wrote. dx may be grad."""
    if not norm_backward_fits(x, weight, None, rstd, grad, dx, dweight, None):
        checked.check_norm_backward("rms_norm_backward", x, weight, None, rstd, grad, dx, dweight, None)
    with nogil:
        failed = tt_norm_backward(data(x), data(weight), NULL, data(rstd), data(grad), data(dx), data(dweight), NULL, rows(x),
                                  length(x), threads)
    if failed:
        raise MemoryError("rms_norm_backward: no memory for sums of blocks")
