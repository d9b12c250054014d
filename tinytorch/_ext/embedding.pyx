# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# embedding.pyx -- the Python edge of embedding.h: it checks every array and every number, gives up the GIL and calls C.
# Tables that are not float32 are the NumPy twin's, which also says what is wrong with arrays that do not fit.

include "common.pxi"

from libc.stdint cimport int64_t

from tinytorch._ext._reference import embedding as twin

cdef extern from "embedding.h" nogil:
    Py_ssize_t tt_first_outside(const int64_t* index, Py_ssize_t n, Py_ssize_t rows)
    void tt_gather(const float* table, const int64_t* index, Py_ssize_t n, Py_ssize_t width, float* out, int threads)
    void tt_scatter_add(const float* rows, const int64_t* index, Py_ssize_t n, Py_ssize_t width, float* out, int threads)


cdef bint fit(cnp.ndarray table, cnp.ndarray index, cnp.ndarray rows) noexcept:
    """table (V, D) and rows (N, D) of float32, index (N,) of int64 from 0 to V - 1."""
    return (cnp.PyArray_NDIM(table) == 2 and cnp.PyArray_NDIM(index) == 1 and cnp.PyArray_NDIM(rows) == 2
            and readable(table, cnp.NPY_FLOAT32) and readable(index, cnp.NPY_INT64) and readable(rows, cnp.NPY_FLOAT32)
            and rows.shape[0] == index.shape[0] and rows.shape[1] == table.shape[1]
            and tt_first_outside(<const int64_t*>index.data, index.shape[0], table.shape[0]) == index.shape[0])


def gather(cnp.ndarray table not None, cnp.ndarray index not None, cnp.ndarray out not None, int threads=0):
    """Write row index[i] of table (V, D) into row i of out (N, D); index (N,) is int64, 0 to V - 1."""
    if not (fit(table, index, out) and cnp.PyArray_ISWRITEABLE(out) and not overlap(out, table) and not overlap(out, index)):
        twin.gather(table, index, out)
        return
    with nogil:
        tt_gather(<const float*>table.data, <const int64_t*>index.data, index.shape[0], table.shape[1], <float*>out.data,
                  threads)


def scatter_add(cnp.ndarray rows not None, cnp.ndarray index not None, cnp.ndarray out not None, int threads=0):
    """Add row i of rows (N, D) to row index[i] of out (V, D), in the order of i; index (N,) is int64, 0 to V - 1."""
    if not (fit(out, index, rows) and cnp.PyArray_ISWRITEABLE(out) and not overlap(out, rows) and not overlap(out, index)):
        twin.scatter_add(rows, index, out)
        return
    with nogil:
        tt_scatter_add(<const float*>rows.data, <const int64_t*>index.data, index.shape[0], out.shape[1], <float*>out.data,
                       threads)
