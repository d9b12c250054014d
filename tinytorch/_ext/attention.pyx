# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# attention.pyx -- the Python edge of attention.h: it checks every array, gives up the GIL and calls C. Arrays that are not
# float32, or whose last axis is not contiguous, are the NumPy twin's, which also says what is wrong with those that do not fit.

include "common.pxi"

from libc.stdint cimport int64_t

from tinytorch._ext._reference import attention as twin

cdef extern from "attention.h" nogil:
    ctypedef struct tt_heads:
        float* data
        Py_ssize_t batch, row, head
    ctypedef struct tt_attention:
        Py_ssize_t batch, queries, keys, heads, kv_heads, width
        int causal
    int tt_attention_forward(const tt_attention* s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, float* lse, int threads)
    int tt_attention_backward(const tt_attention* s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, const float* lse,
                              tt_heads grad, tt_heads dq, tt_heads dk, tt_heads dv, int threads)
    int tt_attention_decode(const tt_attention* s, const float* q, tt_heads k, tt_heads v, const int64_t* table,
                            Py_ssize_t columns, const int64_t* lengths, float* out, int threads)


cdef inline bint heads_like(cnp.ndarray a, cnp.ndarray like) noexcept:
    """float32 (B, T, H, D) of the shape of `like`; D alone has to be contiguous."""
    return (cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32 and cnp.PyArray_NDIM(a) == 4 and cnp.PyArray_ISBEHAVED_RO(a)
            and cnp.PyArray_SAMESHAPE(a, like) and a.strides[3] == sizeof(float))


cdef inline bint target_like(cnp.ndarray a, cnp.ndarray like) noexcept:
    return heads_like(a, like) and cnp.PyArray_ISWRITEABLE(a)


cdef inline tt_heads heads_of(cnp.ndarray a) noexcept nogil:
    cdef tt_heads x
    x.data, x.batch, x.row, x.head = <float*>a.data, a.strides[0] // 4, a.strides[1] // 4, a.strides[2] // 4
    return x


cdef inline tt_attention sizes_of(cnp.ndarray q, cnp.ndarray k, bint causal) noexcept:
    cdef tt_attention s
    s.batch, s.queries, s.heads, s.width = q.shape[0], q.shape[1], q.shape[2], q.shape[3]
    s.keys, s.kv_heads, s.causal = k.shape[1], k.shape[2], causal
    return s


cdef bint fit(cnp.ndarray q, cnp.ndarray k, cnp.ndarray v, cnp.ndarray lse, bint causal) noexcept:
    if not (heads_like(q, q) and heads_like(k, k) and heads_like(v, k)):
        return False
    return (q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3] and q.shape[3] > 0 and k.shape[1] > 0 and k.shape[2] > 0
            and q.shape[2] % k.shape[2] == 0 and (not causal or q.shape[1] <= k.shape[1])
            and cnp.PyArray_NDIM(lse) == 3 and readable(lse, cnp.NPY_FLOAT32)
            and lse.shape[0] == q.shape[0] and lse.shape[1] == q.shape[2] and lse.shape[2] == q.shape[1])


