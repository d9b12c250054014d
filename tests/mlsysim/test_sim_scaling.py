"""Scaling laws against their papers, optima against brute force, speculation against simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import serve
from mlsysim.errors import Infeasible, RangeError, SimError, UnitError, UnknownName
from mlsysim.models import model
from mlsysim.scaling import CHINCHILLA, REFIT, Law, expected_tokens, for_loss, loss, optimal, training_flop
from mlsysim.speculation import speculate

budgets = st.floats(1e18, 1e27)


def test_chinchilla_as_its_paper_has_it():
    a = loss(70e9, 1.4e12)
    assert a.loss == approx(1.9366, rel=1e-3) and a.flop == approx(5.88e23, rel=1e-3) and a.flop == approx(5.76e23, rel=0.03)
    assert a.tree.value == approx(a.loss) and a.ratio == 20


@given(budgets)
def test_no_other_split_of_a_budget_loses_less(flop):
    best = optimal(flop)
    assert best.flop == approx(flop)
    sizes = best.params * np.exp(np.linspace(-1, 1, 41))
    assert (loss(sizes, flop / 6 / sizes).loss >= best.loss * (1 - 1e-12)).all()


@given(budgets, st.floats(1.1, 10))
def test_more_budget_loses_less_and_both_grow_by_their_powers(flop, factor):
    a, b = optimal([flop, flop * factor])
    assert b.loss < a.loss
    assert b.params / a.params == approx(factor ** (0.28 / 0.62)) and b.tokens / a.tokens == approx(factor ** (0.34 / 0.62))


@given(budgets)
def test_the_least_flop_for_a_loss_is_the_least_loss_for_that_flop(flop):
    best = optimal(flop)
    back = for_loss(best.loss)
    assert back.flop == approx(flop, rel=1e-6) and back.params == approx(best.params, rel=1e-3) and back.loss == approx(best.loss)


@given(st.floats(1.9, 2.6), st.floats(1e9, 1e14))
def test_serving_makes_models_smaller_and_no_other_size_is_cheaper(target, served):
    free, busy = for_loss(target), for_loss(target, served=served)
    assert busy.params <= free.params * (1 + 1e-6) and busy.tokens >= free.tokens * (1 - 1e-3)
    assert busy.flop + busy.served <= free.flop + 2 * free.params * served
    sizes = busy.params * np.exp(np.linspace(-0.05, 0.05, 21))
    gap = target - CHINCHILLA.E - CHINCHILLA.A / sizes**CHINCHILLA.alpha
    sizes, gap = sizes[gap > 0], gap[gap > 0]
    tokens = (CHINCHILLA.B / gap) ** (1 / CHINCHILLA.beta)
    assert (6 * sizes * tokens + 2 * sizes * served >= (busy.flop + busy.served) * (1 - 1e-9)).all()


def test_the_second_fit_has_some_twenty_tokens_a_parameter_where_the_printed_one_has_not():
    """The budget of Chinchilla: 70B and 1.4T tokens by the paper's approaches 1 and 2."""
    assert 15 < optimal(5.76e23, law=REFIT).ratio < 30 < optimal(5.76e23).ratio


def test_another_law_has_another_optimum():
    even = Law(E=1.0, A=100.0, B=100.0, alpha=0.3, beta=0.3)
    a = optimal(6e20, law=even)
    assert a.params == approx(a.tokens) == approx(1e10)


def test_six_n_d_is_close_for_long_models_and_leaves_out_attention():
    t = training_flop("gpt-3-175b", 300e9, context=2048)
    assert t.rule == approx(3.15e23, rel=0.01) and abs(t.error) < 0.03
    m = model("llama-3.1-8b")
    short, long = training_flop("llama-3.1-8b", 1e12, context=[2048, 131_072])
    assert short.attention == approx(6 * m.layers * m.heads * 2 * m.head_dim * (2048 + 1) / 2 * 1e12, rel=1e-3)
    assert long.error < -0.3 and long.tree.value == approx(long.flop)
    assert training_flop("mixtral-8x7b", 1e9).rule == 6 * model("mixtral-8x7b").active_params * 1e9


def test_expected_tokens_are_those_of_the_paper_and_of_a_simulation():
    assert expected_tokens([0.8, 0.7], 4) == approx([3.3616, 2.7731])
    assert expected_tokens([0.0, 1.0], 4) == approx([1, 5]) and expected_tokens(0.5, 0) == 1
    rng = np.random.default_rng(3)
    for a, g in ((0.6, 3), (0.9, 8)):
        accepted = (np.cumprod(rng.random((200_000, g)) < a, axis=1)).sum(axis=1)
        assert expected_tokens(a, g) == approx(1 + accepted.mean(), rel=0.01)


@given(st.floats(0, 0.999), st.integers(1, 20))
def test_more_drafts_never_put_out_less(a, g):
    assert expected_tokens(a, g) <= expected_tokens(a, g + 1) <= 1 / (1 - a) + 1e-9
    assert expected_tokens(a, g) <= expected_tokens(min(a + 1e-3, 1.0), g)


def test_speculation_gains_what_the_closed_form_says():
    """Speedup (1 - a^(g+1)) / ((1 - a)(g c + 1)) where a pass of g + 1 rows takes no longer than one of a single row."""
    s = speculate("llama-3.1-8b", "llama-3.2-1b", "h100", acceptance=0.8, tokens=4, context=512)
    steps = [serve(m, "h100", prompt=512, output=2).tpot for m in ("llama-3.1-8b", "llama-3.2-1b")]
    assert s.speedup == approx(3.3616 / (4 * steps[1] / steps[0] + 1), rel=0.05)
    assert s.why().binding == "memory bandwidth" and s.tree.value == approx(s.tpot)


def test_a_large_batch_leaves_nothing_for_speculation_to_gain():
    s = speculate("llama-3.1-8b", "llama-3.2-1b", "h100", acceptance=0.7, tokens=4, batch=np.array([1, 64, 512]), context=512,
                  allow_infeasible=True)  # fmt: skip
    assert (np.diff(s.speedup) < 0).all() and s.speedup[0] > 1.3 and s.speedup[2] < 1.1
    best = speculate("llama-3.1-8b", "llama-3.2-1b", "h100", acceptance=0.7, tokens=np.arange(1, 17))
    assert 0 < best.speedup.argmax() < 15  # neither one token nor as many as possible


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: loss(0, 1e9), RangeError, "params: got 0"),
        (lambda: loss(1e9, "1 TB"), UnitError, "tokens"),
        (lambda: optimal(-1e24), RangeError, "flop: got -1"),
        (lambda: optimal(float("nan")), RangeError, "flop: got nan"),
        (lambda: for_loss(1.6), Infeasible, "1.69"),
        (lambda: for_loss(2.0, served=-1), RangeError, "served"),
        (lambda: training_flop("resnet-50", 1e9), SimError, "wanted a transformer"),
        (lambda: expected_tokens(1.2, 4), RangeError, "acceptance: got 1.2"),
        (lambda: expected_tokens(0.5, 2.5), RangeError, "draft"),
        (lambda: speculate("llama-3.1-8b", "llama-3.2-1", "h100", acceptance=0.5), UnknownName, "llama-3.2-1b"),
        (lambda: speculate("llama-3.1-70b", "llama-3.2-1b", "h100", acceptance=0.5), Infeasible, "draft"),
        (lambda: speculate("llama-3.1-8b", "llama-3.2-1b", "h100", acceptance=0.5, tokens=0), RangeError, "tokens: got 0"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
