# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# gemm.pyx -- the Python edge of gemm.h: it walks the leading axes and hands each matrix to C.
# Design: (a) operands may have any strides, also zero and negative ones, so a transpose is never copied here; (b) leading axes
# of `a` that walk like more rows, against one `b` for all of them, are one product: (B, T, D) by (D, E) has B T rows.

include "common.pxi"

from tinytorch._ext._reference.gemm import ACTIVATIONS, check_gemm

cdef extern from "gemm.h" nogil:
    ctypedef struct tt_matrix:
        const void* data
        Py_ssize_t row, column
    ctypedef struct tt_epilogue:
        const void* bias
        void* before
        int activation
    int tt_gemm_f32(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, tt_matrix a, tt_matrix b, float* c, Py_ssize_t c_row, int add,
                    tt_epilogue end, int threads)
    int tt_gemm_f64(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, tt_matrix a, tt_matrix b, double* c, Py_ssize_t c_row, int add,
                    tt_epilogue end, int threads)

cdef enum:
    MAX_AXES = 16


cdef struct Batch:
    Py_ssize_t m, n, k                  # of one product
    int axes                            # leading axes that are walked, of these lengths
    Py_ssize_t length[MAX_AXES]
    Py_ssize_t a_stride[MAX_AXES]       # bytes; 0 where the operand is the same all along
    Py_ssize_t b_stride[MAX_AXES]


cdef inline bint fits(cnp.ndarray x, int type, Py_ssize_t size):
    """Aligned and in native byte order, with strides of whole elements."""
    cdef int axis
    if cnp.PyArray_TYPE(x) != type or x.ndim < 2 or not (cnp.PyArray_ISALIGNED(x) and cnp.PyArray_ISNOTSWAPPED(x)):
        return False
    for axis in range(x.ndim):
        if x.strides[axis] % size:
            return False
    return True


cdef inline Py_ssize_t leading_stride(cnp.ndarray x, int axis, int axes):
    """The stride of leading axis `axis` of `axes`, 0 where x has no such axis or repeats along it."""
    cdef int own = axis - axes + x.ndim - 2
    return 0 if own < 0 or x.shape[own] == 1 else x.strides[own]


cdef inline Py_ssize_t leading_length(cnp.ndarray x, int axis, int axes):
    cdef int own = axis - axes + x.ndim - 2
    return 1 if own < 0 else x.shape[own]


cdef bint plan(cnp.ndarray a, cnp.ndarray b, cnp.ndarray out, Batch* batch):
    """Fill in batch; False if the shapes do not fit."""
    cdef int axis, axes = out.ndim - 2
    cdef Py_ssize_t n, of_a, of_b
    batch.m, batch.k, batch.n = a.shape[a.ndim - 2], a.shape[a.ndim - 1], b.shape[b.ndim - 1]
    if (axes < 0 or axes > MAX_AXES or a.ndim > out.ndim or b.ndim > out.ndim or b.shape[b.ndim - 2] != batch.k
            or out.shape[axes] != batch.m or out.shape[axes + 1] != batch.n):
        return False
    batch.axes = axes
    for axis in range(axes):
        n, of_a, of_b = out.shape[axis], leading_length(a, axis, axes), leading_length(b, axis, axes)
        if (of_a != n and of_a != 1) or (of_b != n and of_b != 1):
            return False
        batch.length[axis] = n
        batch.a_stride[axis], batch.b_stride[axis] = leading_stride(a, axis, axes), leading_stride(b, axis, axes)
    while (batch.axes and batch.b_stride[batch.axes - 1] == 0
           and batch.a_stride[batch.axes - 1] == batch.m * a.strides[a.ndim - 2]):
        batch.axes -= 1
        batch.m *= batch.length[batch.axes]
    return True


def gemm(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray out not None, cnp.ndarray bias=None,
         str activation=None, cnp.ndarray before=None, bint add=False, int threads=0):
    """Write a @ b + bias, through an activation, into out. a (..., M, K), b (..., K, N) of any strides, out (..., M, N).

    float32 or float64; leading axes broadcast as in NumPy. bias is (N,). activation, for float32, is "relu", "gelu",
    "gelu_tanh" or "silu"; before, like out, gets what went into it. add=True adds a @ b to what is in out.
    """
    cdef int type = cnp.PyArray_TYPE(out), axis, failed = 0
    cdef Py_ssize_t size = 4 if type == cnp.NPY_FLOAT32 else 8
    cdef Py_ssize_t index[MAX_AXES]
    cdef Batch batch
    cdef tt_matrix left, right
    cdef tt_epilogue end
    cdef char* c = out.data

    end.bias = bias.data if bias is not None else NULL
    end.before = before.data if before is not None else NULL
    end.activation = 0 if activation is None else ACTIVATIONS.get(activation, -1)
    if (not writable(out, type) or type not in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64) or not fits(a, type, size)
            or not fits(b, type, size) or not plan(a, b, out, &batch) or end.activation < 0
            or (end.activation and type != cnp.NPY_FLOAT32) or (add and (end.bias or end.activation or end.before))
            or overlap_any(out, a) or overlap_any(out, b)
            or (bias is not None and not (readable(bias, type) and bias.ndim == 1 and bias.shape[0] == batch.n))
            or (before is not None and not (writable(before, type) and cnp.PyArray_SAMESHAPE(before, out)
                                            and not overlap(before, out) and not overlap_any(before, a)
                                            and not overlap_any(before, b)))
            or (bias is not None and (overlap(bias, out) or (before is not None and overlap(bias, before))))):
        check_gemm(a, b, out, bias, activation, before, add)
        raise AssertionError("gemm: C refuses what Python accepts")
    if cnp.PyArray_SIZE(out) == 0:
        return

    left.data, left.row, left.column = a.data, a.strides[a.ndim - 2] // size, a.strides[a.ndim - 1] // size
    right.data, right.row, right.column = b.data, b.strides[b.ndim - 2] // size, b.strides[b.ndim - 1] // size
    for axis in range(batch.axes):
        index[axis] = 0
    with nogil:
        while True:
            if type == cnp.NPY_FLOAT32:
                failed = tt_gemm_f32(batch.m, batch.n, batch.k, left, right, <float*>c, batch.n, add, end, threads)
            else:
                failed = tt_gemm_f64(batch.m, batch.n, batch.k, left, right, <double*>c, batch.n, add, end, threads)
            c += batch.m * batch.n * size
            if end.before:
                end.before = <char*>end.before + batch.m * batch.n * size
            axis = batch.axes - 1
            while axis >= 0:                        # the next matrix, as an odometer counts
                left.data = <const char*>left.data + batch.a_stride[axis]
                right.data = <const char*>right.data + batch.b_stride[axis]
                index[axis] += 1
                if index[axis] < batch.length[axis]:
                    break
                left.data = <const char*>left.data - batch.length[axis] * batch.a_stride[axis]
                right.data = <const char*>right.data - batch.length[axis] * batch.b_stride[axis]
                index[axis] = 0
                axis -= 1
            if axis < 0 or failed:
                break
    if failed:
        raise MemoryError("gemm: no memory for the packed panels")
