"""Failures, checkpoints, restarts and lost work, drawn many times: the distribution of what a closed form gives the mean of.

All runs advance side by side, from failure to failure. Time to the next failure is exponential, or Weibull.
"""

from dataclasses import dataclass, field
from math import gamma

import numpy as np

from .._check import amount
from ..errors import Infeasible, RangeError
from ..result import Result, Term, total


@dataclass(frozen=True, kw_only=True)
class FailureRun(Result):
    """Runs of a job until it is done. goodput is work over mean time, the arrays hold one entry a run.

    spent, of one entry a run each: seconds of kept work, of writing, of lost work and of restarting.
    """

    headline = "goodput"

    goodput: float
    seconds: float
    failures: float
    elapsed: np.ndarray = field(repr=False)
    counts: np.ndarray = field(repr=False)
    spent: dict = field(repr=False)

    def percentile(self, *levels):
        """Percentiles of the goodput of a run: run.percentile(5, 50, 95)."""
        return np.percentile(self.spent["work"] / self.elapsed, levels)


def simulate_failures(work, mtbf, write, *, interval, restart=0.0, background=0.0, shape=1.0, local=0.0, every=1, local_write=0.0,
                      local_restart=0.0, runs=1000, seed=0):  # fmt: skip
    """Draw `runs` runs of a job of `work` seconds -> FailureRun.

    A checkpoint stops work for `write` seconds after each `interval` of work and counts when it is on disk, `background`
    seconds later. shape < 1: failures come in clusters (Weibull, renewed at each restart). Two levels: every checkpoint is
    local (local_write), each `every`-th one goes to storage too, and the share `local` of the failures needs the local one
    only (local_restart). Failures during restarts start those again.

    Raises Infeasible where an interval will hardly ever end without a failure.
    """
    given = dict(work=work, mtbf=mtbf, interval=interval, write=write, restart=restart, background=background, local_write=local_write,
                 local_restart=local_restart)  # fmt: skip
    work, mtbf, tau, write, restart, background, near, near_restart = (
        float(amount(n, x, "s", **({"above": 0.0} if n in ("work", "mtbf", "interval") else {}))) for n, x in given.items()
    )
    shape, local = float(amount("shape", shape, "", above=0.0)), float(amount("local", local, ""))
    runs, every = (int(amount(n, x, "", least=1, whole=True)) for n, x in (("runs", runs), ("every", every)))
    if local > 1 or (not local and (near or every > 1)):
        raise RangeError(f"local: got {local:g}; wanted a share of failures, more than 0 with local checkpoints, at most 1")
    block = every * (tau + near) + write  # time between checkpoints in storage
    if background > block:
        raise RangeError(f"background: got {background:g} s; wanted at most {block:g} s, the time between two checkpoints")
    if (tau + near + write + restart) / mtbf > 12:
        raise Infeasible(f"an interval of {tau:g} s, a write and a restart of {write + restart:g} s against {mtbf:g} s between failures: "
                         "almost none ends; wanted shorter intervals or rarer failures")  # fmt: skip
    rng = np.random.default_rng(seed)
    scale = mtbf / gamma(1 + 1 / shape)
    done, stored = np.zeros(runs), np.zeros(runs)  # work kept by any checkpoint, and by one in storage
    elapsed, counts = np.zeros(runs), np.zeros(runs, int)
    spent = {name: np.zeros(runs) for name in ("work", "writing", "lost", "restarting")}
    alive = np.arange(runs)
    while alive.size:
        until = scale * rng.weibull(shape, alive.size)
        left = work - done[alive]
        steps = np.ceil(left / tau - 1e-12) - 1  # the last one needs no checkpoint
        finish = left + steps * near + steps // every * write
        ends = until >= finish
        out = alive[ends]
        elapsed[out] += finish[ends]
        spent["writing"][out] += (finish - left)[ends]
        done[out] = work

        alive, until, left = alive[~ends], until[~ends], left[~ends]
        blocks = np.floor(until / block)
        inside = np.minimum(np.floor((until - blocks * block) / (tau + near)), every) if near or every > 1 else 0.0
        safe = np.maximum(np.floor((until - background) / block), 0.0)  # of the blocks, those on disk
        harmless = rng.random(alive.size) < local
        before = done[alive]
        stored[alive] = np.where(safe > 0, before + safe * every * tau, stored[alive])
        kept = np.where(harmless, before + (blocks * every + inside) * tau, stored[alive])
        done[alive] = kept
        wrote = np.where(harmless, blocks * write + (blocks * every + inside) * near, safe * (write + every * near))
        spent["writing"][alive] += wrote
        spent["lost"][alive] += until - wrote - (kept - before)
        counts[alive] += 1
        elapsed[alive] += until

        pause = np.where(harmless, near_restart, restart)
        waiting = np.flatnonzero(pause > 0)
        while waiting.size:  # a restart that fails begins again
            until = scale * rng.weibull(shape, waiting.size)
            took = np.minimum(until, pause[waiting])
            elapsed[alive[waiting]] += took
            spent["restarting"][alive[waiting]] += took
            again = until < pause[waiting]
            counts[alive[waiting[again]]] += 1
            waiting = waiting[again]
    spent["work"] += work
    mean = {name: float(x.mean()) for name, x in spent.items()}
    return FailureRun(
        goodput=work / float(elapsed.mean()), seconds=float(elapsed.mean()), failures=float(counts.mean()), elapsed=elapsed,
        counts=counts, spent=spent, grow=lambda: total("time of a run", [Term(name, x) for name, x in mean.items()]),
    )  # fmt: skip
