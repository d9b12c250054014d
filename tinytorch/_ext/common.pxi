# common.pxi -- what every extension module of kernels offers to tinytorch.backend, and checks of arrays at its Python edge.
# Each module has its own copy of the level and of the default, so that one which does not compile leaves the others whole.

cimport numpy as cnp

cnp.import_array()

cdef extern from "isa.h" nogil:
    int tt_isa
    int tt_best_isa()
    const char* tt_isa_name(int level)
    const char* TT_COMPILER

cdef extern from "threads.h" nogil:
    int tt_default_threads
    int tt_has_openmp()
    void tt_start()

tt_start()
compiler = TT_COMPILER.decode()
openmp = bool(tt_has_openmp())


def isa():
    """(number, name) of the instruction set in use, and the highest number of this machine."""
    return tt_isa, tt_isa_name(tt_isa).decode(), tt_best_isa()


def set_isa(int level):
    """Use an instruction set up to `level` (1 generic, 3 AVX2, 4 AVX-512, 5 VNNI) if the machine has it -> the one used."""
    global tt_isa
    tt_isa = min(level, tt_best_isa()) if level != 2 else 1
    return tt_isa


def set_threads(int n):
    """The number of threads that threads=0 stands for in this module."""
    global tt_default_threads
    tt_default_threads = n


cdef inline bint readable(cnp.ndarray a, int type) noexcept:
    """C-contiguous, aligned, in native byte order, of NumPy's type number `type`."""
    return cnp.PyArray_TYPE(a) == type and cnp.PyArray_ISCARRAY_RO(a)


cdef inline bint writable(cnp.ndarray a, int type) noexcept:
    return cnp.PyArray_TYPE(a) == type and cnp.PyArray_ISCARRAY(a)


cdef inline bint partly_overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two contiguous arrays share bytes without starting at the same one."""
    return (a.data != b.data and a.data < b.data + cnp.PyArray_NBYTES(b) and b.data < a.data + cnp.PyArray_NBYTES(a))


cdef inline bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    return a.data < b.data + cnp.PyArray_NBYTES(b) and b.data < a.data + cnp.PyArray_NBYTES(a)


cdef inline bint overlap_any(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether the contiguous array a lies, even in part, between the first and the last byte of b, of any strides."""
    cdef int axis
    cdef char* first = b.data
    cdef char* last = b.data + cnp.PyArray_ITEMSIZE(b)
    for axis in range(b.ndim):
        if b.shape[axis] == 0:
            return False
        if b.strides[axis] < 0:
            first += (b.shape[axis] - 1) * b.strides[axis]
        else:
            last += (b.shape[axis] - 1) * b.strides[axis]
    return a.data < last and first < a.data + cnp.PyArray_NBYTES(a)
