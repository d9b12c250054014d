"""Distributions against their moments, spreads against closed forms, and that one physics runs whatever goes through it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import serve, solve, train
from mlsysim.constants import Figure
from mlsysim.costs import own
from mlsysim.devices import device
from mlsysim.errors import RangeError, SimError, UnitError, UnknownName
from mlsysim.queueing import mmc
from mlsysim.systems import cluster
from mlsysim.uncertainty import LogNormal, Normal, Triangular, Uniform, relative, shares, spread, tornado

U = shares(20_000, 1)[0]


@pytest.mark.parametrize(
    "dist, mean, deviation",
    [
        (Normal(10, 2), 10, 2),
        (Normal("3 TB/s", "10 %"), 3e12, 3e11),
        (Uniform(2, 8), 5, 6 / 12**0.5),
        (Triangular(0, 1, 5), 2, ((25 + 1 - 5) / 18) ** 0.5),
        (LogNormal(4, 0.25), 4 * (1 + 0.25**2) ** 0.5, 0.25 * 4 * (1 + 0.25**2) ** 0.5),
    ],
)
def test_moments_are_those_of_the_distribution(dist, mean, deviation):
    x = dist.at(U)
    assert x.mean() == approx(mean, rel=1e-3) and x.std() == approx(deviation, rel=5e-3)


@given(st.floats(0.01, 0.99), st.floats(0.001, 0.009))
def test_quantiles_rise(share, step):
    for dist in (Normal(10, 2), Uniform(2, 8), Triangular(0, 1, 5), LogNormal(4, 0.3)):
        assert dist.at(share + step) > dist.at(share)


def test_latin_samples_have_one_in_every_stratum_and_settle_sooner():
    for column in shares(500, 3):
        assert (np.sort(np.floor(column * 500).astype(int)) == np.arange(500)).all()
    errors = {plan: np.std([Normal(0, 1).at(shares(100, 1, seed=s, plan=plan)[0]).mean() for s in range(40)]) for plan in ("latin", "plain")}
    assert errors["latin"] < errors["plain"] / 10


def test_a_product_of_log_normals_is_log_normal():
    s = spread(lambda a, b: a * b, a=LogNormal(2, 0.1), b=LogNormal(3, 0.2), samples=20_000)
    sigma = np.sqrt(np.log1p(0.1**2) + np.log1p(0.2**2))
    assert s.middle["value"] == approx(6, rel=0.01)
    assert (s.low["value"], s.high["value"]) == approx((6 * np.exp(-1.645 * sigma), 6 * np.exp(1.645 * sigma)), rel=0.01)


def test_a_sum_of_normals_is_normal():
    s = spread(lambda a, b: {"sum": a + b}, a=Normal(5, 3), b=Normal(7, 4), samples=20_000)
    assert s.quantile([0.05, 0.5, 0.95], "sum") == approx([12 - 1.645 * 5, 12, 12 + 1.645 * 5], abs=0.2)
    assert list(s.drivers()) == ["b", "a"] and s.drivers()["b"] == approx(16 / 25, abs=0.03)


def test_without_variation_a_spread_is_the_point():
    s = spread(mmc, arrivals=80, service=Uniform(0.01, 0.01))
    point = mmc(80, 0.01)
    assert s.low["seconds"] == approx(point.seconds) == s.high["seconds"] and s.of == "seconds"


def test_samples_are_the_solver_at_each_sample():
    s = spread(solve, workload="llama-3.1-8b", device="h100", batch=Uniform(1, 64, whole=True), tokens=1, context=2048, samples=50)
    assert s.samples["seconds"].shape == (50,)
    for i in (0, 17, 49):
        batch = s.inputs["batch"][i]
        assert batch == int(batch)
        assert s.samples["seconds"][i] == approx(solve("llama-3.1-8b", "h100", batch=batch, tokens=1, context=2048).seconds)


def test_devices_with_uncertain_figures_are_called_one_by_one_and_agree_with_the_point():
    def run(peak, bandwidth):
        return solve("resnet-50", device("h100").scaled(peak=peak, bandwidth=bandwidth), batch=64)

    s = spread(run, peak=LogNormal(1, 0.1), bandwidth=LogNormal(1, 0.05), samples=200)
    assert s.middle["seconds"] == approx(run(1.0, 1.0).seconds, rel=0.01) and s.low["seconds"] < s.middle["seconds"] < s.high["seconds"]
    i = 7
    assert s.samples["seconds"][i] == approx(run(s.inputs["peak"][i], s.inputs["bandwidth"][i]).seconds)


def test_other_axes_stand_behind_the_samples():
    s = spread(solve, workload="llama-3.1-8b", device="h100", batch=np.array([1, 8, 64]), tokens=1,
               context=Uniform(100, 4000, whole=True), samples=40)  # fmt: skip
    assert s.samples["seconds"].shape == (40, 3) and s.middle["seconds"].shape == (3,)
    assert (np.diff(s.middle["seconds"]) > 0).all()


def test_it_works_with_serving_costs_and_training():
    a = spread(serve, model="llama-3.1-8b", device="h100", batch=8, prompt=LogNormal(500, 0.5, whole=True), output=64, samples=50)
    assert a.low["ttft"] < a.middle["ttft"] < a.high["ttft"]
    b = spread(own, machine="dgx-h100", price_each=Triangular(250e3, 300e3, 400e3), years=Uniform(3, 5), samples=400)
    assert b.of == "cost" and b.drivers()["price_each"] > 0.5
    c = spread(train, model="llama-2-7b", on=cluster("dgx-a100", gpus=8), batch=64, tokens=2048, tp=8,
               run_tokens=LogNormal(1e9, 0.1), samples=20)  # fmt: skip
    assert c.high["run_seconds"] / c.low["run_seconds"] == approx(np.exp(2 * 1.645 * np.sqrt(np.log1p(0.01))), rel=0.05)


def test_a_figure_is_as_uncertain_as_it_says():
    f = Figure(2.0, "s", "test", "2026", "estimate", 0.1)
    s = spread(lambda t: 3 * t, t=f, samples=4000)
    assert s.middle["value"] == approx(6, rel=1e-3) and np.log(s.high["value"] / 6) == approx(1.645 * np.sqrt(np.log1p(0.01)), rel=0.01)
    assert relative(f) == LogNormal(1.0, 0.1) and relative(Figure(2.0, "s", "test", "2026")) == 1.0


def test_the_same_seed_gives_the_same_samples_and_another_others():
    runs = [spread(mmc, arrivals=Normal(50, 5), service=0.01, samples=30, seed=s).samples["seconds"] for s in (1, 1, 2)]
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


def test_a_tornado_ranks_by_swing_and_matches_the_ends():
    t = tornado(mmc, arrivals=Normal(80, 2), service=Normal(0.01, 1e-5), servers=1)
    assert t.names == ("arrivals", "service") and t.base == approx(mmc(80, 0.01).seconds)
    assert t.low[0] == approx(mmc(80 - 2 * 1.6448536, 0.01).seconds) and t.swing[0] > t.swing[1] > 0
    assert "arrivals" in str(t) and tornado(mmc, of="wait", arrivals=Normal(80, 2), service=0.01).of == "wait"


def test_what_prints_shows_all_three_levels_with_units():
    text = str(spread(mmc, arrivals=Normal(50, 5), service=0.01))
    assert "95 %" in text and " ms" in text and "utilization" in text
    assert spread(mmc, arrivals=Normal(50, 5), service=0.01).to_dict()["of"] == "seconds"


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: spread(mmc, arrivals=5, service=0.01), SimError, "no input is a distribution"),
        (lambda: spread(mmc, arrivals=Normal(50, -5), service=0.01), RangeError, "deviation"),
        (lambda: spread(mmc, arrivals=Normal(50, 40), service=0.01), SimError, "arrivals"),
        (lambda: spread(mmc, arrivals=Normal(50, 5), service=0.01, samples=1), RangeError, "samples: got 1"),
        (lambda: spread(mmc, arrivals=Normal(50, 5), service=0.01, plan="sobol"), UnknownName, "latin"),
        (lambda: spread(mmc, arrivals=Uniform(9, 5), service=0.01), RangeError, "Uniform"),
        (lambda: spread(mmc, arrivals=Normal("50 GB", "5 s"), service=0.01), UnitError, "one kind"),
        (lambda: spread(mmc, arrivals=Triangular(1, 9, 5), service=0.01), RangeError, "low <= mode"),
        (lambda: spread(mmc, arrivals=LogNormal(0, 0.1), service=0.01), RangeError, "median"),
        (lambda: spread(mmc, arrivals=Normal(float("nan"), 0.1), service=0.01), RangeError, "finite"),
        (lambda: tornado(mmc, of="secs", arrivals=Normal(50, 5), service=0.01), UnknownName, "seconds"),
        (lambda: spread(mmc, arrivals=Normal(50, 5), service=0.01).quantile(2), RangeError, "level"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