cdef bint apart(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two arrays surely share no bytes: one lies behind the other, or beside it in all rows of a packed array."""
    cdef Py_ssize_t low_a = 0, high_a = cnp.PyArray_ITEMSIZE(a), low_b = 0, high_b = cnp.PyArray_ITEMSIZE(b), axis, span, gap
    if cnp.PyArray_SIZE(a) == 0 or cnp.PyArray_SIZE(b) == 0:
        return True
    for axis in range(cnp.PyArray_NDIM(a)):
        span = (a.shape[axis] - 1) * a.strides[axis]
        low_a, high_a = low_a + min(span, 0), high_a + max(span, 0)
    for axis in range(cnp.PyArray_NDIM(b)):
        span = (b.shape[axis] - 1) * b.strides[axis]
        low_b, high_b = low_b + min(span, 0), high_b + max(span, 0)
    if a.data + high_a <= b.data + low_b or b.data + high_b <= a.data + low_a:
        return True
    if cnp.PyArray_NDIM(a) != 4 or cnp.PyArray_NDIM(b) != 4 or a.strides[1] != b.strides[1] or a.strides[0] != b.strides[0]:
        return False
    if a.strides[0] < a.shape[1] * a.strides[1] or a.shape[1] != b.shape[1] or a.strides[2] < 0 or b.strides[2] < 0:
        return False
    if b.data < a.data:
        a, b = b, a
    gap = b.data - a.data
    return ((a.shape[2] - 1) * a.strides[2] + a.shape[3] * 4 <= gap
            and gap + (b.shape[2] - 1) * b.strides[2] + b.shape[3] * 4 <= a.strides[1])


cdef bint all_apart(tuple targets, tuple others):
    cdef Py_ssize_t i, j
    for i in range(len(targets)):
        for j in range(i):
            if not apart(targets[i], targets[j]):
                return False
        for j in range(len(others)):
            if not apart(targets[i], others[j]):
                return False
    return True


def attention_forward(cnp.ndarray q not None, cnp.ndarray k not None, cnp.ndarray v not None, cnp.ndarray out not None,
                      cnp.ndarray lse not None, bint causal=True, int threads=0):
    """Write softmax(q k' / sqrt(D)) v into out, and the log of the sum of exponentials of each query into lse.

    q, out (B, T, H, D); k, v (B, S, G, D), where H / G neighbouring heads of q share one of k and v; lse (B, H, T). All but
    lse may be views in which D alone is contiguous. causal: query i, at position S - T + i, sees no later key.
    """
    cdef tt_attention s
    cdef int failed
    if not (fit(q, k, v, lse, causal) and target_like(out, q) and cnp.PyArray_ISWRITEABLE(lse)
            and all_apart((out, lse), (q, k, v))):
        twin.attention_forward(q, k, v, out, lse, causal)
        return
    s = sizes_of(q, k, causal)
    with nogil:
        failed = tt_attention_forward(&s, heads_of(q), heads_of(k), heads_of(v), heads_of(out), <float*>lse.data, threads)
    if failed:
        raise MemoryError("attention_forward: no memory for the keys and values of one head")


def attention_backward(cnp.ndarray q not None, cnp.ndarray k not None, cnp.ndarray v not None, cnp.ndarray out not None,
                       cnp.ndarray lse not None, cnp.ndarray grad not None, cnp.ndarray dq not None, cnp.ndarray dk not None,
                       cnp.ndarray dv not None, bint causal=True, int threads=0):
    """Write the gradients for q, k and v, given that for out; out and lse are what attention_forward wrote.

    Shapes and layouts as there; grad and dq are like q, dk and dv like k.
    """
    cdef tt_attention s
    cdef int failed
    if not (fit(q, k, v, lse, causal) and heads_like(out, q) and heads_like(grad, q) and target_like(dq, q)
            and target_like(dk, k) and target_like(dv, k) and all_apart((dq, dk, dv), (q, k, v, out, lse, grad))):
        twin.attention_backward(q, k, v, out, lse, grad, dq, dk, dv, causal)
        return
    s = sizes_of(q, k, causal)
    with nogil:
        failed = tt_attention_backward(&s, heads_of(q), heads_of(k), heads_of(v), heads_of(out), <const float*>lse.data,
                                       heads_of(grad), heads_of(dq), heads_of(dk), heads_of(dv), threads)
    if failed:
        raise MemoryError("attention_backward: no memory for the keys and values of one head")


def attention_decode(cnp.ndarray q not None, cnp.ndarray k not None, cnp.ndarray v not None, cnp.ndarray lengths not None,
                     cnp.ndarray out not None, cnp.ndarray table=None, int threads=0):
    """Write softmax(q k' / sqrt(D)) v into out, for one query a head and the keys and values of a cache.

    q, out (B, H, D); lengths (B,), int64, says how many keys each sequence has. Without a table, k and v are (B, S, G, D).
    With one, (B, N) of int64, they are (pages, S, G, D), and keys n S to n S + S - 1 of sequence b are in page table[b, n].
    k and v may be views in which D alone is contiguous.
    """
    cdef tt_attention s
    cdef int failed
    cdef Py_ssize_t columns = 1
    cdef const int64_t* pages = NULL
    if not decode_fits(q, k, v, lengths, out, table):
        twin.attention_decode(q, k, v, lengths, out, table)
        return
    if table is not None:
        pages, columns = <const int64_t*>table.data, table.shape[1]
    s.batch, s.queries, s.heads, s.width = q.shape[0], 1, q.shape[1], q.shape[2]
    s.keys, s.kv_heads, s.causal = k.shape[1], k.shape[2], 0
    with nogil:
        failed = tt_attention_decode(&s, <const float*>q.data, heads_of(k), heads_of(v), pages, columns,
                                     <const int64_t*>lengths.data, <float*>out.data, threads)
    if failed:
        raise MemoryError("attention_decode: no memory for one block of scores")


cdef bint decode_fits(cnp.ndarray q, cnp.ndarray k, cnp.ndarray v, cnp.ndarray lengths, cnp.ndarray out,
                      cnp.ndarray table) noexcept:
    cdef Py_ssize_t i, columns = 1
    cdef const int64_t* numbers
    if not (cnp.PyArray_NDIM(q) == 3 and readable(q, cnp.NPY_FLOAT32) and writable(out, cnp.NPY_FLOAT32)
            and cnp.PyArray_SAMESHAPE(q, out) and heads_like(k, k) and heads_like(v, k)
            and k.shape[3] == q.shape[2] and q.shape[2] > 0 and k.shape[2] > 0 and q.shape[1] % k.shape[2] == 0
            and cnp.PyArray_NDIM(lengths) == 1 and readable(lengths, cnp.NPY_INT64) and lengths.shape[0] == q.shape[0]
            and all_apart((out,), (q, k, v, lengths))):
        return False
    if table is None and k.shape[0] != q.shape[0]:
        return False
    if table is not None:
        if not (cnp.PyArray_NDIM(table) == 2 and readable(table, cnp.NPY_INT64) and table.shape[0] == q.shape[0]
                and apart(out, table)):
            return False
        columns, numbers = table.shape[1], <const int64_t*>table.data
        for i in range(cnp.PyArray_SIZE(table)):
            if not 0 <= numbers[i] < k.shape[0]:
                return False
    numbers = <const int64_t*>lengths.data
    for i in range(lengths.shape[0]):
        if not 1 <= numbers[i] <= columns * k.shape[1]:
            return False
    return True
