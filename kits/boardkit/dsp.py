"""A spectral front end in fixed point: the tables of mlk_dsp.h, and the same arithmetic in NumPy, to the bit.

Samples are int16. Products with Q15 tables are rounded to the nearest, halves upwards. The FFT divides by its size, a half
a stage, rounding down. Mel bands sum power with weights over 4096, exactly, in 64 bits. Logarithms are 256 log2, rounded down.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import KitError
from .export import array
from .quantize import Scale, quantize_multiplier, requantize, round_away


class DspError(KitError, ValueError):
    """A front end that cannot be built or fed as asked."""


def q15(x):
    """Reals -> int16 over 32768, saturated."""
    return np.clip(round_away(np.asarray(x) * 32768), -32768, 32767).astype(np.int16)


def hann(size):
    """A periodic Hann window in Q15."""
    return q15(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))


def twiddles(size):
    """cos and -sin of 2 pi i / size for i < size / 2, in Q15, limited to 32767 on both sides -> int16 (size / 2, 2)."""
    angle = 2 * np.pi * np.arange(size // 2) / size
    return np.clip(round_away(np.stack([np.cos(angle), -np.sin(angle)], axis=1) * 32768), -32767, 32767).astype(np.int16)


def _power_of_two(size):
    if size not in (1 << n for n in range(1, 13)):
        raise DspError(f"size {size}: wanted a power of two from 2 to 4096")


def _int16(name, x):
    x = np.asarray(x)
    if x.dtype != np.int16:
        raise DspError(f"{name}: got {x.dtype}; wanted int16")
    return x.astype(np.int64)


def multiply_q15(a, b):
    """int16 products over 32768, to the nearest, halves upwards, saturated -> int64."""
    return np.clip((np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64) + 16384) >> 15, -32768, 32767)


def fft(re, im):
    """FFT along the last axis of int16 real and imaginary parts, divided by its size -> (re, im) int16. As mlk_fft."""
    re, im = np.broadcast_arrays(*(_int16(name, v).astype(np.int32) for name, v in (("re", re), ("im", im))))  # as in C, 32 bits do
    size = re.shape[-1]
    _power_of_two(size)
    order = np.array([int(f"{i:0{size.bit_length() - 1}b}"[::-1], 2) for i in range(size)])
    re, im, table = re[..., order], im[..., order], twiddles(size).astype(np.int32)
    half = 1
    while half < size:
        c, s = table[:: size // 2 // half][:half].T
        shape = (*re.shape[:-1], -1, 2, half)
        (a, x), (b, y) = (np.moveaxis(v.reshape(shape), -2, 0) for v in (re, im))
        r, m = (c * x - s * y + 16384) >> 15, (c * y + s * x + 16384) >> 15
        re, im = (
            np.clip(np.stack([(p + q) >> 1, (p - q) >> 1], axis=-2), -32768, 32767).reshape(*re.shape) for p, q in ((a, r), (b, m))
        )
        half *= 2
    return re.astype(np.int16), im.astype(np.int16)


def log2(x):
    """256 log2 of integers from 0 to 2^63 - 1, rounded down as mlk_log2; 0 -> 0."""
    x = np.asarray(x, dtype=np.int64)
    if (x < 0).any():
        raise DspError("log2: got a negative number")
    n = np.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        n += step * ((x >> (n + step)) > 0)
    m = np.where(n > 15, x >> np.maximum(n - 15, 0), x << np.maximum(15 - n, 0))
    log = n.copy()
    for _ in range(8):
        m = (m * m) >> 15
        bit = m >> 16
        m >>= bit
        log = 2 * log + bit
    return np.where(x > 0, log, 0)


def sqrt(x):
    """Integer square roots, rounded down, of 0 to 2^32 - 1."""
    root = np.floor(np.sqrt(np.asarray(x, dtype=np.float64))).astype(np.int64)
    root -= root * root > x
    return root + ((root + 1) ** 2 <= x)


def mel(hertz):
    """Hz -> mel, 2595 log10(1 + f / 700). Source: O'Shaughnessy 1987."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


