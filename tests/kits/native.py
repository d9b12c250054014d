"""The C kernels as a shared object of this machine, called through ctypes; and programs that compare C with NumPy on any target."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2] / "kits" / "sketches" / "lib"
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wno-sign-conversion"]
SANITIZED = [*STRICT, "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]

SOURCE = r"""
#include "mlk.h"
#include "mlk_frame.h"
typedef void (*kernel)(const mlk_layer *, const int8_t *, int8_t *);
static const kernel KERNELS[] = {mlk_dense, mlk_conv2d, mlk_depthwise, mlk_max_pool, mlk_mean_pool, mlk_conv1d, mlk_dense_fast};
void layer(int kind, const mlk_layer *q, const int8_t *in, int8_t *out) { KERNELS[kind](q, in, out); }
int32_t requantize(int32_t x, int32_t m, int s) { return mlk_requantize(x, m, (int8_t)s); }
void softmax(const int8_t *in, int8_t *out, int n, const uint16_t *t) { mlk_softmax(in, out, (uint16_t)n, t); }
int argmax(const int8_t *in, int n) { return mlk_argmax(in, (uint16_t)n); }
int nearest(const int8_t *x, const int8_t *c, int n, int k, uint32_t *d) { return mlk_nearest(x, c, (uint16_t)n, (uint16_t)k, d); }
void fft(int16_t *re, int16_t *im, int n, const int16_t *t) { mlk_fft(re, im, (uint16_t)n, t); }
int log2_(uint64_t x) { return mlk_log2(x); }
int root(uint32_t x) { return mlk_sqrt(x); }
void log_mel(const mlk_mel *q, int16_t *re, int16_t *im, int16_t *out) { mlk_log_mel(q, re, im, out); }
int feature(const mlk_mel *q, int log) { return mlk_feature(q, (int16_t)log); }
static uint8_t room[64];
static mlk_frame line;
void begin(int capacity) { mlk_frame_begin(&line, '>', room, (uint16_t)capacity); }
int push(int c) { return mlk_frame_push(&line, (uint8_t)c); }
int frame(uint8_t *to) { memcpy(to, room, line.length); return line.length << 8 | line.command; }
"""


class Layer(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_void_p) for n in ("weight", "bias", "multiplier", "shift")),
        *((n, ctypes.c_uint16) for n in ("in_h", "in_w", "in_c", "out_h", "out_w", "out_c")),
        *((n, ctypes.c_uint8) for n in ("k_h", "k_w", "stride_h", "stride_w", "pad_h", "pad_w", "per_channel")),
        *((n, ctypes.c_int8) for n in ("in_zero", "out_zero", "low", "high")),
    ]


class Mel(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_void_p) for n in ("window", "twiddle", "first", "count", "weight")),
        ("size", ctypes.c_uint16), ("bands", ctypes.c_uint16), ("multiplier", ctypes.c_int32), ("offset", ctypes.c_int16),
        ("shift", ctypes.c_int8), ("zero", ctypes.c_int8),
    ]  # fmt: skip


@functools.cache
def library():
    """The kernels, compiled with this machine's gcc. The folder goes when the process does."""
    folder = tempfile.TemporaryDirectory(prefix="kernels-")
    made = Path(folder.name) / "kernels.so"
    source = Path(folder.name) / "kernels.c"
    source.write_text(SOURCE)
    subprocess.run([shutil.which("gcc"), *STRICT, "-shared", "-fPIC", f"-I{LIBRARY}", str(source), "-o", str(made)], check=True)
    loaded = ctypes.CDLL(str(made))
    loaded.folder = folder
    loaded.log2_.argtypes, loaded.root.argtypes = [ctypes.c_uint64], [ctypes.c_uint32]
    return loaded


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


KERNEL = {"dense": 0, "conv2d": 1, "depthwise": 2, "max_pool": 3, "mean_pool": 4, "conv1d": 5, "dense_fast": 6}


def run_layer(layer, x, kernel=None, fold=False):
    """One QuantLayer on int8 (N, *in_shape) by the C kernel -> int8 (N, *out_shape)."""
    keep = []

    def held(array):
        keep.append(np.ascontiguousarray(array))
        return keep[-1].ctypes.data

    q = Layer()
    if layer.weight is not None:
        q.weight, q.multiplier, q.shift = held(layer.weight), held(layer.multiplier), held(layer.shift)
        q.bias = held(layer.folded_bias if fold else layer.bias)
    q.in_h, q.in_w, q.in_c = layer.in_shape
    q.out_h, q.out_w, q.out_c = layer.out_shape
    if layer.kind == "dense":
        q.in_h, q.in_w, q.in_c = 1, 1, int(np.prod(layer.in_shape))
    q.k_h, q.k_w, q.stride_h, q.stride_w = *layer.kernel, *layer.stride
    q.pad_h, q.pad_w, q.per_channel = layer.padding[0], layer.padding[2], layer.per_channel
    q.in_zero, q.out_zero, q.low, q.high = 0 if fold else layer.input.zero, layer.output.zero, layer.low, layer.high
    y = np.empty((len(x), *layer.out_shape), dtype=np.int8)
    for one, to in zip(np.ascontiguousarray(x), y, strict=True):
        library().layer(KERNEL[kernel or layer.kind], ctypes.byref(q), pointer(one), pointer(to))
    return y
