"""Serving: the closed form, the simulation, and that the two are one physics."""

import numpy as np
import pytest
from pytest import approx

from mlsysim import solve
from mlsysim.compression import compress
from mlsysim.devices import device
from mlsysim.errors import Infeasible, RangeError, SimError, UnknownName
from mlsysim.llm import kv_cache_bytes
from mlsysim.models import model
from mlsysim.serving import serve
from mlsysim.simulate.serving import Requests, StepClock, requests, simulate_serving

LLAMA, A100 = "llama-3.1-8b", "a100"


def quick(count=60, rate=4.0, **options):
    return requests(count, rate, prompt=options.pop("prompt", 300), output=options.pop("output", 40), seed=3, **options)


def test_a_decoding_step_is_the_solution_of_its_graph():
    one = serve(LLAMA, A100, batch=8, prompt=1000, output=3)
    step = solve(LLAMA, A100, batch=8, tokens=1, context=1001)
    assert one.tpot == approx(step.seconds, rel=1e-9)
    assert one.ttft == approx(solve(LLAMA, A100, tokens=1000).seconds, rel=1e-9)


def test_the_batch_that_fits_is_the_memory_over_the_cache():
    s = serve(LLAMA, A100, batch=4, prompt=1000, output=24)
    m = model(LLAMA)
    each = kv_cache_bytes(tokens=1024, **m.cache)
    assert s.max_batch == np.floor((0.9 * device(A100).memory.value - 2 * m.params) / each)
    assert serve(LLAMA, A100, batch=int(s.max_batch), prompt=1000, output=24).feasible
    with pytest.raises(Infeasible, match="times that"):
        serve(LLAMA, A100, batch=int(s.max_batch) + 1, prompt=1000, output=24)


def test_a_larger_batch_trades_time_per_token_for_throughput():
    s = serve(LLAMA, A100, batch=np.array([1, 2, 4, 8, 16, 32, 64]), prompt=512, output=128)
    assert (np.diff(s.tpot) >= 0).all() and (np.diff(s.rate) > 0).all()
    assert s[0].why().binding == "memory bandwidth"


def test_launches_bind_a_small_model_split_over_cards():
    why = serve("gpt-2", "h100", batch=1, prompt=8, output=100, tp=4).why()
    assert why.binding == "launch" and sum(why.elasticities.values()) == approx(-1, abs=1e-3)


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
def test_a_prompt_takes_the_same_time_whoever_is_asked(precision):
    asked = dict(batch=1, precision=precision)
    assert serve(LLAMA, "h100", prompt=2048, output=1, **asked).ttft == approx(solve(LLAMA, "h100", tokens=2048, **asked).seconds, rel=1e-9)
    assert compress(LLAMA, "h100", tokens=2048, **asked).seconds == approx(solve(LLAMA, "h100", tokens=2048, **asked).seconds)


def test_fewer_bits_a_weight_shorten_the_step_in_proportion_to_what_is_read():
    half, eighth = (serve(LLAMA, A100, prompt=16, output=2, weights=w).tpot for w in (None, "int4"))
    assert 1.9 < half / eighth < 4.0  # gpt-fast has 1.9 for Llama 2 7B on an A100: starting and launching kernels takes as long as before


def test_tables_of_the_simulation_agree_with_the_graph_within_two_hundredths():
    m, d = model(LLAMA), device(A100)
    clock = StepClock(m, d, 1, "fp16", None, None, 1024)
    for batch, context in ((1, 500), (16, 2000), (64, 4000)):
        exact = solve(m, d, batch=batch, tokens=1, context=context).seconds
        assert clock.seconds(batch, batch * (context + 1), []) == approx(exact, rel=0.02)
    assert clock.seconds(0, 0, [(1024, 0)]) == approx(solve(m, d, tokens=1024).seconds, rel=0.03)


def test_every_token_is_put_out_once_and_every_block_comes_back():
    for options in ({}, {"spread": 0.7}, {"prefixes": 3, "prefix_tokens": 500}, {"arrivals": "gamma", "variation": 3.0}):
        load = quick(**options)
        run = simulate_serving(LLAMA, A100, load, replicas=2)
        assert run.tokens_out == load.output.sum() and run.leaked == 0
        assert np.isfinite(run.e2e).all() and (run.ttft > 0).all() and (run.e2e >= run.ttft).all()


