"""Failures and checkpoints: textbook values, exact identities, and closed forms against runs drawn failure by failure."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from mlsysim import cluster, storage_tier
from mlsysim.errors import Infeasible, RangeError, UnitError, UnknownName
from mlsysim.reliability import (
    RATES,
    checkpoint_bytes,
    checkpointing,
    daly,
    failures,
    first_order_waste,
    job_goodput,
    optimal,
    poisson,
    poisson_mean,
    slowest,
    tiered,
    young,
)
from mlsysim.simulate.failures import simulate_failures

H100 = cluster("dgx-h100", gpus=16384)
DAYS = 86400.0
writes, times = st.floats(0.1, 300), st.floats(2000, 1e6)


def test_components_in_series_add_their_rates():
    f = failures(H100, rates={"device": ("device", "50000 h"), "host": ("node", 20000 * 3600.0), "job": ("job", "30 days")})
    assert f.rate * 3600 == approx(16384 / 50000 + 2048 / 20000 + 1 / 720) and f.seconds == approx(1 / f.rate)
    assert sum(f.share.values()) == approx(1) and f.tree.value == approx(f.rate)
    assert f.why().binding == "reliability of device" and f.why().elasticities["reliability of host"] == approx(-f.share["host"], rel=1e-3)
    assert failures(cluster("dgx-h100", gpus=8192), rates={"d": ("device", 1e9)}).seconds == approx(1e9 / 8192)


def test_the_measured_rates_give_back_the_count_they_were_measured_from():
    f = failures(H100)
    assert f.expected("54 days") == approx(419) and f.seconds / 3600 == approx(3.09, rel=1e-2)
    assert poisson_mean(419) == approx((379.8, 461.1), abs=0.1)
    low, high = f.interval(54 * DAYS)
    assert low in range(378, 381) and high in range(459, 462)
    assert all(figure.uncertainty and "table 5" in figure.source for _, figure in RATES.values())


@given(st.floats(0, 300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_an_interval_of_a_count_holds_what_it_says(mean, level):
    low, high = poisson(mean, level)
    p = [math.exp(k * math.log(max(mean, 1e-300)) - mean - math.lgamma(k + 1)) for k in range(int(mean + 20 * math.sqrt(mean) + 60))]
    assert sum(p[low : high + 1]) >= level - 1e-9
    assert sum(p[low + 1 :]) < 1 - (1 - level) / 2 + 1e-9 or low == 0, "no narrower from below"


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 400))
def test_the_mean_that_a_count_supports_inverts_the_distribution(count):
    low, high = poisson_mean(count)
    assert low <= count <= high
    assert poisson(high, 0.95)[0] <= count + 1 and (count == 0 or poisson(low, 0.95)[1] >= count - 1)
    assert count != 0 or high == approx(-math.log(0.025), rel=1e-6)


def test_young_by_hand():
    tau = young(60, 11124)
    assert tau == approx(1155, abs=0.5) and first_order_waste(tau, 60, 11124) == approx(0.1039, abs=5e-5)
    assert first_order_waste(tau, 60, 11124) == approx(math.sqrt(2 * 60 / 11124))
    assert young("1 min", "3.09 h") == approx(tau, rel=1e-3)


@given(writes, times)
def test_the_optimal_interval_is_the_root_and_nothing_near_it_wastes_less(write, mtbf):
    t = optimal(write, mtbf)
    assert (1 - t / mtbf) * math.exp((t + write) / mtbf) == approx(1, abs=1e-9)
    best = checkpointing(mtbf, write, interval=t).goodput
    for factor in (0.5, 0.97, 1.03, 2):
        assert checkpointing(mtbf, write, interval=t * factor).goodput <= best + 1e-12
    assert daly(write, mtbf) == approx(t, rel=2e-3), "to higher order"
    assert young(write, mtbf) >= t


@given(writes, times, st.floats(0, 1000))
def test_shares_of_the_time_add_up_and_the_tree_is_the_goodput(write, mtbf, restart):
    c = checkpointing(mtbf, write, restart=restart)
    assert c.goodput + c.writing + c.lost + c.restarting == approx(1)
    assert min(c.goodput, c.writing, c.lost + 1e-12, c.restarting) >= 0
    assert sum(p.value for p in c.tree.parts) == approx(c.goodput) and c.waste == approx(1 - c.goodput)


@given(writes, times, st.floats(1, 1000), st.floats(1.01, 3))
def test_rarer_failures_faster_writes_and_faster_restarts_never_hurt(write, mtbf, restart, better):
    def goodput(m=mtbf, c=write, r=restart):
        return checkpointing(m, c, restart=r, interval="optimal").goodput

    assert goodput() <= min(goodput(m=mtbf * better), goodput(c=write / better), goodput(r=restart / better)) + 1e-12


def test_first_order_and_exact_agree_where_failures_are_rare():
    mtbf = np.array([1e4, 1e5, 1e6, 1e7])
    gap = first_order_waste(young(10, mtbf), 10, mtbf, restart=20) - checkpointing(mtbf, 10, restart=20, interval="young").waste
    assert (np.abs(gap) < 40 / mtbf).all()


@pytest.mark.parametrize("restart", [0.0, 600.0])
@pytest.mark.parametrize("interval", [400.0, 1155.0, 4000.0])
def test_runs_drawn_failure_by_failure_have_the_goodput_of_the_closed_form(interval, restart):
    closed = checkpointing(11124, 60, restart=restart, interval=interval)
    run = simulate_failures(30 * DAYS, 11124, 60, interval=interval, restart=restart, runs=400)
    assert run.goodput == approx(closed.goodput, abs=0.003)
    for name in ("writing", "lost", "restarting"):
        assert run.spent[name].mean() / run.seconds == approx(getattr(closed, name), abs=0.003), name
    assert run.failures == approx(run.seconds / 11124, rel=0.02)


def test_the_waste_of_drawn_runs_is_least_at_youngs_interval():
    tau = young(60, 11124)
    wasted = [1 - simulate_failures(60 * DAYS, 11124, 60, interval=tau * f, runs=500, seed=4).goodput for f in (0.4, 0.7, 1.0, 1.5, 2.5)]
    assert wasted.index(min(wasted)) == 2 and wasted[2] == approx(0.1039, abs=0.01)


@given(st.integers(0, 1000), st.floats(0.5, 1.5), st.floats(0, 1), st.integers(1, 6), st.floats(0, 400))
@settings(deadline=None, max_examples=30)
def test_every_second_of_a_run_is_accounted_for(seed, shape, local, every, background):
    local = local if local > 0.01 else 0.0
    run = simulate_failures(5 * DAYS, 9000, 60, interval=500, restart=300, background=background, shape=shape, local=local,
                            every=every if local else 1, local_write=3 if local else 0, local_restart=20, runs=20, seed=seed)  # fmt: skip
    assert sum(run.spent.values()) == approx(run.elapsed) and all((x >= -1e-6).all() for x in run.spent.values())
    assert run.spent["work"] == approx(np.full(20, 5 * DAYS)) and (run.elapsed > 5 * DAYS).all()


def test_without_failures_only_writes_are_added():
    run = simulate_failures(10_000, 1e12, 7, interval=1000, runs=3)
    assert run.elapsed == approx(np.full(3, 10_000 + 9 * 7)) and run.failures == 0


def test_a_checkpoint_in_the_background_stops_work_less_and_loses_more():
    run = simulate_failures(30 * DAYS, 11124, 5, interval=600, restart=300, background=300, runs=400)
    closed = checkpointing(11124, 5, interval=600, restart=300, background=300)
    assert run.goodput == approx(closed.goodput, abs=0.003)
    assert closed.lost > checkpointing(11124, 5, interval=600, restart=300).lost
    assert closed.goodput > checkpointing(11124, 300, restart=300).goodput


def test_two_levels_waste_less_than_one_and_as_much_as_drawn_runs():
    levels = [(5, 60, 0.8), (120, 600, 0.2)]
    (near, far), waste = tiered(11124, levels)
    assert (near, far) == (approx(young(5, 11124 / 0.8)), approx(young(120, 11124 / 0.2)))
    one = tiered(11124, [(120, 600, 1.0)])
    assert one[0] == [approx(young(120, 11124))] and one[1] == approx(first_order_waste(one[0][0], 120, 11124, restart=600))
    run = simulate_failures(30 * DAYS, 11124, 120, interval=near, restart=600, local=0.8, local_write=5, local_restart=60,
                            every=round(far / near), runs=300)  # fmt: skip
    assert 1 - run.goodput == approx(waste, abs=0.01) and waste < one[1]


def test_clustered_failures_spread_the_runs():
    even, clustered = (simulate_failures(10 * DAYS, 11124, 60, interval=1155, shape=s, runs=400) for s in (1.0, 0.5))
    width = [np.ptp(r.percentile(5, 95)) for r in (even, clustered)]
    assert width[1] > 1.3 * width[0]
    assert even.percentile(50)[0] == approx(even.goodput, abs=0.01)


def test_a_checkpoint_by_hand_and_a_job_of_its_parts():
    assert checkpoint_bytes(405e9) == 405e9 * 14
    tier = storage_tier("nvme-gen4")
    job = job_goodput(H100, 405e9)
    assert job.seconds == approx(405e9 * 14 / (2048 * tier.write.value), rel=1e-3) and job.mtbf == approx(failures(H100).seconds)
    assert job.goodput > 0.9, "what was reported of that run"
    slow = job_goodput(H100, 405e9, writers=16)
    beside = job_goodput(H100, 405e9, writers=16, copy="20 GB/s")
    assert slow.goodput < beside.goodput < job.goodput and beside.interval >= slow.seconds


def test_arrays_are_points():
    mtbf = np.array([5e3, 1e4, 1e5])
    many = checkpointing(mtbf, 60, restart=100)
    for i, m in enumerate(mtbf):
        assert many[i].goodput == checkpointing(m, 60, restart=100).goodput and many[i].why().binding


@given(st.integers(1, 3000), st.floats(0, 0.5), st.sampled_from(["normal", "exponential"]))
def test_the_slowest_of_more_is_never_faster(n, variation, distribution):
    one, more = slowest(np.array([n, n + 1]), variation, distribution=distribution)
    assert 1 - 1e-6 <= one <= more + 1e-12


def test_the_slowest_by_hand_and_by_drawing():
    assert slowest([1, 2, 3], 1.0, distribution="exponential") == approx([1, 1.5, 1 + 1 / 2 + 1 / 3], rel=1e-8)
    assert slowest([1, 2, 3], 1.0) == approx([1, 1 + 1 / math.sqrt(math.pi), 1 + 1.5 / math.sqrt(math.pi)], rel=1e-6)
    drawn = np.random.default_rng(0).normal(1, 0.1, (4000, 256)).max(axis=1).mean()
    assert slowest(256, 0.1) == approx(drawn, rel=2e-3)


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: failures(H100, rates={"gpu": ("rack", 1e6)}), UnknownName, "place of gpu 'rack'"),
        (lambda: failures(H100, rates={"gpu": ("device", -1)}), RangeError, r"rates\['gpu'\]: got -1"),
        (lambda: failures(H100, rates={}), RangeError, "rates"),
        (lambda: poisson(5, 1.5), RangeError, "level: got 1.5"),
        (lambda: poisson_mean(1.5), RangeError, "count: got 1.5"),
        (lambda: young(60, 0), RangeError, "mtbf: got 0"),
        (lambda: young("60 B", 1e4), UnitError, "write"),
        (lambda: checkpointing(1e4, 60, interval="dayly"), UnknownName, "did you mean 'daly'"),
        (lambda: checkpointing(1e4, 60, interval=-5), RangeError, "interval: got -5"),
        (lambda: checkpointing(1e4, 5, interval=10, background=60), RangeError, "background: got 60"),
        (lambda: tiered(1e4, [(5, 5, 0.5)]), RangeError, "shares of failures are 0.5"),
        (lambda: slowest(8, 1.5, distribution="exponential"), RangeError, "variation: got 1.5"),
        (lambda: slowest(8, 0.5, distribution="gauss"), UnknownName, "distribution"),
        (lambda: simulate_failures(1e6, 100, 600, interval=1000), Infeasible, "almost none ends"),
        (lambda: simulate_failures(1e6, 1e4, 60, interval=1000, local=2), RangeError, "local: got 2"),
        (lambda: simulate_failures(1e6, math.nan, 60, interval=1000), RangeError, "mtbf: got nan"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
