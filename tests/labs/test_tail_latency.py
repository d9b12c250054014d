"""Lab V1-13: keys agree with formulas written out, slips are told apart. What holds for every lab is in test_all.py."""

import json
import math
import re

import numpy as np
import pytest
from pytest import approx

from mlsysbook import catalogue
from mlsysbook.build.student import student_copy
from mlsysbook.labs.tracks import TRACKS
from mlsysim import device, model, units
from tests.labs.lab import failing, reference, run_plain

NAME = "labs/v1_13_tail_latency"
SEEDS = range(8)
PLACES = {"cloud": ("vit-l-16", "l4", "fp16", 2), "edge": ("resnet-50", "jetson-orin-nano", "fp16", 2),
          "mobile": ("mobilenet-v3-large", "iphone-15-pro", "fp16", 2), "tiny": ("ds-cnn", "stm32f746", "int8", 1)}


def one(track, batch=1):
    """Seconds of a pass, written out."""
    (name, where, precision, width) = PLACES[track]
    net, d = model(name), device(where)
    return max(batch * net.flop / d.peak[precision].value, width * (net.params + 2 * batch * net.activations) / d.bandwidth.value)


COLD = {"cloud": 6 + 2 * model("vit-l-16").params / 1e9, "edge": 2 + 2 * model("resnet-50").params / 200e6,
        "mobile": 0.3 + 2 * model("mobilenet-v3-large").params / 500e6, "tiny": 0.04 + model("ds-cnn").params / 1e6}


@pytest.fixture(scope="module")
def course():
    return catalogue.load()


@pytest.fixture(scope="module")
def lab():
    return reference(NAME)


@pytest.mark.parametrize("track", TRACKS)
def test_the_bet_is_lost_as_the_text_says(course, tmp_path, track):
    out = run_plain(course.find(NAME), tmp_path / "work", "ada", track)
    first = units.parse(re.search(r"99 of 100 are done within +(.+)", out)[1])[0]
    alone = units.parse(re.search(r"one request alone, on average +(.+)", out)[1])[0]
    assert first / alone == approx(math.log(100) / 0.1, rel=0.01)
    assert re.search(r"within 46\.1 mean services", out) and "36.8 %" in out
    assert float(re.search(r"within ([\d.]+) when played", out)[1]) == approx(46.1, rel=0.25)


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        alone = one(v["track"])
        objective, quiet, rate = (units.parse(v[k])[0] for k in ("objective", "quiet", "rate"))
        assert lab.key("busy", v).value == approx(10 * math.log(100) * alone)
        assert lab.key("knee", v).value == approx(1 - math.log(100) * alone / objective, rel=1e-6) and 0.3 < lab.key("knee", v).value < 0.9
        assert lab.key("tax", v).value == approx((v["batch"] - 1) / 2 / rate + one(v["track"], v["batch"]))
        assert lab.key("keep", v).value == approx(math.log(100) / quiet, rel=1e-6)
        assert lab.key("asleep", v).value == approx(1 / math.e)


def line_by_line(arrivals, services):
    free, out = 0.0, []
    for a, s in zip(arrivals, services, strict=True):
        free = max(free, a) + s
        out.append(free - a)
    return np.array(out, float)


