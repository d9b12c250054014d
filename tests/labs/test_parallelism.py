"""Lab V2-05: keys agree with formulas written out, slips are told apart, and what binds binds clearly."""

import numpy as np
import pytest
from pytest import approx

from mlsysbook.labs.tracks import TRACKS
from mlsysim import model, train, units
from tests.labs.lab import failing, reference

NAME = "labs/v2_05_parallelism"
SEEDS = range(4)


@pytest.fixture(scope="module")
def lab():
    return reference(NAME)


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        n, copies, params, p = v["replicas"], v["dp"], model(v["net"]).params, v["stages"]
        each = {1: 4 + 12 / copies, 2: 2 + 14 / copies, 3: 16 / copies}[v["zero"]]
        assert lab.key("held", v).value == approx(params * each / (v["tp"] * v["pp"]))
        assert lab.key("exchange", v).value == approx(4 * (n - 1) / n * params / units.parse(v["link"])[0])
        most, m = units.parse(v["idle"])[0], int(lab.key("micro", v).value)
        assert (p - 1) / (m + p - 1) <= most + 1e-9 < (p - 1) / (m + p - 2)
        assert lab.key("idle_share", v).value == approx(7 / 15)


def test_each_track_has_plans_that_different_limits_bind_by_a_clear_margin(lab):
    place, step_of = lab_names(lab, "PLACES", "step_of")
    for track in TRACKS:
        bound = set()
        for plan in {str(v["plan"]): v["plan"] for v in lab.pool if v["track"] == track}.values():
            why = step_of(place[track], **plan).why()
            first, second = sorted(map(abs, why.elasticities.values()))[:-3:-1]
            assert first > 1.5 * second, (track, plan, why.elasticities)
            bound.add(why.binding)
        assert len(bound) >= 2, (track, bound)


def lab_names(lab, *names):
    found = lab.keys["step"].__globals__
    return [found[n] for n in names]


def test_slicing_wider_than_a_box_is_slower_although_it_holds_less(lab):
    """The trap: on all tracks the layout that holds less takes several times as long."""
    for track in TRACKS:
        v = next(v for v in lab.pool if v["track"] == track)
        (places, step_of), at = lab_names(lab, "PLACES", "step_of"), None
        at = places[track]
        narrow, wide = (step_of(at, tp=at[k], zero=1) for k in ("narrow", "wide"))
        assert wide.memory < narrow.memory and wide.seconds > 2.5 * narrow.seconds
        assert lab.key("widening", v).value == approx(float(wide.seconds / narrow.seconds))


def bytes_of(params, tp, pp, dp, zero, split=((1, 3), (1, 2), (1, 1)), cut=lambda tp, pp: tp * pp):
    return params / cut(tp, pp) * sum(each / (dp if zero >= stage else 1) for each, (_, stage) in zip((2, 2, 12), split, strict=True))


def times(seconds, m, before=max, start=0.0):
    done = np.zeros((len(seconds), m))
    for s, each in enumerate(seconds):
        for k in range(m):
            done[s, k] = before(done[s - 1, k] if s else start, done[s, k - 1] if k else start) + each
    return done


def search(net, on, choices, best=min, infeasible=False, **settings):
    from mlsysim import SimError

    found = []
    for choice in choices:
        try:
            found.append((float(train(net, on, allow_infeasible=infeasible, **settings, **choice).seconds), choice))
        except SimError:
            pass
    if not found:
        return None
    seconds, choice = best(found, key=lambda f: f[0])
    return choice, seconds


SLIPS = [
    ("rank_bytes", "none", bytes_of, set()),
    ("rank_bytes", "stages left out", lambda *a, **k: bytes_of(*a, **k, cut=lambda tp, pp: tp), {0, 1, 2, 3}),
    ("rank_bytes", "ZeRO left out", lambda params, tp, pp, dp, zero: bytes_of(params, tp, pp, dp, 0), {1, 2, 3}),
    ("rank_bytes", "copies divide", lambda params, tp, pp, dp, zero: 16 * params / (tp * pp * dp), {0, 1, 2}),
    ("rank_bytes", "weights split first", lambda *a, **k: bytes_of(*a, **k, split=((1, 1), (1, 2), (1, 3))), {1, 2}),
    ("finish_times", "none", times, set()),
    ("finish_times", "all wait for the slowest", lambda s, m: np.add.outer(np.arange(len(s)), np.arange(m)) * max(s) + max(s), {0, 2, 3}),
    ("finish_times", "never waits for the one ahead", lambda s, m: np.cumsum(s)[:, None] + 0.0 * np.arange(m), {0, 1, 2, 4}),
    ("finish_times", "waits for the sum", lambda s, m: times(s, m, before=lambda a, b: a + b), {0, 1, 2}),
    ("finish_times", "when they enter", lambda s, m: times(s, m) - np.asarray(s)[:, None], {0, 1, 2, 3, 4}),
    ("quickest", "none", search, set()),
    ("quickest", "the slowest", lambda *a, **k: search(*a, **k, best=max), {0}),
    ("quickest", "memory is ignored", lambda *a, **k: search(*a, **k, infeasible=True), {1, 3}),
    ("quickest", "the first that works", lambda *a, **k: search(*a, **k, best=lambda f, key: f[0]), {0}),
    ("quickest", "the error goes through", lambda net, on, choices, **k: min(
        ((c, float(train(net, on, **k, **c).seconds)) for c in choices), key=lambda f: f[1]), {1, 2, 3}),
]


@pytest.mark.parametrize(("name", "slip", "function", "wanted"), SLIPS, ids=lambda x: x if isinstance(x, str) else None)
def test_a_slip_fails_its_own_behaviours(lab, name, slip, function, wanted):
    for seed in SEEDS:
        wrong = failing(lab, name, function, seed)
        assert wanted <= wrong and (wanted or not wrong), (seed, wrong)


def test_a_pipeline_played_by_the_function_has_the_bubble_of_the_formula(lab):
    for p, m in ((8, 8), (4, 20), (12, 3)):
        assert 1 - m / float(times(np.ones(p), m)[-1, -1]) == approx((p - 1) / (m + p - 1))
