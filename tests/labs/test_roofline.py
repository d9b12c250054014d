"""Lab V1-11: keys agree with formulas written out, slips are told apart, and what is measured moves no grade."""

import numpy as np
import pytest
from pytest import approx

from mlsysbook.labs.tracks import TRACKS
from mlsysim import device
from tests.labs.lab import MLSYS, failing, reference, run_plain

BYTES = {"int8": 1, "fp16": 2}
PLACES = {"cloud": ("h100", "fp16", 4096), "edge": ("jetson-orin-nano", "fp16", 1024), "mobile": ("iphone-15-pro", "fp16", 2048),
          "tiny": ("ethos-u55-256", "int8", 256)}


@pytest.fixture(scope="module")
def lab():
    return reference("labs/v1_11_roofline")


def limits(name, precision):
    return device(name).peak[precision].value, device(name).bandwidth.value


def block(rows, k, n, passes, width, peak, bandwidth, fused=False):
    product = np.maximum(2.0 * rows * k * n / peak, width * (1.0 * rows * k + 1.0 * k * n + 1.0 * rows * n) / bandwidth)
    return product + (0 if fused else passes * 2.0 * width * rows * n / bandwidth)


def least_rows(k, n, width, ridge):
    """By counting: the intensity of each number of rows."""
    rows = np.arange(1, 200_000)
    enough = 2.0 * rows * k * n / (width * (1.0 * rows * k + 1.0 * k * n + 1.0 * rows * n)) >= ridge
    return int(rows[enough][0]) if enough.any() else 0


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        peak, bandwidth = limits(v["device"], v["precision"])
        shape = v["rows"], v["k"], v["n"]
        width = BYTES[v["precision"]]
        whole, bare = block(*shape, v["passes"], width, peak, bandwidth), block(*shape, 0, width, peak, bandwidth)
        assert lab.key("enough", v).value == least_rows(v["k"], v["n"], width, peak / bandwidth) > 0
        assert lab.key("rate", v).value == approx(2.0 * v["rows"] * v["k"] * v["n"] / bare)
        assert lab.key("passing", v).value == approx(1 - bare / whole)
        after = {"arithmetic": block(*shape, v["passes"], width, 2 * peak, bandwidth),
                 "memory bandwidth": block(*shape, v["passes"], width, peak, 2 * bandwidth),
                 "passes": block(*shape, 1, width, peak, bandwidth)}
        assert lab.ruling("buy", v).binding == min(after, key=after.get)


@pytest.mark.parametrize("track", TRACKS)
def test_a_few_thousandths_of_the_arithmetic_take_a_third_of_the_time_or_more(lab, track):
    name, precision, side = PLACES[track]
    peak, bandwidth = limits(name, precision)
    width = BYTES[precision]
    share = 1 - block(side, side, side, 0, width, peak, bandwidth) / block(side, side, side, 4, width, peak, bandwidth)
    assert lab.key("share", {"track": track}).value == approx(share) and share > 0.35
    assert 11 / (2 * side) < 0.022
    assert lab.key("rows", {"track": track}).value == least_rows(side, side, width, peak / bandwidth)


def test_the_box_measures_nothing_and_the_panel_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSYS_MEASURE", "0")
    out = run_plain(MLSYS.find("labs/v1_11_roofline"), tmp_path / "work", "ada", "edge")
    assert "product: not measured here" in out and "jetson-orin-nano allows" in out and "FLOP/s; not measured here." in out


def capped(f, t, p, b):
    return np.minimum(p, np.asarray(f) / t * b)


SLIPS = [
    ("attainable", "none", lambda f, t, p, b: np.asarray(f) / np.maximum(np.asarray(f) / p, np.asarray(t) / b), set()),
    ("attainable", "the higher roof", lambda f, t, p, b: np.maximum(p, np.asarray(f) / t * b), {0, 1}),
    ("attainable", "the peak", lambda f, t, p, b: p + 0 * np.asarray(f) / t, {0, 1}),
    ("attainable", "the slope", lambda f, t, p, b: np.asarray(f) / t * b, {0, 1}),
    ("attainable", "scalars only", lambda f, t, p, b: float(capped(f, t, p, b)), {1}),
    ("attainable", "a share of the peak", lambda f, t, p, b: capped(f, t, p, b) / p, {0, 1}),
    ("rows_to_ridge", "none", least_rows, set()),
    ("rows_to_ridge", "the weights alone", lambda k, n, w, r: int(np.ceil(r * w / 2)), {0, 1, 2, 3}),
    ("rows_to_ridge", "the row before", lambda k, n, w, r: max(least_rows(k, n, w, r) - 1, 0), {0, 1, 2}),
    ("rows_to_ridge", "always two bytes", lambda k, n, w, r: least_rows(k, n, 2, r), {2}),
    ("rows_to_ridge", "multiply-adds", lambda k, n, w, r: least_rows(k, n, w, 2 * r), {0, 1, 2}),
    ("rows_to_ridge", "square", lambda k, n, w, r: least_rows(k, k, w, r), {1}),
    ("rows_to_ridge", "no batch is too many", lambda k, n, w, r: least_rows(k, n, w, r) or 10**9, {3}),
    ("block_seconds", "none", block, set()),
    ("block_seconds", "arithmetic alone", lambda r, k, n, p, w, f, b, fused=False: 2.0 * r * k * n / f + (not fused) * p * 2.0 * w * r * n / b, {1, 3}),
    ("block_seconds", "a pass reads only", lambda r, k, n, p, w, f, b, fused=False: block(r, k, n, p / 2, w, f, b, fused), {0, 1, 3}),
    ("block_seconds", "a pass over what comes in", lambda r, k, n, p, w, f, b, fused=False: block(r, k, n, p * k / n, w, f, b, fused), {0, 1, 3}),
    ("block_seconds", "fused is one pass", lambda r, k, n, p, w, f, b, fused=False: block(r, k, n, 1 if fused else p, w, f, b), {2}),
    ("block_seconds", "passes are free", lambda *a, fused=False: block(*a, fused=True), {0, 1, 3}),
]


@pytest.mark.parametrize(("name", "slip", "function", "wanted"), SLIPS, ids=lambda x: x if isinstance(x, str) else None)
def test_a_slip_fails_its_own_behaviours(lab, name, slip, function, wanted):
    for seed in range(5):
        wrong = failing(lab, name, function, seed)
        assert wanted <= wrong and (wanted or not wrong), (seed, wrong)
