"""Speculative decoding: a small model drafts tokens, the large one checks them all in one pass.

Each round drafts g tokens, one pass of the draft model each, and verifies them in one pass of g + 1 rows a sequence; how
many it puts out is expected_tokens(). Both passes are timed by serving.step_seconds. Source: Leviathan et al. 2023.
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .devices import device as find
from .efficiency import width
from .models import model as named
from .result import Result, Term, require, total
from .scaling import expected_tokens
from .serving import RESERVE, step_seconds


@dataclass(frozen=True, kw_only=True)
class Speculation(Result):
    """A round of speculative decoding. seconds is its time, tokens what it puts out on average for each sequence, tpot the
    time of one token, rate the tokens a second of the whole batch, speedup that over decoding without a draft."""

    headline = "tpot"

    tpot: np.ndarray
    seconds: np.ndarray
    tokens: np.ndarray
    rate: np.ndarray
    speedup: np.ndarray
    memory: np.ndarray
    capacity: float
    feasible: np.ndarray
    units = {"tpot": "s", "tokens": "", "speedup": ""}


def speculate(model, draft, device, *, acceptance, tokens=4, batch=1, context=512, precision="fp16", weights=None, cache=None,
              allow_infeasible=False):  # fmt: skip
    """Decode with a draft model that proposes `tokens` tokens a round, each accepted with probability `acceptance` -> Speculation.

    acceptance, tokens, batch and context broadcast. Raises RangeError, UnknownName, and Infeasible where both models and
    their caches do not fit one device.
    """
    large, small, device = named(model), named(draft), find(device)
    batch, context = amount("batch", batch, "", least=1, whole=True), amount("context", context, "", least=1, whole=True)
    tokens = amount("tokens", tokens, "", least=1, whole=True)
    out = np.asarray(expected_tokens(acceptance, tokens))
    stored, held = (width(precision if x is None else x, name) for x, name in ((weights, "weights"), (cache, "cache")))
    capacity = device.memory.value
    kept = sum(m.cached(batch=batch, tokens=context + tokens) for m in (large, small)) * held
    memory = (large.params + small.params) * stored + kept + RESERVE * capacity
    fits = require(memory <= capacity, allow_infeasible, f"{large.title} with its draft on {device.title}", memory, capacity)
    options = dict(precision=precision, weights=weights, cache=cache)

    def run(device=device):
        """(drafting, verification, a step without a draft) in seconds."""
        drafting = tokens * step_seconds(small, device, batch=batch, tokens=1, context=context + tokens // 2, **options)[0]
        check = step_seconds(large, device, batch=batch, tokens=tokens + 1, context=context, head="all", **options)[0]
        return drafting, check, step_seconds(large, device, batch=batch, tokens=1, context=context, **options)[0]

    drafting, check, plain = run()
    seconds = drafting + check

    def again(**scale):
        a, b, _ = run(device.scaled(**scale))
        return (a + b) / out

    return Speculation(
        tpot=(seconds / out)[()], seconds=seconds[()], tokens=out[()], rate=(batch * out / seconds)[()],
        speedup=(plain * out / seconds)[()], memory=memory[()], capacity=capacity, feasible=fits,
        grow=lambda: total("a token", [Term("drafting", drafting / out, formula="passes of the draft / tokens put out"),
                                       Term("verification", check / out, formula="one pass of g + 1 rows / tokens put out")]),
        knobs={"compute": lambda s: again(peak=s), "memory bandwidth": lambda s: again(bandwidth=s)},
    )  # fmt: skip
