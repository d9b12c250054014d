"""Lab V1-10: keys agree with formulas written out and with NumPy alone, slips are told apart, and zeros speed up nothing."""

import numpy as np
import pytest
from pytest import approx

from mlsysbook.labs.tracks import TRACKS
from mlsysim import compress, units
from tests.labs.lab import failing, reference

NAME = "labs/v1_10_compression"
BESIDE = {"cloud": ("llama-3.1-8b", "h100", "fp16", {"tokens": 1, "context": 1024}), "edge": ("resnet-50", "jetson-orin-nano", "fp16", {}),
          "mobile": ("qwen2.5-0.5b", "iphone-15-pro", "fp16", {"tokens": 1, "context": 256}), "tiny": ("mobilenet-v1-0.25", "max78000", "int8", {})}


@pytest.fixture(scope="module")
def lab():
    return reference(NAME)


@pytest.fixture(scope="module")
def names(lab):
    """What the lab defines: its data and trained networks."""
    return lab.keys["right"].__globals__


def of(lab, track):
    return [v for v in lab.pool if v["track"] == track]


def cut(w, share):
    out = w.copy().ravel()
    for i in sorted(range(out.size), key=lambda i: (abs(out[i]), i))[:int(share * out.size + 1e-9)]:
        out[i] = 0
    return out.reshape(w.shape)


def whole(w, bits):
    most = 2 ** (bits - 1) - 1
    rows = [(max(map(abs, row)) or most) for row in w.tolist()]
    scale = np.array([largest / most for largest in rows], np.float32)
    return np.clip(np.rint(w / scale[:, None]), -most, most).astype(np.int8), scale


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        places, zeros = v["rows"] * v["columns"], units.parse(v["zeros"])[0]
        assert lab.key("stored", v).value == places * (1 - zeros) * v["kept_bits"] / 8 + places / 8 + 4 * v["rows"]
    for track, (net, device, precision, shape) in BESIDE.items():
        for v in of(lab, track)[::5]:
            made = compress(net, device, precision=precision, prune=units.parse(v["channels"])[0], pattern="structured", **shape)
            assert lab.key("faster", v).value == approx(float(made.speedup))


