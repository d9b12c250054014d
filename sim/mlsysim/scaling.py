"""How large a model, on how many tokens: fitted loss, the best split of a budget, and what serving changes.

    L(N, D) = E + A / N^alpha + B / D^beta,  budget C = 6 N D

Source of the fit: Hoffmann et al. 2022 (Chinchilla), approach 3; of counting what serving costs: Sardana et al. 2024, Beyond
Chinchilla-Optimal. CHINCHILLA holds the constants as printed; at large budgets their optimum has several times the 20 tokens a
parameter that the paper's other two approaches found. Besiroglu et al. 2024 (arXiv 2404.10102) fitted the same runs again:
law=REFIT agrees with them. Either holds for the data and models of that paper; for others it is a guess.
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .errors import Infeasible, RangeError, SimError
from .models import model as named
from .result import Result, Term, total


@dataclass(frozen=True)
class Law:
    """Constants of the loss. Losses are in nats a token."""

    E: float = 1.69
    A: float = 406.4
    B: float = 410.7
    alpha: float = 0.34
    beta: float = 0.28


CHINCHILLA = Law()
REFIT = Law(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)


@dataclass(frozen=True, kw_only=True)
class Allocation(Result):
    """A model size and its tokens. flop is training, served the FLOP of all tokens served, ratio tokens a parameter."""

    headline = "loss"

    loss: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    flop: np.ndarray
    served: np.ndarray
    ratio: np.ndarray
    units = {"loss": "", "params": "", "tokens": "token", "served": "FLOP", "ratio": ""}


def _positive(name, value, unit=""):
    return amount(name, value, unit if isinstance(value, str) else "", above=0.0)


def _allocation(params, tokens, law, served=0.0):
    capacity, data = law.A / params**law.alpha, law.B / tokens**law.beta

    def at(n=params, d=tokens):
        return law.E + law.A / n**law.alpha + law.B / d**law.beta

    return Allocation(
        loss=at()[()], params=params[()], tokens=tokens[()], flop=(6 * params * tokens)[()], ratio=(tokens / params)[()],
        served=np.asarray(served)[()],
        grow=lambda: total("loss", [Term("entropy of the text", law.E, ""), Term("size of the model", capacity, "", "A / N^alpha"),
                                    Term("tokens seen", data, "", "B / D^beta")], ""),
        knobs={"parameters": lambda s: at(n=params * s), "tokens": lambda s: at(d=tokens * s)},
    )  # fmt: skip


def loss(params, tokens, *, law=CHINCHILLA):
    """Loss of a model of `params` parameters after `tokens` tokens -> Allocation. Both broadcast."""
    return _allocation(_positive("params", params), _positive("tokens", tokens, "token"), law)


def optimal(flop, *, law=CHINCHILLA):
    """The size and tokens of least loss for a budget of training `flop` = 6 N D -> Allocation. Broadcasts.

    N = G (C/6)^a with a = beta / (alpha + beta) and G = (alpha A / beta B)^(1 / (alpha + beta)). Source: equation 4.
    """
    budget = _positive("flop", flop, "FLOP") / 6
    both = law.alpha + law.beta
    params = (law.alpha * law.A / (law.beta * law.B)) ** (1 / both) * budget ** (law.beta / both)
    return _allocation(params, budget / params, law)


def for_loss(target, *, served=0.0, law=CHINCHILLA):
    """The size and tokens that reach a loss for the least FLOP of training 6 N D and of serving 2 N `served` -> Allocation.

    The more tokens are served, the smaller the model and the longer its training. Broadcasts. Raises Infeasible for a loss
    at or below the entropy of the text, RangeError.
    """
    target, served = _positive("target", target), amount("served", served, "token" if isinstance(served, str) else "")
    target, served = np.broadcast_arrays(target, served)
    if (target <= law.E).any():
        raise Infeasible(f"target: got {float(target.min()):g}; no size or data gets below {law.E:g}, the entropy of the text")
    least = (law.A / (target - law.E)) ** (1 / law.alpha)

    def tokens_at(params):
        return (law.B / (target - law.E - law.A / params**law.alpha)) ** (1 / law.beta)

    def cost(x):  # of ln(N / least - 1): N above the least size by any factor
        params = least * (1 + np.exp(x))
        return 3 * params * tokens_at(params) + params * served

    low, high = np.full(target.shape, -14.0), np.full(target.shape, 14.0)
    golden = (5**0.5 - 1) / 2
    for _ in range(80):  # the cost falls, then rises
        a, b = high - golden * (high - low), low + golden * (high - low)
        better = cost(a) < cost(b)
        low, high = np.where(better, low, a), np.where(better, b, high)
    params = least * (1 + np.exp((low + high) / 2))
    return _allocation(params, tokens_at(params), law, 2 * params * served)


@dataclass(frozen=True, kw_only=True)
class TrainingFlop(Result):
    """FLOP of training a transformer. flop is the exact graph, three times its forward pass; rule is 6 N D, error its share
    off; attention is the part of flop that 6 N D leaves out, scores times tokens."""

    headline = "flop"

    flop: np.ndarray
    rule: np.ndarray
    error: np.ndarray
    attention: np.ndarray
    units = {"rule": "FLOP", "error": "", "attention": "FLOP"}


def training_flop(model, tokens, *, context=2048):
    """6 N D against the operators of a transformer trained on `tokens` tokens in sequences of `context` -> TrainingFlop.

    N is what one token uses, experts that it is not sent to left out. Both broadcast. Raises SimError for other models.
    """
    m = named(model)
    if not hasattr(m, "flop_per_token"):
        raise SimError(f"training_flop: {m.title} is a {m.kind} model; wanted a transformer, such as 'llama-3.1-8b'")
    tokens, context = _positive("tokens", tokens, "token"), amount("context", context, "", least=1, whole=True)
    each = 3 * m.flop_per_token((context - 1) / 2)
    products = 6.0 * m.matrix_params * tokens
    exact, rule = each * tokens, 6.0 * m.active_params * tokens
    return TrainingFlop(
        flop=exact[()], rule=(rule + 0 * exact)[()], error=(rule / exact - 1)[()], attention=(exact - products)[()],
        grow=lambda: total("training", [Term("products with weights", products, "FLOP", "6 x weights a token meets x tokens"),
                                        Term("attention", exact - products, "FLOP", "scores and values, half of them masked")], "FLOP"),
        knobs={"tokens": lambda s: exact * s},
    )  # fmt: skip


def expected_tokens(acceptance, draft):
    """Tokens that one verification of `draft` drafted tokens puts out, each accepted with probability `acceptance`.

    (1 - a^(g + 1)) / (1 - a), and g + 1 where a = 1. Both broadcast. Source: Leviathan, Kalman, Matias 2023, equation 1.
    """
    a = amount("acceptance", acceptance, "%" if isinstance(acceptance, str) else "")
    g = amount("draft", draft, "", whole=True)
    if (a > 1).any():
        raise RangeError(f"acceptance: got {float(a.max()):g}; wanted a probability from 0 to 1")
    sure = a == 1
    return np.where(sure, g + 1, (1 - a ** (g + 1)) / np.where(sure, 1.0, 1 - a))[()]
