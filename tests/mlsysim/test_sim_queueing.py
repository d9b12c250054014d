"""Queues against textbook values, limits that must agree, and a queue simulated customer by customer."""

import heapq
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim.errors import Infeasible, RangeError, UnitError
from mlsysim.queueing import erlang_c, md1, mg1, mmc

loads = st.floats(0.05, 0.95)


def simulated(rate, draw, servers, n=200_000, seed=1):
    """Times in the system of n customers served in order of arrival."""
    rng = np.random.default_rng(seed)
    arrivals, service = np.cumsum(rng.exponential(1 / rate, n)), draw(rng, n)
    free = [0.0] * servers
    out = np.empty(n)
    for i, (a, s) in enumerate(zip(arrivals.tolist(), service.tolist(), strict=True)):
        done = max(a, heapq.heappop(free)) + s
        heapq.heappush(free, done)
        out[i] = done - a
    return out[n // 20 :]


def test_erlang_c_is_the_textbook_sum():
    for servers, offered in ((1, 0.5), (2, 1.5), (10, 8.0), (40, 33.0)):
        terms = [offered**k / math.factorial(k) for k in range(servers)]
        last = offered**servers / math.factorial(servers) * servers / (servers - offered)
        assert erlang_c(servers, offered) == approx(last / (sum(terms) + last), rel=1e-12)
    beta = (5000 - 4900) / math.sqrt(4900)  # many servers: Halfin and Whitt 1981
    normal = statistics.NormalDist()
    assert erlang_c(5000, 4900.0) == approx(1 / (1 + beta * normal.cdf(beta) / normal.pdf(beta)), rel=0.02)
    assert erlang_c([2, 10], [1.5, 8.0]) == approx([9 / 14, 0.40918], rel=1e-5)


@given(loads, st.floats(1e-4, 10.0), st.floats(0.0, 0.999))
def test_one_server_is_exponential(load, service, share):
    q = mmc(load / service, service)
    assert q.seconds == approx(service / (1 - load), rel=1e-9)
    assert q.quantile(share) == approx(-math.log1p(-share) * q.seconds, rel=1e-6, abs=1e-9 * service)


@given(loads, st.integers(1, 60))
def test_the_quantiles_of_many_servers_integrate_to_the_mean(load, servers):
    q = mmc(load * servers, 1.0, servers)
    t = np.linspace(0, 60 * q.seconds, 60_001)
    assert np.trapezoid(q.exceeds(t), t) == approx(q.seconds, rel=2e-3)
    assert q.exceeds(q.quantile(0.99)) == approx(0.01, rel=1e-6)


def test_the_branch_where_both_rates_are_equal_is_the_limit_of_its_neighbours():
    at, beside = mmc(1.0, 1.0, 2), mmc(1.0 + 1e-5, 1.0, 2)  # c mu - lambda = mu
    assert at.exceeds(3.0) == approx(beside.exceeds(3.0), rel=1e-4)


@pytest.mark.parametrize("servers, load", [(1, 0.5), (10, 0.8), (100, 0.9)])
def test_percentiles_are_those_of_a_simulated_queue(servers, load):
    out = simulated(load * servers / 0.01, lambda rng, n: rng.exponential(0.01, n), servers)
    q = mmc(load * servers / 0.01, 0.01, servers)
    assert out.mean() == approx(q.seconds, rel=0.03)
    assert np.quantile(out, [0.5, 0.99]) == approx(q.quantile([0.5, 0.99]), rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_constant_service_has_the_percentiles_of_a_simulated_queue(load):
    out = simulated(load / 0.01, lambda rng, n: np.full(n, 0.01), 1, n=400_000)
    q = md1(load / 0.01, 0.01)
    assert q.seconds == approx(0.01 + load * 0.01 / (2 * (1 - load)), rel=1e-12)
    assert np.quantile(out, [0.5, 0.9, 0.99]) == approx(q.quantile([0.5, 0.9, 0.99]), rel=0.04)


@given(loads)
def test_the_tail_of_constant_service_integrates_to_its_mean(load):
    q = md1(load, 1.0)
    t = np.linspace(0, 1 + 40 * q.wait + 20, 4001)
    assert np.trapezoid(q.exceeds(t), t) == approx(q.seconds, rel=5e-3)


@given(loads, st.floats(0, 3))
def test_general_service_lies_on_a_line_in_its_variance(load, variation):
    constant, exponential = mg1(load, 1.0, 0.0), mg1(load, 1.0, 1.0)
    assert mg1(load, 1.0, variation).wait == approx(constant.wait + variation**2 * (exponential.wait - constant.wait), rel=1e-9)
    assert exponential.seconds == approx(mmc(load, 1.0).seconds, rel=1e-9)


@given(loads, st.integers(1, 20), st.floats(1.001, 1.05))
def test_more_arrivals_never_wait_less_and_little_holds(load, servers, more):
    a, b = mmc(load * servers, 1.0, servers), mmc(load * servers * more, 1.0, servers)
    assert b.wait >= a.wait and b.quantile(0.9) >= a.quantile(0.9) * (1 - 1e-9)
    assert a.inside == approx(load * servers * a.seconds) and a.queued == approx(load * servers * a.wait)


def test_arrays_and_points_agree_and_an_index_keeps_the_quantiles():
    rates = np.array([50.0, 80.0, 90.0])
    q = mmc(rates, 0.01, 2)
    for i, rate in enumerate(rates):
        one = mmc(rate, 0.01, 2)
        assert q[i].seconds == one.seconds and q[i].quantile([0.5, 0.99]) == approx(one.quantile([0.5, 0.99]), rel=1e-9)
    assert q.quantile(0.9).shape == (3,)


def test_why_names_what_the_waiting_depends_on_most():
    why = mmc(95, 0.01).why()
    assert why.binding == "service rate" and why.elasticities["service rate"] == approx(-20, rel=0.1)
    assert why.elasticities["arrivals"] == approx(19, rel=0.1)


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: mmc(100, 0.01), Infeasible, "2 servers"),
        (lambda: mmc(-5, 0.01), RangeError, "arrivals: got -5"),
        (lambda: mmc(math.nan, 0.01), RangeError, "arrivals: got nan"),
        (lambda: mmc(5, "10 m"), UnitError, "service"),
        (lambda: mmc(5, 0.01, 1.5), RangeError, "servers: got 1.5"),
        (lambda: mg1(5, 0.01, -1), RangeError, "variation: got -1"),
        (lambda: mg1(5, 0.01, 1).quantile(0.5), RangeError, "simulate"),
        (lambda: mmc(5, 0.01).quantile(1.0), RangeError, "share"),
        (lambda: erlang_c(2, 2.0), Infeasible, "2 servers"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
