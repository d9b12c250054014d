"""Compression against the solver that it goes through, counts by hand, and what must not become faster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import solve
from mlsysim.compression import compress, distill
from mlsysim.devices import device
from mlsysim.errors import Infeasible, RangeError, SimError, UnknownName
from mlsysim.models import model

LLAMA, H100, A100 = "llama-3.1-8b", "h100", "a100"
DECODE = dict(batch=1, tokens=1, context=512)
PROMPT = dict(batch=4, tokens=2048)


def test_nothing_done_is_the_solver():
    a, b = compress(LLAMA, H100, **PROMPT), solve(LLAMA, H100, **PROMPT)
    assert (a.seconds, a.flop, a.traffic, a.memory) == approx((b.seconds, b.flop, b.traffic, b.memory))
    assert a.speedup == approx(1) and a.ratio == 1 and a.params == model(LLAMA).params and a.tree.value == approx(a.seconds)


@pytest.mark.parametrize("stored", ["int8", "int4", "fp8"])
def test_weights_alone_are_the_solver_with_narrow_weights(stored):
    for shape in (DECODE, PROMPT):
        a, b = compress(LLAMA, H100, weights=stored, **shape), solve(LLAMA, H100, weights=stored, **shape)
        assert a.seconds == approx(b.seconds) and a.flop == approx(a.before["flop"])
    assert compress(LLAMA, H100, weights=stored, **PROMPT).speedup == approx(1, abs=0.05)  # arithmetic binds, and stays
    fast = compress(LLAMA, H100, weights=stored, **DECODE).speedup
    assert 1.5 < fast <= {"int8": 2, "fp8": 2, "int4": 4}[stored]


def test_activations_too_use_the_narrow_units():
    a = compress(LLAMA, H100, activations="fp8", **PROMPT)
    assert a.seconds == approx(solve(LLAMA, H100, precision="fp8", **PROMPT).seconds) and 1.3 < a.speedup < 2
    with pytest.raises(UnknownName, match="fp8"):
        compress(LLAMA, A100, activations="fp8", **PROMPT)


def test_a_scale_for_each_group_costs_its_bytes():
    bare, grouped = compress(LLAMA, H100, weights="int4", **DECODE), compress(LLAMA, H100, weights="int4", group=128, **DECODE)
    assert bare.ratio == approx(4) and grouped.ratio == approx(2 / (0.5 + 2 / 128))
    assert grouped.seconds > bare.seconds


@given(st.floats(0.0, 0.99))
def test_scattered_zeros_shrink_the_file_and_neither_time_nor_memory(share):
    a = compress(LLAMA, H100, prune=share, **DECODE)
    assert a.seconds == approx(a.before["seconds"]) and a.memory == approx(a.before["memory"]) and a.flop == approx(a.before["flop"])
    bits = min(16, (1 - share) * 16 + 1, (1 - share) * 32)
    assert a.ratio == approx(16 / bits)


def test_two_of_four_is_at_most_twice_as_fast_and_only_where_a_sparse_rate_is_printed():
    a = compress(LLAMA, H100, prune=0.5, pattern="2:4", **PROMPT)
    assert 1.2 < a.speedup < 2 and a.ratio == approx(16 / 9)
    assert a.flop < a.before["flop"] * 0.6
    half = compress(LLAMA, H100, prune=0.5, pattern="2:4", **DECODE)
    assert 1.4 < half.speedup < 16 / 9  # bytes bind, and places are bytes
    with pytest.raises(UnknownName, match="sparse rate"):
        compress(LLAMA, device("h100").define("plain", peak={"fp16": "989 TFLOP/s"}, bandwidth="3.35 TB/s", memory="80 GB", family="nvidia-hopper"),
                 prune=0.5, pattern="2:4", **PROMPT)  # fmt: skip


@given(st.sampled_from([0.25, 0.5, 0.75]))
def test_fewer_channels_shrink_products_by_the_square(share):
    a = compress("resnet-50", A100, prune=share, pattern="structured", batch=64)
    keep = 1 - share
    assert keep**2 * 0.99 <= a.flop / a.before["flop"] <= keep * 1.1
    assert keep**2 <= a.params / model("resnet-50").params <= keep * 1.01
    assert 1 < a.speedup <= a.before["flop"] / a.flop * 1.2


def test_narrow_products_lose_some_of_what_they_save():
    a = compress(LLAMA, H100, prune=0.5, pattern="structured", batch=1, tokens=256)
    assert a.speedup < a.before["flop"] / a.flop


@given(st.sampled_from([64, 256, 1024]))
def test_low_rank_has_the_weights_of_two_thin_products(rank):
    m = model(LLAMA)
    a = compress(LLAMA, H100, rank=rank, **PROMPT)
    products = [op for op in m.graph(**PROMPT).ops if op.kind == "gemm"]
    thin = sum(min(op.n * op.k, rank * (op.n + op.k)) / (op.n * op.k) * op.weights * op.count for op in products)
    assert a.params == approx(m.params - sum(op.weights * op.count for op in products) + thin, rel=1e-9)
    assert a.flop < a.before["flop"] and a.seconds < a.before["seconds"]


def test_a_rank_that_saves_nothing_changes_nothing():
    assert compress(LLAMA, H100, rank=4096, **PROMPT).seconds == approx(solve(LLAMA, H100, **PROMPT).seconds)


def test_they_combine_and_let_a_model_fit():
    with pytest.raises(Infeasible, match="times"):
        compress("llama-3.1-70b", H100, **DECODE)
    a = compress("llama-3.1-70b", H100, weights="int4", group=128, **DECODE)
    assert a.feasible and a.memory < device(H100).memory.value
    b = compress("llama-3.1-70b", H100, weights="int4", group=128, prune=0.5, pattern="2:4", **DECODE)
    assert b.stored < a.stored and b.seconds < a.seconds
    assert a.why().binding == "memory bandwidth"


def test_arrays_of_batches():
    many = compress(LLAMA, H100, weights="int8", batch=np.array([1, 16, 256]), tokens=1, context=512)
    assert many.shape == (3,) and (np.diff(many.speedup) < 0).all()
    one = compress(LLAMA, H100, weights="int8", batch=16, tokens=1, context=512)
    assert many[1].seconds == approx(one.seconds) and many[1].tree.value == approx(one.seconds)


def test_a_student_is_as_fast_as_it_is_alone():
    d = distill("llama-3.1-70b", LLAMA, H100, examples=1000, **DECODE)
    assert d.seconds == solve(LLAMA, H100, **DECODE).seconds and d.speedup > 6
    each = solve(LLAMA, H100, **DECODE).flop, solve("llama-3.1-70b", H100, allow_infeasible=True, **DECODE).flop
    assert d.flop == approx(1000 * (3 * each[0] + each[1]))


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: compress(LLAMA, H100, weights="int3", **DECODE), UnknownName, "weights"),
        (lambda: compress(LLAMA, H100, prune=1.0, **DECODE), RangeError, "prune: got 1"),
        (lambda: compress(LLAMA, H100, prune=-0.1, **DECODE), RangeError, "prune: got -0.1"),
        (lambda: compress(LLAMA, H100, prune=0.6, pattern="2:4", **DECODE), RangeError, "two of four"),
        (lambda: compress(LLAMA, H100, prune=0.5, pattern="4:8", **DECODE), UnknownName, "2:4"),
        (lambda: compress(LLAMA, H100, rank=0, **DECODE), RangeError, "rank: got 0"),
        (lambda: compress(LLAMA, H100, group=0.5, **DECODE), RangeError, "group"),
        (lambda: distill(LLAMA, "llama-3.1-70b", H100), SimError, "wanted fewer"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