def test_what_the_slowest_wait_for_is_played_another_way(lab):
    """Event by event, for every eleventh plan: the same total, and the same part is the largest, by a clear margin."""
    for v in lab.pool[::11]:
        rate, keep, b = units.parse(v["plan_rate"])[0], units.parse(v["plan_keep"])[0], v["plan_batch"]
        rng = np.random.default_rng(13)
        n = 20_000 // b
        came = np.cumsum(rng.exponential(1 / rate, n * b))
        full = came[b - 1::b]
        work = one(v["track"], b) * rng.exponential(size=n)
        cold = [0.0] + [COLD[v["track"]] if full[i] - full[i - 1] > keep else 0.0 for i in range(1, n)]
        stay = line_by_line(full, work + cold)
        rows = [(full[i // b] - came[i], stay[i // b] - work[i // b] - cold[i // b], work[i // b], cold[i // b]) for i in range(n * b)]
        rows = sorted(rows, key=sum)
        slow = [sum(r[k] for r in rows[-n * b // 100:]) / len(rows[-n * b // 100:]) for k in range(4)]
        assert lab.key("slowest", v).value == approx(sum(slow), rel=0.01)
        ruling = lab.ruling("mend", v)
        assert ruling.binding == ruling.options[int(np.argmax(slow))] and sorted(slow)[-1] > 1.4 * sorted(slow)[-2]


def test_each_track_has_plans_with_different_limits_and_some_that_the_mean_hides(lab):
    for track in TRACKS:
        mine = [v for v in lab.pool if v["track"] == track]
        rulings = [lab.ruling("mend", v) for v in mine]
        assert len(mine) >= 15 and len({r.binding for r in rulings}) >= 3 and sum(bool(r.wrong) for r in rulings) >= 10


def slow_ones(parts, share=0.99, limit=lambda total, share: total >= np.quantile(total, share), mean=np.mean):
    total = sum(parts.values())
    return {k: float(mean(x[limit(total, share)])) for k, x in parts.items()}


LN = np.log
SLIPS = [
    ("times_in_system", "none", line_by_line, set()),
    ("times_in_system", "the wait alone", lambda a, s: line_by_line(a, s) - s, {0, 1, 2}),
    ("times_in_system", "the server never rests", lambda a, s: np.cumsum(s) - a, {0, 1}),
    ("times_in_system", "nobody waits", lambda a, s: s * 1.0, {0, 2}),
    ("times_in_system", "when they go", lambda a, s: line_by_line(a, s) + a, {0, 1, 2}),
    ("times_in_system", "a constant", lambda a, s: np.array([3.0, 5.0, 7.0, 3.0]), {0, 1, 2, 3}),
    ("most_arrivals", "none", lambda s, o, q=0.99: np.maximum(0, 1 / s - LN(1 / (1 - q)) / o), set()),
    ("most_arrivals", "the mean", lambda s, o, q=0.99: np.maximum(0, 1 / s - 1 / o), {0, 1, 2, 3}),
    ("most_arrivals", "decimal logarithm", lambda s, o, q=0.99: np.maximum(0, 1 / s + np.log10(1 - q) / o), {0, 1, 3}),
    ("most_arrivals", "always 0.99", lambda s, o, q=0.99: np.maximum(0, 1 / s - LN(100) / o), {1}),
    ("most_arrivals", "below zero", lambda s, o, q=0.99: 1 / s - LN(1 / (1 - q)) / o, {2}),
    ("most_arrivals", "scalars only", lambda s, o, q=0.99: max(0.0, float(1 / s - LN(1 / (1 - q)) / o)), {3}),
    ("tail_parts", "none", slow_ones, set()),
    ("tail_parts", "everybody", lambda p, q=0.99: slow_ones(p, 0.0), {0, 1, 2}),
    ("tail_parts", "above only", lambda p, q=0.99: slow_ones(p, q, lambda t, s: t > np.quantile(t, s)), {2}),
    ("tail_parts", "quantile of each part", lambda p, q=0.99: {k: float(np.quantile(x, q)) for k, x in p.items()}, {0, 1, 2, 3}),
    ("tail_parts", "sums", lambda p, q=0.99: slow_ones(p, q, mean=np.sum), {0, 1, 2, 3}),
    ("tail_parts", "always 0.99", lambda p, q=0.99: slow_ones(p), {1, 2, 3}),
]


@pytest.mark.parametrize(("name", "slip", "function", "wanted"), SLIPS, ids=lambda x: x if isinstance(x, str) else None)
def test_a_slip_fails_its_own_behaviours(lab, name, slip, function, wanted):
    for seed in SEEDS:
        wrong = failing(lab, name, function, seed)
        assert wanted <= wrong and (wanted or not wrong), (seed, wrong)


def test_what_stands_above_the_bet_does_not_tell_it(course, tmp_path):
    path = student_copy(course.find(NAME), tmp_path / "copy")
    cells = ["".join(c["source"]) for c in json.loads(path.read_text())["cells"]]
    at = next(i for i, text in enumerate(cells) if 'reveal("busy"' in text)
    assert 'locked("busy")' in "".join(cells[:at]) and not re.search(r"quantile|\b46", "".join(cells[:at]))
