"""Products of small integers, and weights of 4 bits with one scale for each 32 of them."""

import numpy as np

from tinytorch._ext._reference import checks

INT4_BLOCK = 128  # weights in 64 bytes: lane l, nibble t of 16 little-endian 32-bit words is weight 16 t + l
INT4_GROUP = 32  # weights with one scale


def gemm_int8(a, b, out, threads=0):
    """Write a @ b into out: a (M, K) int8, b (K, N) int8 of any strides, out (M, N) int32. Exact while sums fit int32,
    which they do for K up to 131071; larger ones wrap around."""
    check_gemm_int8(a, b, out)
    np.matmul(a, b, out=out, dtype=np.int32)


def gemv_int8(weight, x, out, threads=0):
    """Write weight @ x into out: weight (N, K) int8, x (K,) int8, out (N,) int32. Exact as gemm_int8 is."""
    check_gemv_int8(weight, x, out)
    np.matmul(weight, x, out=out, dtype=np.int32)


def gemv_int4(packed, scales, x, out, threads=0):
    """Write weight @ x into out (N,), where pack_int4(weight) gave packed and scales, and x (K,) is float32."""
    check_gemv_int4(packed, scales, x, out)
    np.matmul(unpack_int4(packed, scales, len(x)), x, out=out)


def pack_int4(weight):
    """Round weight (N, K), float32, to 4 bits with a scale for each 32 of a row -> packed (N, bytes), scales (N, groups).

    A number is scale times -8 to 7, and the one of largest magnitude in its group is exactly scale times -8. 64 bytes hold
    128 numbers; the last ones of a row are filled up with zeros. Source: format Q4_0 of llama.cpp, in another order.
    """
    N, K = weight.shape
    blocks = -(-K // INT4_BLOCK)
    padded = np.zeros((N, blocks * INT4_BLOCK), np.float32)
    padded[:, :K] = weight
    groups = padded.reshape(N, blocks * (INT4_BLOCK // INT4_GROUP), INT4_GROUP)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)
    scales = largest / np.float32(-8)
    with np.errstate(all="ignore"):
        numbers = np.where(scales == 0, 0, np.rint(groups / scales))
    nibbles = (np.clip(numbers, -8, 7) + 8).astype(np.uint32).reshape(N, blocks, 8, 16)
    shifts = 4 * np.arange(8, dtype=np.uint32)[:, None]
    words = np.bitwise_or.reduce(nibbles << shifts, axis=2).astype("<u4")
    return words.reshape(N, blocks * 16).view(np.uint8), scales[..., 0]


def unpack_int4(packed, scales, K):
    """The weight (N, K), float32, that packed and scales from pack_int4 stand for."""
    N, blocks = len(packed), packed.shape[1] * 2 // INT4_BLOCK
    words = packed.view("<u4").reshape(N, blocks, 1, 16)
    shifts = 4 * np.arange(8, dtype=np.uint32)[:, None]
    numbers = ((words >> shifts) & 15).astype(np.float32) - 8
    return (numbers.reshape(*scales.shape, INT4_GROUP) * scales[..., None]).reshape(N, blocks * INT4_BLOCK)[:, :K]


def check_gemm_int8(a, b, out):
    """Raise ValueError unless a, b and out fit gemm_int8."""
    checks.array("gemm_int8", "a", a, np.int8, (None, None))
    if b.dtype != np.int8 or b.ndim != 2 or b.shape[0] != a.shape[1]:
        raise ValueError(f"gemm_int8: b must be int8, shape ({a.shape[1]}, any); got {b.dtype}, shape {b.shape}")
    checks.array("gemm_int8", "out", out, np.int32, (a.shape[0], b.shape[1]), True)
    checks.apart("gemm_int8", out, a, b)


def check_gemv_int8(weight, x, out):
    """Raise ValueError unless weight, x and out fit gemv_int8."""
    checks.array("gemv_int8", "weight", weight, np.int8, (None, None))
    checks.array("gemv_int8", "x", x, np.int8, (weight.shape[1],))
    checks.array("gemv_int8", "out", out, np.int32, (weight.shape[0],), True)
    checks.apart("gemv_int8", out, weight, x)


def check_gemv_int4(packed, scales, x, out):
    """Raise ValueError unless packed, scales, x and out fit gemv_int4."""
    checks.array("gemv_int4", "x", x, np.float32, (None,))
    blocks = -(-len(x) // INT4_BLOCK)
    checks.array("gemv_int4", "packed", packed, np.uint8, (None, blocks * INT4_BLOCK // 2))
    checks.array("gemv_int4", "scales", scales, np.float32, (len(packed), blocks * INT4_BLOCK // INT4_GROUP))
    checks.array("gemv_int4", "out", out, np.float32, (len(packed),), True)
    checks.apart("gemv_int4", out, packed, scales, x)
