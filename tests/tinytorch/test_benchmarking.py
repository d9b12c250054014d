"""Benchmarking: intervals that hold what they promise, comparisons on made-up clocks, queues against theory."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.benchmarking import (
    bootstrap,
    compare,
    energy,
    highest_rate,
    measure,
    median_interval,
    offline,
    percentile,
    queued,
    server,
    sign_flip_p,
    single_stream,
    turns,
    warm_from,
)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(0, 100))
def test_a_percentile_is_what_a_promise_means(values, percent):
    x = percentile(values, percent / 100)
    assert x in values and 100 * sum(v <= x for v in values) >= percent * len(values)
    assert percent == 0 or all(100 * sum(v <= y for v in values) < percent * len(values) for y in values if y < x)


@pytest.mark.parametrize("n", [6, 15, 40])
def test_the_interval_of_a_median_covers_it_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    hits = [low <= math.log(2) <= high for low, high in (median_interval(row) for row in rng.exponential(size=(4000, n)))]
    exact = 1 - 2 * sum(math.comb(n, i) for i in range(position(n))) / 2**n
    assert exact >= 0.95 and np.mean(hits) == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))


def position(n, level=0.95):
    """The largest j that misses rarely enough, in whole numbers."""
    j = 0
    missed = 2
    while missed <= (1 - Fraction(str(level))) * 2**n and j + 1 <= n // 2:
        j += 1
        missed += 2 * math.comb(n, j)
    return j


@pytest.mark.parametrize("n", [6, 7, 10, 33, 200, 1500])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_positions_are_those_of_whole_numbers(n, level):
    j = position(n, level)
    if j:
        assert median_interval(np.arange(n), level) == (j - 1, n - j)
    else:
        with pytest.raises(ValueError, match=f"{n} values are too few"):
            median_interval(np.arange(n), level)


def test_a_bootstrap_interval_of_a_mean_is_about_that_of_theory(rng):
    values = rng.normal(size=400)
    low, high = bootstrap(values, np.mean, rng, resamples=4000)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_p_values_of_nothing_are_uniform(rng):
    ps = [sign_flip_p(rng.normal(size=12), rng, 400) for _ in range(400)]
    assert np.mean(np.array(ps) <= 0.05) == pytest.approx(0.05, abs=0.035) and np.mean(ps) == pytest.approx(0.5, abs=0.06)
    assert sign_flip_p(rng.normal(1, 0.2, 20), rng, 999) == 1 / 1000


class Clock:
    """Time that a program moves by what it costs, and a machine that gets slower."""

    def __init__(self, drift=0.0, noise=0.0):
        self.now, self.calls, self.drift, self.noise, self.rng = 0.0, 0, drift, noise, np.random.default_rng(0)

    def __call__(self):
        return self.now

    def program(self, cost):
        def run():
            self.now += cost * (1 + self.drift * self.calls) * (1 + self.rng.exponential(self.noise) if self.noise else 1)
            self.calls += 1
        return run


@pytest.mark.parametrize("drift", [0.0, 0.01])
@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.25])
def test_a_comparison_sees_through_drift(drift, ratio):
    clock = Clock(drift, noise=0.02)
    found = compare(clock.program(ratio), clock.program(1.0), clock=clock)
    assert found.low <= ratio <= found.high and found.ratio == pytest.approx(ratio, rel=0.02)
    assert (found.p < 0.01) == (ratio != 1.0)
    assert ("no difference shown" in str(found)) == (ratio == 1.0)


@pytest.mark.parametrize("at", [7, 30])
def test_one_call_that_was_interrupted_for_a_second_hides_no_difference(at):
    clock = Clock(noise=0.02)

    def interrupted():
        clock.now += 500 if clock.calls == at else 0
        clock.program(1.0)()

    found = compare(clock.program(1.1), interrupted, clock=clock)
    assert found.low > 1.05 and found.p < 0.01


def test_turns_cancel_a_drift():
    order = turns(10)
    sides = {which: [k for k, c in enumerate(order) if c == which] for which in "AB"}
    assert sum(sides["A"]) == sum(sides["B"]) and len(order) == 20


def test_a_measurement_drops_its_warm_up():
    clock = Clock()
    cold = iter([5.0, 4.0, 3.0, 2.0] + [1.0] * 10_000)

    def f():
        clock.now += next(cold)

    sample = measure(f, seconds=60, clock=clock)
    assert sample.median == sample.low == sample.high == 1.0 and 0 <= sample.dropped <= 4
    assert "95 %" in str(sample)


def test_latency_of_a_queue_is_that_of_theory(rng):
    """M/D/1 at 70 %: the mean wait is rho / (2 (1 - rho)) services (Pollaczek and Khinchine)."""
    n = 60_000
    waits = queued(np.cumsum(rng.exponential(1 / 0.7, n)), np.ones(n)) - 1
    assert waits.mean() == pytest.approx(0.7 / 0.6, rel=0.08)


def test_the_highest_rate_keeps_its_promise_and_a_little_more_does_not(rng):
    gaps, services = rng.exponential(size=2000), rng.gamma(4, 0.0025, 2000)
    rate = highest_rate(gaps, services, 0.05)

    def tail(rate):
        return percentile(queued(np.cumsum(gaps) / rate, services), 0.99)

    assert 0 < rate < 100 and tail(rate) <= 0.05 < tail(1.01 * rate)
    assert highest_rate(gaps, services, services.min() / 2) == 0


def test_scenarios_run_on_anything_that_can_be_called():
    def f():
        sum(range(200))

    assert 0 < single_stream(f, 60) < 1 and offline(f, 8, 0.01) > 0
    assert 0 < server(f, 1.0, 60) and server(f, 0.0, 60) == 0


def test_energy_is_an_estimate_between_its_bounds():
    e = energy(0.5, 10, 70, 0.5)
    assert e == {"joules": 20.0, "low": 5.0, "high": 35.0, "kind": "estimate"}


@pytest.mark.parametrize("call, message", [
    (lambda: percentile([], 0.5), "a share from 0 to 1, got 0 values and 0.5"),
    (lambda: percentile([1.0], 2), "got 1 values and 2"),
    (lambda: warm_from(np.ones(7), 4), "7 times are fewer than two windows of 4; measure longer"),
    (lambda: median_interval([1.0, 2.0]), "2 values are too few for an interval of the median at 95%"),
    (lambda: queued(np.array([1.0, 0.0]), np.ones(2)), "arrivals are not in order of time"),
    (lambda: energy(1, 20, 10, 0.5), "busy power at least idle power, got 0.5, 10 and 20 W"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