@dataclass(frozen=True)
class LogMel:
    """Frames of sound -> logarithms of mel bands. rate and edges in Hz; size samples a frame, hop samples from one to the next."""

    rate: int = 16000
    size: int = 512
    hop: int = 320
    bands: int = 40
    low: float = 20.0
    high: float = 7600.0

    def __post_init__(self):
        _power_of_two(self.size)
        if not (0 <= self.low < self.high <= self.rate / 2 and self.bands >= 1 and self.hop >= 1):
            raise DspError(f"{self}: wanted 0 <= low < high <= rate / 2, bands and hop of 1 or more")

    @cached_property
    def filters(self):
        """Triangles over the bins, over 4096 -> (first (bands,), count (bands,), weights of all bands in a row), uint16.

        Source: Davis and Mermelstein 1980. A triangle narrower than a bin takes the bin nearest to its peak.
        """
        edges = np.linspace(mel(self.low), mel(self.high), self.bands + 2)
        bins = mel(np.arange(self.size // 2 + 1) * self.rate / self.size)
        first, count, weights = [], [], []
        for left, peak, right in zip(edges, edges[1:], edges[2:], strict=False):
            w = round_away(4096 * np.clip(np.minimum((bins - left) / (peak - left), (right - bins) / (right - peak)), 0, 1))
            held = np.flatnonzero(w)
            if not len(held):
                held = np.array([np.abs(bins - peak).argmin()])
                w[held] = 4096
            first.append(held[0])
            count.append(held[-1] - held[0] + 1)
            weights.extend(w[held[0] : held[-1] + 1])
        return tuple(np.array(v, dtype=np.uint16) for v in (first, count, weights))

    def frames(self, sound):
        """int16 (..., samples) -> int16 (..., frames, size), whole frames only."""
        sound = np.asarray(sound)
        if sound.shape[-1] < self.size:
            raise DspError(f"sound: got {sound.shape[-1]} samples; wanted at least one frame of {self.size}")
        return np.lib.stride_tricks.sliding_window_view(sound, self.size, axis=-1)[..., :: self.hop, :]

    def bands_of(self, frames):
        """int16 (..., size) -> int16 (..., bands) of 256 log2, exactly as mlk_log_mel."""
        frames = _int16("frames", frames)
        rows = frames.reshape(-1, self.size)
        first, count, weights = (v.astype(np.int64) for v in self.filters)
        ends, logs = np.cumsum(count), np.empty((len(rows), self.bands), dtype=np.int16)
        for at in range(0, len(rows), 256):  # a block stays in the cache
            windowed = multiply_q15(rows[at : at + 256], hann(self.size)).astype(np.int16)
            re, im = fft(windowed, np.zeros((), dtype=np.int16))
            power = re.astype(np.int64) ** 2 + im.astype(np.int64) ** 2
            sums = [power[:, f : f + n] @ weights[e - n : e] for f, n, e in zip(first, count, ends, strict=True)]
            logs[at : at + 256] = log2(np.stack(sums, axis=-1))
        return logs.reshape(*frames.shape[:-1], self.bands)

    def __call__(self, sound):
        """int16 (..., samples) -> int16 (..., frames, bands)."""
        return self.bands_of(self.frames(sound))

    def input_terms(self, scale):
        """(multiplier, shift) by which log - offset becomes a network's input, of this Scale."""
        return quantize_multiplier(1 / scale.scale)

    def features(self, logs, scale: Scale, offset=0):
        """Logarithms -> int8 inputs of a network whose real inputs are log - offset, exactly as mlk_feature."""
        multiplier, shift = self.input_terms(scale)
        y = requantize(np.asarray(logs, dtype=np.int64) - offset, multiplier, shift)
        return np.clip(y + scale.zero, -128, 127).astype(np.int8)

    def header(self, scale=None, offset=0, prefix="front"):
        """C text: tables in flash and the record `<prefix>_mel` for mlk_log_mel and mlk_feature; sizes as macros."""
        scale = scale or Scale(1.0)
        multiplier, shift = self.input_terms(scale)
        first, count, weights = self.filters
        tables = {"window": (hann(self.size), "int16_t"), "twiddle": (twiddles(self.size), "int16_t"), "first": (first, "uint16_t"),
                  "count": (count, "uint16_t"), "weight": (weights, "uint16_t")}  # fmt: skip
        big = prefix.upper()
        fields = [*(f"{prefix}_{name}" for name in tables), self.size, self.bands, multiplier, offset, shift, scale.zero]
        return (
            f"/* {self}. boardkit.dsp writes this file. */\n#ifndef {big}_H\n#define {big}_H\n\n#include \"mlk.h\"\n\n"
            f"#define {big}_SIZE {self.size}\n#define {big}_HOP {self.hop}\n#define {big}_BANDS {self.bands}\n\n"
            + "".join(array(f"{prefix}_{name}", values, ctype) for name, (values, ctype) in tables.items())
            + f"static const mlk_mel {prefix}_mel MLK_ROM = {{{', '.join(map(str, fields))}}};\n\n#endif\n"
        )