def test_a_cache_that_is_too_small_preempts_and_still_finishes():
    load = quick(40, 40.0, prompt=6000, output=3000)
    run = simulate_serving("llama-2-7b", A100, load)
    assert run.preemptions > 0 and run.tokens_out == load.output.sum() and run.leaked == 0
    assert run.occupancy[1].max() <= 1.0


def test_an_idle_replica_serves_one_request_in_the_time_of_the_closed_form():
    load = Requests(np.array([0.0]), np.array([800]), np.array([101]), np.array([-1]))
    run = simulate_serving(LLAMA, A100, load)
    alone = serve(LLAMA, A100, batch=1, prompt=800, output=101)
    assert run.e2e[0] == approx(alone.seconds, rel=0.02) and run.ttft[0] == approx(alone.ttft, rel=0.03)


def test_the_number_inside_is_the_rate_times_the_time_there():
    """Little's law, on the middle of a long run: requests seen inside by an observer, against rate times mean time."""
    load = quick(400, 6.0)
    run = simulate_serving(LLAMA, A100, load)
    ends = load.arrival + run.e2e
    at = np.linspace(load.arrival[40], load.arrival[-40], 4001)
    inside = ((load.arrival[None] <= at[:, None]) & (ends[None] > at[:, None])).sum(axis=1).mean()
    middle = slice(40, -40)
    rate = (len(load) - 80) / (load.arrival[-40] - load.arrival[40])
    assert inside == approx(rate * run.e2e[middle].mean(), rel=0.1)


def test_a_prompt_in_pieces_spares_the_sequences_that_decode():
    load = quick(80, 5.0, prompt=4000, output=60)
    whole = simulate_serving(LLAMA, A100, load, chunked=False)
    pieces = simulate_serving(LLAMA, A100, load, chunked=True, budget=512)
    assert pieces.percentile("tpot", 99)[0] < whole.percentile("tpot", 99)[0]


def test_a_shared_beginning_is_computed_once():
    load = quick(100, 4.0, prefixes=1, prefix_tokens=1600)
    run = simulate_serving(LLAMA, A100, load)
    assert run.prefix_hits >= 90
    apart = Requests(load.arrival, load.prompt, load.output, np.full(100, -1))
    assert run.percentile("ttft", 50)[0] < simulate_serving(LLAMA, A100, apart).percentile("ttft", 50)[0]


def test_goodput_falls_when_the_load_passes_what_a_replica_can_do():
    low, high = (simulate_serving(LLAMA, A100, quick(300, rate, output=150)) for rate in (4.0, 60.0))
    assert low.goodput == approx(low.tokens_out / 150 / low.seconds, rel=0.05)
    assert high.percentile("ttft", 95)[0] > low.percentile("ttft", 95)[0]


def test_the_same_seed_is_the_same_run():
    a, b = (simulate_serving(LLAMA, A100, quick()) for _ in range(2))
    assert (a.e2e == b.e2e).all() and a.to_dict() == b.to_dict()


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: serve("resnet-50", A100), SimError, "wanted a decoder"),
        (lambda: serve("llama-3.1-70b", A100), Infeasible, "more tp or fewer bits"),
        (lambda: serve(LLAMA, A100, batch=0), RangeError, "batch: got 0"),
        (lambda: serve(LLAMA, A100, tp=3), RangeError, "wanted one of"),
        (lambda: serve(LLAMA, A100, weights="int3"), UnknownName, "weights"),
        (lambda: requests(10, -1.0), RangeError, "rate: got -1"),
        (lambda: requests(10, 1.0, arrivals="uniform"), UnknownName, "poisson"),
        (lambda: requests(3, 1.0, arrivals=[0.0, 1.0]), RangeError, "wanted 3 times"),
        (lambda: simulate_serving(LLAMA, A100, quick(), router="random"), UnknownName, "least-loaded"),
        (lambda: simulate_serving(LLAMA, A100, quick(), budget=100), RangeError, "max_batch"),
        (lambda: simulate_serving("llama-3.1-70b", A100, quick()), Infeasible, "more tp"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