def test_accuracy_and_bytes_are_those_of_numpy_alone(lab, names):
    """Integers multiplied in float64, which is exact, and bytes counted number by number."""
    x, y = names["NEW"], names["NEW_LABELS"]
    for track in TRACKS:
        place = names["PLACES"][track]
        layers = names["trained"](place["hidden"], place["epochs"])
        v = of(lab, track)[0]
        z, total, bits, share = x, 0, v["bits"], units.parse(v["share"])[0]
        for i, (w, b) in enumerate(layers):
            codes, scale = whole(cut(w, share), bits)
            step = np.float32(np.abs(z).max() / 127)
            z = (np.rint(z / step).astype(np.int8).astype(float) @ codes.T.astype(float)).astype(np.float32) * (scale * step) + b
            z = np.maximum(z, 0) if i == 0 else z
            kept = int(np.count_nonzero(codes))
            total += min(-(-codes.size * bits // 8), -(-kept * bits // 8) + -(-codes.size // 8)) + 4 * len(scale) + 4 * len(b)
        assert lab.key("right", v).value == approx((z.argmax(axis=1) == y).mean(), abs=1.5 / len(y))
        assert names["size"](names["sparse"](layers, share), bits) == total


def test_the_traps_are_there_on_every_track(lab):
    """Ninety per cent of scattered zeros speed up nothing anywhere; four bits help a decoder and not a chip that computes."""
    removable = {}
    for track in TRACKS:
        v = of(lab, track)[0]
        assert lab.key("scattered", v).value == approx(1.0, abs=1e-9)
        removable[track] = lab.key("removable", v).value
    assert removable["cloud"] > removable["mobile"] >= removable["tiny"] >= 0.35, "a wide network has weights to spare"
    four = {t: lab.key("narrow", of(lab, t)[0]).value for t in TRACKS}
    assert four["mobile"] > 2.5 and four["cloud"] > 1.7 and four["edge"] < 1.4 and four["tiny"] == approx(1.0, abs=0.02)


def test_each_track_has_plans_that_different_limits_bind_by_a_clear_margin(lab, names):
    for track in TRACKS:
        bound = set()
        for plan in {str(v["plan"]): v["plan"] for v in of(lab, track)}.values():
            why = names["pass_of"](plan).why()
            first, second = sorted(map(abs, why.elasticities.values()))[:-3:-1]
            assert first > 1.5 * second, (track, plan, why.elasticities)
            bound.add(names["limit_of"](plan))
        assert len(bound) >= 2 and bound <= {"compute", "memory bandwidth", "launch"}, (track, bound)


def test_training_does_not_hang_on_the_kernels(names):
    """The weights of TinyTorch's kernels and of NumPy are the same, so that a typed accuracy is right on any machine."""
    from tinytorch.backend import backend

    with backend("reference"):
        slow = names["trained"].__wrapped__(32, 2)
    for (w, b), (u, c) in zip(names["trained"].__wrapped__(32, 2), slow, strict=True):
        assert np.allclose(w, u, atol=1e-6) and np.allclose(b, c, atol=1e-6) and w.dtype == np.float32


def both(function):
    def call(weight, share):
        before = weight.copy()
        return function(weight, share), bool(np.array_equal(before, weight))
    return call


def in_place(weight, share):
    weight[...] = cut(weight, share)
    return weight


def by_rows(w, share):
    return np.stack([cut(row, share) for row in w])


def last_first(w, share):
    return cut(w.ravel()[::-1], share)[::-1].reshape(w.shape)


def pareto(sizes, accuracies, beats=lambda s, a, t, b: s <= t and a >= b and (s < t or a > b), first=True):
    n = range(len(sizes))
    kept = [i for i in n if not any(beats(sizes[j], accuracies[j], sizes[i], accuracies[i]) for j in n)]
    if first:
        kept = [i for k, i in enumerate(kept) if all((sizes[i], accuracies[i]) != (sizes[j], accuracies[j]) for j in kept[:k])]
    return np.array(sorted(kept, key=lambda i: sizes[i]), np.int64)


def one_scale(w, bits):
    most = 2 ** (bits - 1) - 1
    scale = np.float32(np.abs(w).max() / most)
    return np.rint(w / scale).astype(np.int8), np.full(len(w), scale, np.float32)


SLIPS = [
    ("prune", "none", both(cut), set()),
    ("prune", "in place", both(in_place), {0, 1, 2}),
    ("prune", "row by row", both(by_rows), {0, 1}),
    ("prune", "the most negative", both(lambda w, s: np.where(w < np.quantile(w, s), 0, w).astype(np.float32)), {0, 1}),
    ("prune", "the largest", both(lambda w, s: cut(w, s) * 0 + np.where(cut(w, 1 - s) == 0, w, 0)), {0, 1}),
    ("prune", "a threshold", both(lambda w, s: np.where(np.abs(w) <= np.quantile(np.abs(w), s), 0, w).astype(np.float32)), {2}),
    ("prune", "the last of equals", both(last_first), {2}),
    ("quantise", "none", whole, set()),
    ("quantise", "one scale", one_scale, {0, 1, 2}),
    ("quantise", "one integer more", lambda w, b: whole(w, b + 1) if b < 8 else whole(w, b), {0, 1, 2}),
    ("quantise", "truncated", lambda w, b: (np.trunc(w / whole(w, b)[1][:, None]).astype(np.int8), whole(w, b)[1]), {0, 1, 2}),
    ("quantise", "no row of zeros", lambda w, b: (whole(w, b)[0], (np.abs(w).max(1) / (2 ** (b - 1) - 1)).astype(np.float32)), {3}),
    ("frontier", "none", pareto, set()),
    ("frontier", "both of equals", lambda s, a: pareto(s, a, first=False), {1}),
    ("frontier", "beaten only in both", lambda s, a: pareto(s, a, beats=lambda s, a, t, b: s < t and a > b), {1}),
    ("frontier", "as they came", lambda s, a: np.sort(pareto(s, a)), {0}),
    ("frontier", "the most accurate", lambda s, a: np.array([int(np.argmax(a))]), {0}),
    ("frontier", "all, by size", lambda s, a: np.argsort(s, kind="stable"), {0, 1, 2}),
]


@pytest.mark.parametrize(("name", "slip", "function", "wanted"), SLIPS, ids=lambda x: x if isinstance(x, str) else None)
def test_a_slip_fails_its_own_behaviours(lab, name, slip, function, wanted):
    for seed in range(4):
        wrong = failing(lab, name, function, seed)
        assert wanted <= wrong and (wanted or not wrong), (seed, wrong)
