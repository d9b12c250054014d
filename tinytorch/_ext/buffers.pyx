# cython: language_level=3
# buffers.pyx -- NumPy arrays whose memory is used again: see buffers.h.

include "common.pxi"

from cpython.pycapsule cimport PyCapsule_New

cdef extern from "buffers.h":
    ctypedef struct PyDataMem_Handler:
        pass
    PyDataMem_Handler buffers_handler
    size_t buffers_held, buffers_reused
    void buffers_start()
    void buffers_clear()

cdef extern from "numpy/arrayobject.h":
    object PyDataMem_SetHandler(object handler)

cdef object capsule = PyCapsule_New(&buffers_handler, "mem_handler", NULL)
buffers_start()


cdef class reuse:
    """with reuse(): NumPy arrays made in this block, by this thread, take memory that others gave back, and give theirs back."""

    cdef object before

    def __enter__(self):
        self.before = PyDataMem_SetHandler(capsule)
        return self

    def __exit__(self, kind, error, trace):
        PyDataMem_SetHandler(self.before)


def held():
    """(bytes that wait for an array, how often one was found)."""
    return buffers_held, buffers_reused


def clear():
    """Give all memory that waits back to the system."""
    buffers_clear()
