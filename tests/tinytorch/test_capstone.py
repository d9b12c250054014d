"""The capstone: budgets kept on tasks that cannot be remembered, and what a report may say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import datasets
from tinytorch.capstone import BUDGETS, build, claim, missed, pareto, quantised, report, run, trained, weight_of


def task(seed):
    rng = np.random.default_rng(seed)
    (a, b), (c, d) = datasets.digits()
    x, y = np.concatenate([a, c]).reshape(-1, 64)[:, rng.permutation(64)], rng.permutation(10)[np.concatenate([b, d])]
    order = rng.permutation(len(y))
    return (x[order[:1000]], y[order[:1000]]), (x[order[1000:]], y[order[1000:]])


@pytest.mark.parametrize("track", BUDGETS)
@pytest.mark.parametrize("seed", [3, 4])
def test_a_network_keeps_its_budget_on_digits_it_has_not_seen(track, seed):
    known, (x, y) = task(seed)
    network = build(*known, BUDGETS[track], seed)
    found = {**weight_of(network), "accuracy": float((run(network, x).argmax(1) == y).mean())}
    assert missed(found, BUDGETS[track]) == []
    assert all(layer["weight"].dtype == np.int8 for layer in network["layers"])


def test_on_the_tiny_track_no_hidden_layer_is_better_than_the_widest():
    known, (x, y) = task(5)
    scores = {}
    for widths in ((64, 10), (64, (BUDGETS["tiny"]["bytes"] - 80) // 82, 10)):
        network = quantised(trained(*known, widths, 5))
        assert weight_of(network)["bytes"] <= BUDGETS["tiny"]["bytes"]
        scores[widths] = (run(network, x).argmax(1) == y).mean()
    assert scores[64, 10] > scores[64, 7, 10]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_what_is_left_dominates_what_is_not(points):
    front = pareto(points)
    for i, p in enumerate(points):
        beaten = any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points)
        assert (i in front) == (not beaten)


@pytest.mark.parametrize("ratio, low, high, text", [
    (1.8, 1.7, 1.9, "1.80 times faster (1.70 to 1.90)"), (0.8, 0.7, 0.9, "1.25 times slower (1.11 to 1.43)"),
    (1.2, 0.9, 1.5, "no difference shown (0.90 to 1.50)"),
])
def test_claims(ratio, low, high, text):
    assert claim(ratio, low, high) == text


def test_a_report_names_what_is_missed():
    found, budget = {"bytes": 1200, "flop": 2600, "accuracy": 0.94}, {"bytes": 1000, "flop": 2600, "accuracy": 0.97}
    assert report("Team", [["tiny", found, budget]]).splitlines() == [
        "# Team", "", "| track | bytes | FLOP | accuracy | missed |", "|---|---|---|---|---|",
        "| tiny | 1,200 (120 %) | 2,600 (100 %) | 94.0 % | bytes x 1.20, accuracy x 2.00 |"]
    assert missed({**found, "accuracy": 0.5}, {**budget, "bytes": 9999, "accuracy": 1.0}) == [["accuracy", float("inf")]]
