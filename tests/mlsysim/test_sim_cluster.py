"""Gang scheduling: conservation, order, an independent replay of FIFO, and limits that queueing theory knows."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from mlsysim import cluster
from mlsysim.errors import Infeasible, RangeError, SimError, UnknownName
from mlsysim.queueing import mmc
from mlsysim.simulate.cluster import POLICIES, Jobs, jain, jobs, read_trace, simulate_cluster

loads = st.builds(
    lambda count, rate, seed, estimate: jobs(count, rate, gpus=(1, 2, 4, 8), seconds=100.0, estimate=estimate, seed=seed),
    st.integers(1, 60), st.floats(0.002, 0.2), st.integers(0, 10**6), st.floats(1, 5),
)  # fmt: skip


def given_jobs(*rows, users=None):
    arrival, gpus, seconds = (np.array(x, float) for x in zip(*rows, strict=True))
    return Jobs(arrival, gpus, seconds, seconds.copy(), np.zeros(len(rows), int) if users is None else np.array(users))


def single(count, rate, seed=1):
    rng = np.random.default_rng(seed)
    run = rng.exponential(1.0, count)
    return Jobs(np.cumsum(rng.exponential(1 / rate, count)), np.ones(count), run, run, np.zeros(count))


@settings(deadline=None)
@given(loads, st.sampled_from(POLICIES), st.floats(0, 50))
def test_device_seconds_in_are_those_out_and_never_more_devices_than_there_are(load, policy, overhead):
    run = simulate_cluster(load, 8, policy=policy, overhead=overhead)
    length = run.end - run.start
    worked = np.bincount(run.job, length, minlength=len(load))
    stretches = np.bincount(run.job, minlength=len(load))
    assert (worked >= load.seconds - 1e-6).all() and (worked <= load.seconds + overhead * (stretches - 1) + 1e-6).all()
    assert run.utilization * run.span * 8 == approx((worked * load.gpus).sum()) and run.preemptions == (stretches - 1).sum()
    assert (run.start >= load.arrival[run.job] - 1e-9).all()
    events = sorted(
        [(t, g) for t, g in zip(run.end, -load.gpus[run.job], strict=True)] + list(zip(run.start, load.gpus[run.job], strict=True))
    )
    assert (np.cumsum([g for _, g in events]) <= 8).all()
    assert run.wait == approx(np.array([run.end[run.job == i].max() for i in range(len(load))]) - load.arrival - load.seconds, abs=1e-6)
    assert run.tree.value == approx(run.seconds) and 0 < run.fairness <= 1 + 1e-12


@settings(deadline=None)
@given(loads)
def test_fifo_is_a_replay_with_nothing_but_a_heap(load):
    run = simulate_cluster(load, 8)
    ends, free, now = [], 8, 0.0
    for i in range(len(load)):
        now = max(now, load.arrival[i])
        while ends and ends[0][0] <= now:
            free += heapq.heappop(ends)[1]
        while free < load.gpus[i]:
            now, back = heapq.heappop(ends)
            free += back
        free -= load.gpus[i]
        heapq.heappush(ends, (now + load.seconds[i], load.gpus[i]))
        assert run.start[run.job == i] == approx(now)
    assert (np.diff(run.job) > 0).all(), "nobody overtakes"


@pytest.mark.parametrize("policy", ["fifo", "backfill", "fair"])
def test_jobs_of_one_device_are_a_queue_with_many_servers(policy):
    load = single(30_000, 3.2)
    run = simulate_cluster(load, 4, policy=policy)
    queue = mmc(3.2, 1.0, 4)
    assert run.wait.mean() == approx(queue.wait, rel=0.1) and run.seconds == approx(queue.seconds, rel=0.05)
    assert run.utilization == approx(0.8, abs=0.015)
    took = run.wait + load.seconds
    assert np.quantile(took, [0.5, 0.99]) == approx(queue.quantile([0.5, 0.99]), rel=0.08)


def test_shortest_remaining_first_on_one_device_is_the_formula_of_schrage_and_miller():
    rate = 0.7
    x = np.linspace(0, 40, 40_001)
    density = np.exp(-x)
    dx = x[1] - x[0]

    def upto(y):
        return np.concatenate([[0], np.cumsum((y[1:] + y[:-1]) / 2) * dx])

    busy = rate * upto(x * density)
    residence = upto(1 / (1 - busy))
    mean = rate * (upto(x * x * density) + x * x * density) / (2 * (1 - busy) ** 2) + residence
    exact = np.trapezoid(mean * density, x)
    run = simulate_cluster(single(40_000, rate), 1, policy="shortest")
    assert run.seconds == approx(exact, rel=0.03) and run.preemptions > 0
    assert run.seconds < simulate_cluster(single(40_000, rate), 1).seconds


def test_backfilling_by_hand():
    load = given_jobs((0, 6, 100), (1, 8, 50), (2, 2, 90), (3, 2, 200))
    fifo, easy = (simulate_cluster(load, 8, policy=p) for p in ("fifo", "backfill"))
    starts = {p: [r.start[r.job == i][0] for i in range(4)] for p, r in (("fifo", fifo), ("easy", easy))}
    assert starts["fifo"] == [0, 100, 150, 150]
    assert starts["easy"] == [0, 100, 2, 150], "the third ends before the second can start, the fourth would delay it"
    assert easy.utilization == approx(fifo.utilization) and easy.wait.mean() < fifo.wait.mean()


def test_backfilling_uses_what_the_head_leaves_free():
    load = given_jobs((0, 6, 100), (1, 6, 50), (2, 2, 1000))
    run = simulate_cluster(load, 8, policy="backfill")
    assert run.start[run.job == 2][0] == 2 and run.start[run.job == 1][0] == 100
    load = given_jobs((0, 4, 100), (1, 6, 50), (2, 2, 1000), (2, 2, 1000))
    run = simulate_cluster(load, 8, policy="backfill")
    assert [run.start[run.job == i][0] for i in range(4)] == [0, 100, 2, 150], "only one of the two can go beside the head"


@settings(deadline=None, max_examples=40)
@given(loads)
def test_the_first_in_line_is_never_later_with_backfilling_if_estimates_are_right(load):
    load = Jobs(load.arrival, load.gpus, load.seconds, load.seconds, load.user)
    run, plain = (simulate_cluster(load, 8, policy=p) for p in ("backfill", "fifo"))
    blocked = np.flatnonzero(plain.wait > 1e-9)
    if blocked.size:  # the first that has to wait is first in line when it arrives
        assert run.wait[blocked[0]] <= plain.wait[blocked[0]] + 1e-6
    assert run.span <= plain.span + load.seconds.max()


def test_shares_of_users_are_fairer_with_fair():
    rng = np.random.default_rng(0)
    flood, few = 300, 60
    arrival = np.concatenate([np.zeros(flood), np.linspace(0, 3000, few)])
    run = np.concatenate([np.full(flood, 100.0), rng.uniform(50, 150, few)])
    load = Jobs(arrival, np.full(flood + few, 2), run, run, np.array([0] * flood + [1] * few))
    fifo, fair = (simulate_cluster(load, 16, policy=p) for p in ("fifo", "fair"))
    few_wait = [r.wait[load.user == 1].mean() for r in (fifo, fair)]
    assert few_wait[1] < few_wait[0] / 10 and fair.utilization == approx(fifo.utilization, rel=0.05)


def test_restarts_cost_time():
    load = given_jobs((0, 8, 100), (10, 8, 20))
    run = simulate_cluster(load, 8, policy="shortest", overhead=5)
    assert run.start.tolist() == [0, 10, 30] and run.end.tolist() == [10, 30, 125] and run.preemptions == 1
    assert run.slowdown == approx([1.25, 1]) and run.spans()[0] == (0, 0.0, 10.0, "8 GPUs")


def test_a_restart_that_is_cut_short_has_done_nothing():
    load = given_jobs((0, 8, 100), (10, 8, 20), (32, 8, 20))
    run = simulate_cluster(load, 8, policy="shortest", overhead=5)
    assert run.start.tolist() == [0, 10, 30, 32, 52] and run.end.tolist() == [10, 30, 32, 52, 52 + 5 + 90]


def test_fairness_by_hand():
    assert jain([1, 1, 1]) == 1 and jain([1, 0, 0]) == approx(1 / 3) and jain([1, 2]) == approx(0.9)


def test_a_trace_is_read_back(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("arrival,gpus,seconds,user\n60,2,1 h,ann\n0,4,1e2,bob\n")
    load = read_trace(path)
    assert load.arrival.tolist() == [0, 60] and load.seconds.tolist() == [100, 3600] and load.user.tolist() == ["bob", "ann"]
    assert simulate_cluster(load, cluster("dgx-h100", nodes=1)).span == 3660
    path.write_text("arrival,gpus,seconds\n0,4,soon\n")
    with pytest.raises(SimError, match="line 2: seconds"):
        read_trace(path)
    path.write_text("submit,gpus\n0,4\n")
    with pytest.raises(SimError, match="no column arrival, seconds"):
        read_trace(path)


def test_generated_jobs_have_the_means_asked_for():
    load = jobs(20_000, 0.5, gpus=(1, 8), weights=(3, 1), seconds="1 h", spread=1.0, estimate=3.0, users=5)
    assert np.diff(load.arrival).mean() == approx(2.0, rel=0.03) and load.seconds.mean() == approx(3600, rel=0.05)
    assert load.seconds.std() / load.seconds.mean() == approx(1, rel=0.1) and (load.gpus == 8).mean() == approx(0.25, rel=0.05)
    assert (load.estimate >= load.seconds).all() and len(np.unique(load.user)) == 5


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: simulate_cluster(given_jobs((0, 16, 1)), 8), Infeasible, "needs 16 devices at once, there are 8: 2 times that"),
        (lambda: simulate_cluster(given_jobs((0, 1, 1)), 8, policy="sjf"), UnknownName, "policy 'sjf'"),
        (lambda: simulate_cluster(given_jobs((0, 1, 1)), 0), RangeError, "gpus: got 0"),
        (lambda: simulate_cluster(given_jobs((0, 1, 1)), 8, overhead=-1), RangeError, "overhead: got -1"),
        (lambda: given_jobs((0, 1, -5)), RangeError, "seconds: got -5"),
        (lambda: given_jobs((0, 1.5, 5)), RangeError, "gpus: got 1.5"),
        (lambda: jobs(10, 0), RangeError, "rate: got 0"),
        (lambda: jobs(10, 1, weights=(1, 2)), RangeError, "weights: got shape"),
        (lambda: jobs(10, 1, estimate=0.5), RangeError, "estimate: got 0.5"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
