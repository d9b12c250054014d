# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# quant.pyx -- the Python edge of quant.h: it checks every array, gives up the GIL and calls C.

include "common.pxi"

from libc.stdint cimport int8_t, int32_t, uint8_t

import numpy as np

from tinytorch._ext._reference.quant import INT4_BLOCK, check_gemm_int8, check_gemv_int4, check_gemv_int8

cdef extern from "quant.h" nogil:
    int tt_gemm_int8(const int8_t* a, const int8_t* b, Py_ssize_t b_row, Py_ssize_t b_column, int32_t* out, Py_ssize_t M,
                     Py_ssize_t N, Py_ssize_t K, int threads)
    void tt_gemv_int8(const int8_t* w, const int8_t* x, int32_t* out, Py_ssize_t N, Py_ssize_t K, int threads)
    void tt_gemv_int4(const uint8_t* w, const float* scales, const float* x, float* out, Py_ssize_t N, Py_ssize_t blocks,
                      int threads)


def gemm_int8(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray out not None, int threads=0):
    """Write a @ b into out: a (M, K) int8, b (K, N) int8 of any strides, out (M, N) int32. Exact while sums fit int32,
    which they do for K up to 131071; larger ones wrap around."""
    cdef int failed
    check_gemm_int8(a, b, out)
    with nogil:
        failed = tt_gemm_int8(<const int8_t*>a.data, <const int8_t*>b.data, b.strides[0], b.strides[1], <int32_t*>out.data,
                              a.shape[0], b.shape[1], a.shape[1], threads)
    if failed:
        raise MemoryError("gemm_int8: no memory for the packed left matrix")


def gemv_int8(cnp.ndarray weight not None, cnp.ndarray x not None, cnp.ndarray out not None, int threads=0):
    """Write weight @ x into out: weight (N, K) int8, x (K,) int8, out (N,) int32. Exact as gemm_int8 is."""
    check_gemv_int8(weight, x, out)
    with nogil:
        tt_gemv_int8(<const int8_t*>weight.data, <const int8_t*>x.data, <int32_t*>out.data, weight.shape[0],
                     weight.shape[1], threads)


def gemv_int4(cnp.ndarray packed not None, cnp.ndarray scales not None, cnp.ndarray x not None, cnp.ndarray out not None,
              int threads=0):
    """Write weight @ x into out (N,), where pack_int4(weight) gave packed and scales, and x (K,) is float32."""
    check_gemv_int4(packed, scales, x, out)
    cdef Py_ssize_t blocks = packed.shape[1] * 2 // INT4_BLOCK
    cdef cnp.ndarray padded = x
    if x.shape[0] % INT4_BLOCK:                     # the kernel takes whole blocks; weights beyond K are zero
        padded = np.zeros(blocks * INT4_BLOCK, np.float32)
        padded[:x.shape[0]] = x
    with nogil:
        tt_gemv_int4(<const uint8_t*>packed.data, <const float*>scales.data, <const float*>padded.data, <float*>out.data,
                     packed.shape[0], blocks, threads)
