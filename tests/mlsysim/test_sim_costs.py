"""Costs by hand, limits that must agree, and that every price is of what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import serve, train
from mlsysim.costs import YEAR, break_even, own, rate_of, run_cost, token_cost
from mlsysim.errors import RangeError, SimError, UnitError, UnknownName
from mlsysim.simulate.serving import requests, simulate_serving
from mlsysim.systems import cluster, price

BUY = dict(price_each="300000 USD", years=4)


def test_owning_by_hand():
    o = own("dgx-h100", electricity="0.10 USD/kWh", pue=1.2, utilization=0.5, maintenance=0.05, **BUY)
    energy = 10.2 * 1.2 * 0.10 * 0.5 * 4 * 8760
    assert (o.capital, o.electricity, o.maintenance) == approx((300e3, energy, 60e3))
    assert o.each * 3600 == approx(o.cost / (8 * 0.5 * 4 * 8760)) and o.tree.value == approx(o.cost)


def test_a_loan_is_repaid_in_equal_parts():
    """300,000 USD at 8 % over four years: an annuity of 90,576 USD."""
    assert own("dgx-h100", interest=0.08, **BUY).capital == approx(4 * 90_576.24, rel=1e-6)
    assert own("dgx-h100", interest=1e-9, **BUY).capital == approx(300e3, rel=1e-6)


def test_a_cluster_costs_as_many_nodes():
    one, many = own("dgx-h100", **BUY), own(cluster("dgx-h100", gpus=1024), **BUY)
    assert many.cost == approx(128 * one.cost) and many.each == approx(one.each) and many.devices == 1024


@given(st.floats(0.05, 1.0), st.floats(1.0, 8.0))
def test_a_device_hour_gets_cheaper_with_use_and_with_years(used, years):
    base = own("dgx-h100", price_each=3e5, years=years, utilization=used)
    assert own("dgx-h100", price_each=3e5, years=years, utilization=used / 2).each > base.each
    assert own("dgx-h100", price_each=3e5, years=years * 1.1, utilization=used).each < base.each
    assert sum(base.why().elasticities[k] for k in ("price of the machines", "price of electricity")) == approx(1, abs=1e-3)


@given(st.floats(1.0, 10.0), st.floats(0.0, 0.1))
def test_at_the_break_even_both_ways_cost_the_same(hourly, care):
    o = own("dgx-h100", maintenance=care, **BUY)
    b = break_even(o, f"{hourly} USD/h")
    if b.utilization <= 1:
        same = own("dgx-h100", maintenance=care, utilization=float(b.utilization), **BUY)
        assert same.each * 3600 == approx(hourly, rel=1e-6)
        assert b.seconds <= o.seconds * (1 + 1e-9)
    full = 8 * hourly / 3600 * b.seconds
    if np.isfinite(b.seconds):
        assert full == approx(o.capital + b.seconds * (8 * o.running + o.maintenance / o.seconds), rel=1e-6)


def test_renting_below_the_price_of_electricity_never_breaks_even():
    b = break_even(own("dgx-h100", **BUY), "0.01 USD/h")
    assert b.seconds == np.inf and b.utilization == np.inf


def test_a_training_run_costs_its_device_hours():
    run = train("llama-2-7b", cluster("dgx-a100", gpus=64), batch=64, tokens=2048, tp=8, run_tokens=1e9)
    bill = run_cost(run, "modal-a100")
    assert bill.cost == approx(run.gpu_hours * 2.4984) and bill.each == approx(bill.cost / 1000)
    assert run_cost("10 h", "2 USD/h", devices=8).cost == approx(160)
    assert run_cost(run, own("dgx-a100", price_each=2e5, years=4)).cost > 0


def test_a_million_tokens_from_the_formula_and_the_simulation():
    s = serve("llama-3.1-8b", "h100", batch=16, prompt=300, output=40)
    bill = token_cost(s, "lambda-h100")
    assert bill.each == approx(3.78 / 3600 / s.rate * 1e6) and bill.cost == approx(3.78)
    load = requests(40, 4.0, prompt=300, output=40, seed=1)
    run = simulate_serving("llama-3.1-8b", "h100", load, replicas=2)
    assert token_cost(run, "lambda-h100", devices=2).each == approx(2 * 3.78 / 3600 / run.rate * 1e6)
    assert token_cost(s, "lambda-h100", utilization=0.5).each == approx(2 * bill.each)
    assert token_cost("1000 token/s", "3.6 USD/h").each == approx(1.0)


def test_a_larger_batch_makes_tokens_cheaper():
    s = serve("llama-3.1-8b", "h100", batch=np.array([1, 4, 16, 64]), prompt=300, output=40)
    assert (np.diff(token_cost(s, "lambda-h100").each) < 0).all()


def test_rates_from_all_that_name_one():
    assert rate_of("aws-p5") == approx(55.04 / 8 / 3600) == rate_of(price("aws-p5"))
    assert rate_of("6.88 USD/h") == approx(55.04 / 8 / 3600)
    assert YEAR == 8760 * 3600


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: own("dgx-h100", years=4), SimError, "price_each: .* no price"),
        (lambda: own("dgx-h100", price_each=-1, years=4), RangeError, "price_each: got -1"),
        (lambda: own("dgx-h100", price_each="3 kW", years=4), UnitError, "price_each"),
        (lambda: own("dgx-h100", price_each=1, years=0), RangeError, "years: got 0"),
        (lambda: own("dgx-h10", price_each=1, years=1), UnknownName, "dgx-h100"),
        (lambda: own("dgx-h100", utilization=1.2, **BUY), RangeError, "utilization: got 1.2"),
        (lambda: own("dgx-h100", utilization=0, **BUY), RangeError, "utilization: got 0"),
        (lambda: own("dgx-h100", electricity="aws-p5", **BUY), SimError, "per kWh"),
        (lambda: rate_of("electricity-us"), SimError, "per hour"),
        (lambda: rate_of("aws-p9"), UnknownName, "aws-p"),
        (lambda: run_cost("10 h", "2 USD/h"), SimError, "devices"),
        (lambda: token_cost(0.0, "2 USD/h"), RangeError, "serving: got 0"),
        (lambda: break_even(5.0, "2 USD/h"), SimError, "own"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
