# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# copy.pyx -- write an array of any strides into contiguous memory.
# Design: (a) the last axis of `out` is contiguous, and one axis of `x` has the shortest stride; where these differ, the copy
# is a transpose of the plane that they span, and the other axes repeat it; (b) a plane is walked in square tiles of two
# cache lines a side, so that a line is used up before it is evicted, even where a power-of-two stride maps a whole column
# to one cache set; (c) bits are moved, never interpreted: a float32 is a uint32 here and a NaN keeps its payload.

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

include "common.pxi"

from tinytorch._ext._reference.arrays import check_copy

cdef extern from "transpose.h":
    void transpose_block_u32(const char* x, Py_ssize_t column, char* out, Py_ssize_t row) noexcept nogil
    void transpose_block_u64(const char* x, Py_ssize_t column, char* out, Py_ssize_t row) noexcept nogil

cdef enum:
    MAX_AXES = 4
    TILE_BYTES = 128

ctypedef fused word:
    uint32_t
    uint64_t


cdef inline Py_ssize_t length(Py_ssize_t stride) noexcept nogil:
    return -stride if stride < 0 else stride


cdef void copy_words(const char* x, Py_ssize_t xi, Py_ssize_t xj, word* out, Py_ssize_t oi,
                     Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(columns):
            (<word*>(<char*>out + i * oi))[j] = (<const word*>(x + i * xi + j * xj))[0]


cdef void copy_tile(const char* x, Py_ssize_t xi, Py_ssize_t xj, word* out, Py_ssize_t oi,
                    Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t i, j, whole_rows = rows - rows % 4, whole_columns = columns - columns % 4
    if xi != sizeof(word):
        copy_words(x, xi, xj, out, oi, rows, columns)
        return
    for i in range(0, whole_rows, 4):
        for j in range(0, whole_columns, 4):
            if word is uint32_t:
                transpose_block_u32(x + i * xi + j * xj, xj, <char*>(out + j) + i * oi, oi)
            else:
                transpose_block_u64(x + i * xi + j * xj, xj, <char*>(out + j) + i * oi, oi)
    copy_words(x + whole_columns * xj, xi, xj, out + whole_columns, oi, whole_rows, columns - whole_columns)
    copy_words(x + whole_rows * xi, xi, xj, <word*>(<char*>out + whole_rows * oi), oi, rows - whole_rows, columns)


cdef void copy_plane(const char* x, Py_ssize_t xi, Py_ssize_t xj, word* out, Py_ssize_t oi,
                     Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t i, j, tile = TILE_BYTES // sizeof(word)
    cdef Py_ssize_t tile_rows = (rows + tile - 1) // tile, tile_columns = (columns + tile - 1) // tile
    if xj == sizeof(word):
        for i in range(rows):
            memcpy(<char*>out + i * oi, x + i * xi, columns * sizeof(word))
        return
    for i in range(tile_rows):
        for j in range(tile_columns):
            copy_tile(x + tile * (i * xi + j * xj), xi, xj, <word*>(<char*>(out + tile * j) + tile * i * oi), oi,
                      min(tile, rows - tile * i), min(tile, columns - tile * j))


def copy(cnp.ndarray x not None, cnp.ndarray out not None):
    """Write x, of any strides, into out: C-contiguous, of the same shape and dtype, not overlapping x.

    Transposes and whole rows of 4- or 8-byte numbers, up to four axes, take the kernel; NumPy is as fast at the rest.
    """
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x), b, c
    cdef int axes = cnp.PyArray_NDIM(x), k, inner
    cdef Py_ssize_t n[MAX_AXES]
    cdef Py_ssize_t xs[MAX_AXES]
    cdef Py_ssize_t os[MAX_AXES]
    cdef const char* source
    cdef char* target

    if not (cnp.PyArray_SAMESHAPE(x, out) and cnp.PyArray_EquivArrTypes(x, out)
            and cnp.PyArray_IS_C_CONTIGUOUS(out) and cnp.PyArray_ISWRITEABLE(out)):
        check_copy(x, out)
    if (axes < 2 or axes > MAX_AXES or (size != 4 and size != 8) or not cnp.PyArray_ISNUMBER(x)
            or not cnp.PyArray_ISALIGNED(x)):
        cnp.PyArray_CopyInto(out, x)
        return

    for k in range(MAX_AXES):                       # missing axes lead, of length 1
        n[k], xs[k], os[k] = 1, 0, 0
    for k in range(axes):
        inner = MAX_AXES - axes + k
        n[inner], xs[inner], os[inner] = x.shape[k], x.strides[k], out.strides[k]

    inner = 2                                       # the axis that makes a plane with the last one
    for k in range(3):
        if n[k] > 1 and length(xs[k]) < length(xs[3]) and (n[inner] == 1 or length(xs[k]) < length(xs[inner])):
            inner = k
    if length(xs[inner]) >= length(xs[3]) and xs[3] != size:
        cnp.PyArray_CopyInto(out, x)
        return
    n[inner], n[2] = n[2], n[inner]
    xs[inner], xs[2] = xs[2], xs[inner]
    os[inner], os[2] = os[2], os[inner]

    with nogil:
        for b in range(n[0]):
            for c in range(n[1]):
                source = <const char*>x.data + b * xs[0] + c * xs[1]
                target = <char*>out.data + b * os[0] + c * os[1]
                if size == 4:
                    copy_plane[uint32_t](source, xs[2], xs[3], <uint32_t*>target, os[2], n[2], n[3])
                else:
                    copy_plane[uint64_t](source, xs[2], xs[3], <uint64_t*>target, os[2], n[2], n[3])
