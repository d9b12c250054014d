"""Profiling: trees and tables of made-up intervals, counts against PyTorch's rules, and what a recorder may not change."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import Adam, Linear, Profile, Sequential, Tensor, cross_entropy, relu
from tinytorch.backend import backend as use_backend
from tinytorch.layers import Module
from tinytorch.profiling import corrected, cost, grouped, limit, nested, peak_holders, recorder_cost, self_times, speedup, trace
from tinytorch.tensor import Function, Storage


@st.composite
def forests(draw, low=0, high=60, depth=4):
    """Intervals that lie in each other, as the tree that they make."""
    nodes, at = [], low
    while depth and at < high and draw(st.booleans()):
        begin = draw(st.integers(at, high))
        end = draw(st.integers(begin, high))
        if begin == end:
            break
        nodes.append([draw(st.sampled_from("abc")), begin, end, draw(forests(begin, end, depth - 1))])
        at = end
    return nodes


def intervals_of(forest):
    for name, begin, end, children in forest:
        yield [name, begin, end]
        yield from intervals_of(children)


def spans(forest):
    return [[node[1], node[2], spans(node[3])] for node in forest]


@given(forests(), st.randoms())
def test_a_tree_is_found_again_from_its_intervals(forest, random):
    intervals = list(intervals_of(forest))
    random.shuffle(intervals)
    assert spans(nested(intervals)) == spans(forest)


@given(forests())
def test_self_times_add_up_to_what_the_roots_took(forest):
    times = self_times(forest)
    assert sum(seconds for _, seconds in times) == sum(node[2] - node[1] for node in forest)
    assert all(seconds >= 0 for _, seconds in times)
    rows = grouped(times)
    assert sum(calls for _, calls, _, _ in rows) == len(times)
    if sum(seconds for _, seconds in times):
        assert sum(share for *_, share in rows) == pytest.approx(1)


@given(forests())
def test_correcting_by_nothing_changes_nothing(forest):
    def totals(nodes):
        return [[name, end - begin, totals(children)] for name, begin, end, children in nodes]

    assert corrected(forest, 0, 0) == totals(forest)


def test_an_overlap_is_refused():
    with pytest.raises(ValueError, match="right from 3 to 8 overlaps left from 0 to 5 and does not lie in it"):
        nested([["left", 0, 5], ["right", 3, 8]])


@pytest.fixture
def job(rng):
    model = Sequential(Linear(20, 30, rng=rng), relu, Linear(30, 5, rng=rng))
    x, y = Tensor(rng.normal(size=(16, 20)), "float32"), rng.integers(0, 5, 16)

    def step():
        model.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    step.model = model
    return step


@pytest.mark.parametrize("backend", ["reference", "cython"])
def test_a_profile_has_every_operation_and_changes_no_result(job, backend):
    with use_backend(backend):
        wanted = job().item(), [p.grad.numpy().copy() for p in job.model.parameters()]
        before = Function.run, Module.__call__, Storage.__init__, Storage.__del__
        with Profile() as profile:
            found = job().item(), [p.grad.numpy().copy() for p in job.model.parameters()]
        assert (Function.run, Module.__call__, Storage.__init__, Storage.__del__) == before
    assert found[0] == wanted[0] and all((a == b).all() for a, b in zip(found[1], wanted[1], strict=True))
    names = [event.name for event in profile.events if event.kind == "module"]
    assert names.count("Linear") == 2 and names.count("Sequential") == 1
    products = [e for e in profile.operations() if e.flop >= 2 * 16 * 20 * 30]
    forward = sum(e.flop for e in products if e.kind == "forward")
    assert forward == 2 * 16 * 20 * 30                                            # the second layer is smaller
    assert sum(e.flop for e in products if e.kind == "backward") == forward       # x wants no gradient
    assert len(nested([[e.name, e.begin, e.end] for e in profile.events])) >= 3
    assert "Linear (module)" in profile.table() and "Sequential (module)" in profile.tree()
    assert "of its bound" in profile.table(1e11, 1e10)


def test_what_a_step_leaves_is_what_the_memory_events_say(job):
    with Profile() as profile:
        begin = Storage.live_bytes
        loss = job()
        grown = Storage.live_bytes - begin
    appeared = {number: size for number, _, size in profile.memory if size}
    gone = [number for number, _, size in profile.memory if not size]
    assert len(gone) == len(set(gone)) and set(gone) <= set(appeared)
    from_before = sum(p.nbytes for p in job.model.parameters() if p.grad is not None)
    assert sum(appeared.values()) - sum(appeared[n] for n in gone) - grown in (0, from_before)
    peak, holders = peak_holders(profile.memory)
    assert peak == sum(size for _, size in holders) and peak >= from_before and loss.item() > 0


def test_a_failing_program_leaves_no_recorder_behind(job):
    before = Function.run
    with pytest.raises(ZeroDivisionError), Profile():
        job()
        1 / 0  # noqa: B018
    assert Function.run is before and Profile.active is None
    with Profile(), pytest.raises(RuntimeError, match="a Profile is active already; they do not nest"), Profile():
        pass


def test_the_cost_of_an_event_is_measured_and_small():
    inside, whole = recorder_cost()
    assert 0 <= inside <= whole < 1e-3


def test_corrected_times_are_nearer_to_the_truth(rng):
    """A thousand small operations: their sum, corrected, is nearer to the time without a recorder than the raw sum is."""
    x = Tensor(rng.normal(size=4), "float32")

    def work():
        y = x
        for _ in range(1000):
            y = -y

    import time

    plain, raw, mended = [], [], []
    for _ in range(7):
        begin = time.thread_time()
        work()
        plain.append(time.thread_time() - begin)
        with Profile() as profile:
            with_modules = Sequential(lambda t: work())
            with_modules(x)
        root = profile.forest()[0]
        raw.append(root[2] - root[1])
        mended.append(corrected(profile.forest(), profile.before, profile.whole)[0][1])
    truth = min(plain)
    assert abs(min(mended) - truth) < abs(min(raw) - truth)


def test_a_saved_trace_is_what_viewers_read(job, tmp_path):
    with Profile() as profile:
        job()
    profile.save(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    complete = [e for e in events if e["ph"] == "X"]
    assert len(complete) == len(profile.events) and min(e["ts"] for e in complete) == 0
    assert all({"name", "ph", "ts", "pid"} <= e.keys() for e in events) and all(e["dur"] >= 0 for e in complete)
    assert sum(e["ph"] == "C" for e in events) == len(profile.operations())
    assert trace([]) == {"traceEvents": []}


def test_optimizer_steps_are_seen_as_time_outside(job):
    optimizer = Adam(job.model.parameters(), lr=1e-3)
    with Profile() as profile:
        job()
        optimizer.step()
    assert all(event.end >= event.begin for event in profile.events)


@pytest.mark.parametrize("flop, traffic, seconds, wanted", [
    (1e6, 1e6, 60e-6, ("memory", 5 / 6)), (1e6, 1e6, 400e-6, ("overhead", 1 / 8)), (1e8, 1e6, 1.25e-3, ("compute", 0.8)), (0, 0, 1, ("overhead", 0)),
])
def test_limits(flop, traffic, seconds, wanted):
    why, reached = limit(flop, traffic, seconds, 100e9, 20e9)
    assert why == wanted[0] and reached == pytest.approx(wanted[1])


def test_amdahl():
    assert speedup([[0.15, float("inf")]]) == pytest.approx(1 / 0.85)
    assert speedup([[1.0, float("inf")]]) == float("inf") and speedup([]) == 1
    with pytest.raises(ValueError, match="1 at most in sum"):
        speedup([[0.7, 2], [0.7, 2]])


def test_costs_of_attention_shaped_products():
    assert cost("MatMul", [(2, 4, 8, 16), (2, 4, 16, 8)], (2, 4, 8, 8)) == (2 * 16 * 2 * 4 * 64, 4 * (2 * 1024 + 512))
    assert cost("MatMul", [(3, 5), (5, 7)], (3, 7), 8, [True, True]) == (2 * 210, 8 * (21 + 15 + 35 + 15 + 35))
    assert np.isfinite(cost("Sum", [(0, 3)], ()))[0]
