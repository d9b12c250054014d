"""Kernels are faster than their NumPy twins: ratios in one process, in turn, with wide bounds. Times are in benchmarks/."""

import os
import statistics
import time

import numpy as np
import pytest

from tests.tinytorch.kernels.strategies import array, unwritten
from tinytorch._ext import _reference
from tinytorch.backend import backend, backend_info, isa_levels, kernel


def scatter_add(run):
    x, index, out = array(1, (1024, 128)), np.random.default_rng(0).integers(0, 256, 1024), np.zeros((256, 128), np.float32)
    return lambda: run(x, index, out)


def scalars(value):
    inputs, weights = [value(0.1 * k) for k in range(50)], [value(0.2 * k) for k in range(50)]

    def run():
        total = 0
        for x, w in zip(inputs, weights, strict=True):
            total = x * w + total
        total.tanh().backward()

    return run


def softmax(run):
    x, out = array(2, (256, 512)), unwritten((256, 512))
    return lambda: run(x, out, threads=1)


def cross_entropy(run):
    x, labels, losses, grad = array(3, (256, 512)), np.arange(256), unwritten((256,)), unwritten((256, 512))
    return lambda: run(x, labels, losses, grad, threads=1)


def layer_norm(run):
    x, weight, out, statistics = array(4, (256, 512)), array(5, (512,)), unwritten((256, 512)), unwritten((2, 256))
    return lambda: run(x, weight, weight, out, *statistics, threads=1)


def attention(run):
    x, out, lse = array(6, (2, 128, 12, 32)), unwritten((2, 128, 4, 32)), unwritten((2, 4, 128))
    return lambda: run(x[:, :, :4], x[:, :, 4:8], x[:, :, 8:], out, lse, threads=1)


def decoding(run):
    q, k, out, lengths = array(7, (1, 8, 64)), array(8, (1, 1024, 8, 64)), unwritten((1, 8, 64)), np.array([1024])
    return lambda: run(q, k, k, lengths, out, threads=1)


def convolution(run):
    x, weight, out = array(9, (8, 16, 32, 32)), array(10, (32, 16, 3, 3)), unwritten((8, 32, 32, 32))
    return lambda: run(x, weight, out, padding=(1, 1), threads=1)


def adam(run):
    state = [np.abs(array(11 + k, (100_000,))) for k in range(4)]
    return lambda: run(*state, 3, 1e-3, 0.9, 0.999, 1e-8, threads=1)


@pytest.mark.parametrize("name, make, least", [
    # on Zen 5 with AVX-512, as many times as fast as the twin:
    ("scatter_add", scatter_add, 5),                # 48
    ("Value", scalars, 4),                          # 16
    ("softmax", softmax, 1.5),                      # 3.5
    ("cross_entropy", cross_entropy, 2),            # 9
    ("layer_norm", layer_norm, 2),                  # 7
    ("attention_forward", attention, 1.3),          # 9
    ("attention_decode", decoding, 1.3),            # 4
    ("conv2d", convolution, 1.3),                   # 7
    ("adam_step", adam, 1.5),                       # 9
])  # fmt: skip
def test_a_kernel_beats_its_twin(name, make, least):
    if name not in backend_info().native:
        pytest.skip(f"{name} is not compiled here")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("under AddressSanitizer a time says nothing")
    if isa_levels()[-1] == 1:
        pytest.skip("only generic vectors here; the bounds are for AVX2 or more")
    with backend("cython"):
        ours, twin = make(kernel(name)), make(getattr(_reference, name))
    ours(), twin()
    spent = {ours: [], twin: []}
    for _ in range(9):
        for run, times in spent.items():
            start = time.thread_time()
            run(), run()
            times.append(time.thread_time() - start)
    assert statistics.median(spent[ours]) * least < statistics.median(spent[twin])
