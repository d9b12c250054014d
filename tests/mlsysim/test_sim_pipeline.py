"""Pipelines: the closed forms, and that schedules played out pass by pass are them, conserve work and respect order."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from mlsysim.errors import RangeError, UnknownName
from mlsysim.pipeline import SCHEDULES, bubble, in_flight, pipeline
from mlsysim.simulate.pipeline import order, simulate_pipeline

cases = st.tuples(st.integers(1, 8), st.integers(1, 4), st.sampled_from(SCHEDULES), st.integers(1, 4)).map(
    lambda c: dict(stages=c[0], micro_batches=c[0] * c[1], schedule=c[2], interleave=c[3] if c[2] == "interleaved" else 1)
)


def test_bubbles_by_hand():
    assert Fraction(7, 15) == approx(bubble(8, 8)) == approx(bubble(8, 8, schedule="gpipe"))
    assert Fraction(7, 39) == approx(bubble(8, 8, schedule="interleaved", interleave=4))
    assert bubble(1, 5) == 0 and bubble(np.array([2, 4]), 4) == approx([1 / 5, 3 / 7])


@settings(deadline=None)
@given(cases, st.floats(0.1, 10), st.floats(0.1, 10))
def test_equal_stages_played_out_are_the_closed_form(case, forward, backward):
    run, closed = simulate_pipeline(forward, backward, **case, activations=7.0), pipeline(forward, backward, **case, activations=7.0)
    for name in ("seconds", "rate", "bubble", "utilization", "in_flight", "memory"):
        assert getattr(run, name) == approx(getattr(closed, name), rel=1e-9, abs=1e-12), name
    p, m = case["stages"], case["micro_batches"]
    kept = [in_flight(p, m, stage=s, schedule=case["schedule"], interleave=case["interleave"]) for s in range(p)]
    assert run.kept == approx(np.array(kept))


def test_memory_in_flight_is_all_micro_batches_or_as_many_as_stages():
    for m in (8, 32, 128):
        assert simulate_pipeline(1, 2, stages=8, micro_batches=m, schedule="gpipe").in_flight == m
        assert simulate_pipeline(1, 2, stages=8, micro_batches=m).in_flight == 8
        assert simulate_pipeline(1, 2, stages=8, micro_batches=m, schedule="interleaved", interleave=2).in_flight == approx(
            min(8 * (1 + 7 / 16), m)
        )


def unequal(case, seed):
    rng = np.random.default_rng(seed)
    shape = case["stages"], case["interleave"], case["micro_batches"]
    return rng.uniform(0.5, 2, shape), rng.uniform(1, 4, shape), rng.uniform(0, 0.5, case["stages"])


@settings(deadline=None)
@given(cases, st.integers(0, 99))
def test_work_is_conserved_and_nothing_runs_before_what_it_needs(case, seed):
    forward, backward, send = unequal(case, seed)
    run = simulate_pipeline(forward, backward, send=send, **case)
    p, v, m = forward.shape
    assert len(run.start) == 2 * p * v * m and run.busy.sum() == approx(forward.sum() + backward.sum())
    end = {}
    for s, k, c, i, a, b in zip(run.stage, run.kind, run.chunk, run.micro_batch, run.start, run.end, strict=True):
        end[k, s, c, i] = b
        assert b - a == approx((backward if k else forward)[s, c, i])
    for (k, s, c, i), b in end.items():
        a = b - (backward if k else forward)[s, c, i] + 1e-9
        if k == 0 and s + c:
            assert a >= end[0, (s - 1) % p, c - (s == 0), i] + (send[s - 1] if p > 1 else 0)
        if k == 1:
            last = s == p - 1 and c == v - 1
            assert a >= (end[0, s, c, i] if last else end[1, (s + 1) % p, c + (s == p - 1), i] + (send[s] if p > 1 else 0))
    for s in range(p):  # one pass at a time
        mine = run.stage == s
        assert (run.start[mine][1:] >= run.end[mine][:-1] - 1e-9).all()
    assert run.seconds >= run.busy.max() - 1e-9


@settings(deadline=None, max_examples=30)
@given(cases, st.integers(0, 99), st.floats(1.01, 3))
def test_slower_stages_or_links_never_finish_earlier(case, seed, slower):
    forward, backward, send = unequal(case, seed)
    one = simulate_pipeline(forward, backward, send=send, **case).seconds
    assert simulate_pipeline(forward * slower, backward, send=send, **case).seconds >= one
    assert simulate_pipeline(forward, backward, send=send * slower, **case).seconds >= one - 1e-12
    assert simulate_pipeline(forward * slower, backward * slower, send=send * slower, **case).seconds == approx(one * slower)


def test_the_slowest_stage_sets_the_rate_and_why_names_it():
    slow = np.array([1.0, 1.0, 1.5, 1.0])
    run = simulate_pipeline(slow, 2 * slow, stages=4, micro_batches=64)
    assert 64 * 4.5 + 2 + 4 <= run.seconds <= 64 * 4.5 + 3 * 3.0, "two forward passes before its first, two backward after its last"
    why = run.why()
    assert why.binding == "speed of stage 2" and why.elasticities["speed of stage 2"] < -0.9
    assert run.tree.value == approx(run.seconds) and "stage 2" in str(run.tree)


def test_a_hop_delays_gpipe_once_each_way_and_one_forward_one_backward_in_every_turn():
    hop, p, m = 0.25, 4, 16
    closed = pipeline(1, 2, stages=p, micro_batches=m).seconds
    assert simulate_pipeline(1, 2, stages=p, micro_batches=m, schedule="gpipe", send=hop).seconds == approx(closed + 2 * (p - 1) * hop)
    assert simulate_pipeline(1, 2, stages=p, micro_batches=m, send=hop).seconds > closed + 2 * (p - 1) * hop


def test_interleaving_trades_bubble_for_hops():
    plain, chunks = (dict(stages=8, micro_batches=16, schedule=s, interleave=v) for s, v in (("1f1b", 1), ("interleaved", 4)))
    assert simulate_pipeline(1, 2, **chunks).seconds < simulate_pipeline(1, 2, **plain).seconds
    assert simulate_pipeline(1, 2, **chunks, send=1.0).seconds > simulate_pipeline(1, 2, **plain, send=1.0).seconds


def test_every_stage_passes_each_chunk_once_each_way():
    for s in range(4):
        done = order(s, 4, 8, "interleaved", 3)
        assert sorted(done) == [(k, c, i) for k in (0, 1) for c in range(3) for i in range(8)]


def test_spans_are_what_the_plot_wants():
    spans = simulate_pipeline(1, 2, stages=2, micro_batches=2).spans()
    assert spans[0] == (0, 0.0, 1.0, "forward") and len(spans) == 8 and spans[-1] == (0, 7.0, 9.0, "backward")


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: bubble(8, 0), RangeError, "micro_batches: got 0"),
        (lambda: bubble(8, 8, interleave=2), RangeError, "interleave: got 2"),
        (lambda: bubble(8, 12, schedule="interleaved", interleave=2), RangeError, "multiple of 8"),
        (lambda: bubble(8, 8, schedule="1f1"), UnknownName, "did you mean '1f1b'"),
        (lambda: in_flight(4, 4, stage=4), RangeError, "stage: got 4"),
        (lambda: pipeline(-1, 1, stages=2, micro_batches=2), RangeError, "forward: got -1"),
        (lambda: simulate_pipeline([1, 2, 3], 1, stages=2, micro_batches=2), RangeError, r"forward: got shape \(3,\)"),
        (lambda: simulate_pipeline(1, 1, stages=2, micro_batches=2, send=[1, 2, 3]), RangeError, "send: got shape"),
        (lambda: simulate_pipeline(1, float("nan"), stages=2, micro_batches=2), RangeError, "backward: got nan"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
