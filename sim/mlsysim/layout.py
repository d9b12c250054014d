"""All ways to lay a training run out over a cluster that fit, fastest first."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from ._check import amount
from .errors import Infeasible, RangeError, SimError
from .models import model as named
from .result import Result, Term
from .systems import find_cluster
from .training import RECOMPUTE, train


@dataclass(frozen=True, kw_only=True)
class Layouts(Result):
    """Layouts that fit, fastest first, one entry each. rate counts tokens a second, memory is that of the fullest rank.

    tried counts all combinations whose degrees divide what they split, best is the Training of the first.
    """

    seconds: np.ndarray
    rate: np.ndarray
    mfu: np.ndarray
    memory: np.ndarray
    tp: np.ndarray
    pp: np.ndarray
    dp: np.ndarray
    micro_batch: np.ndarray
    zero: np.ndarray
    recompute: np.ndarray
    tried: int
    best: Result

    def __len__(self):
        return len(self.seconds)

    def __str__(self):
        from .result import show

        head = f"{'tp':>4} {'pp':>4} {'dp':>6} {'micro':>5} {'zero':>4} {'recompute':<10} {'step':>9} {'mfu':>6} {'memory':>9}"
        if self.shape == ():
            return f"{head}\n{self._line(show)}"
        lines = [self[i]._line(show) for i in range(min(len(self), 20))]
        more = [f"and {len(self) - 20} more"] if len(self) > 20 else []
        return "\n".join([f"{len(self)} layouts that fit, of {np.max(self.tried)} tried", head, *lines, *more])

    def _line(self, show):
        return (f"{self.tp:>4} {self.pp:>4} {self.dp:>6} {self.micro_batch:>5} {self.zero:>4} {self.recompute:<10} "
                f"{show(self.seconds, 's'):>9} {self.mfu:>6.1%} {show(self.memory, 'B'):>9}")  # fmt: skip


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def layouts(model, on, *, batch, tokens, tp=None, pp=None, micro_batch=(1, 2, 4, 8), zero=(0, 1, 2, 3), recompute=RECOMPUTE,
            progress=None, **options):  # fmt: skip
    """Train `batch` sequences of `tokens` tokens in every layout that divides evenly and fits -> Layouts.

    on is a Cluster or (name of a node, number of devices). tp, pp, micro_batch, zero, recompute: what to try; tp is up to a
    node's devices unless told, pp any divisor of the layers. options go to train() as they are. progress(done, all) is
    called after each combination. ZeRO 2 and 3 are not tried with pipelines, which would send gradients or weights once a
    micro-batch.

    Raises Infeasible, with what the smallest layout needs, if none fits; RangeError if none divides evenly.
    """
    m, on = named(model), find_cluster(on)
    batch, tokens = (int(amount(n, x, "", least=1, whole=True)) for n, x in (("batch", batch), ("tokens", tokens)))
    clash = {"allow_infeasible", "run_tokens"} & options.keys()
    if clash:
        raise SimError(f"layouts: {', '.join(sorted(clash))} cannot be given here; pass it to train() with the layout chosen")

    def listed(name, given, default=None):
        if given is None:
            return default
        return [int(x) for x in np.atleast_1d(amount(name, given, "", least=0 if name == "zero" else 1, whole=True))]

    degrees = listed("tp", tp, [d for d in divisors(on.node.count) if _splits(m, d)])
    stages = listed("pp", pp, divisors(m.layers))
    other = int(options.get("cp", 1))
    ways = [str(r) for r in np.atleast_1d(recompute)]
    if options.get("flash", True) and "none" in ways:
        ways = [r for r in ways if r != "selective"]  # without stored scores it is the same
    tries = [
        (t, p, b, z, r)
        for t, p, b, z, r in product(degrees, stages, listed("micro_batch", micro_batch), listed("zero", zero), ways)
        if _splits(m, t) and m.layers % p == 0 and on.devices % (t * p * other) == 0
        and batch % (on.devices // (t * p * other) * b) == 0 and (z < 2 or p == 1)
    ]  # fmt: skip
    if not tries:
        raise RangeError(f"layouts: no tp of {degrees} and pp of {stages} divide {on.devices} devices, the heads and {m.layers} layers of "
                         f"{m.title} and leave replicas that divide a batch of {batch} sequences")  # fmt: skip
    found, least = [], None
    for done, (t, p, b, z, r) in enumerate(tries, 1):
        given = dict(batch=batch, tokens=tokens, tp=t, pp=p, micro_batch=b, zero=z, recompute=r, **options)
        try:
            found.append((train(m, on, **given), given))
        except Infeasible as error:
            least = least or (given, error)
        except RangeError:
            if len(tries) == 1:
                raise
        if progress:
            progress(done, len(tries))
    if not found:
        if least is None:
            raise RangeError(f"layouts: none of {len(tries)} combinations divides evenly with {options}")
        needs = min((train(m, on, **dict(zip(("tp", "pp", "micro_batch", "zero", "recompute"), (t, p, b, z, r), strict=True)),
                           batch=batch, tokens=tokens, allow_infeasible=True, **options)
                     for t, p, b, z, r in tries), key=lambda run: float(run.memory))  # fmt: skip
        raise Infeasible(f"layouts: none of {len(tries)} fits; the smallest (tp={needs.layout['tp']}, pp={needs.layout['pp']}) needs "
                         f"{needs.memory / 1e9:.4g} GB a device, there are {needs.capacity / 1e9:.4g} GB: "
                         f"{needs.memory / needs.capacity:.3g} times that")  # fmt: skip
    found.sort(key=lambda pair: float(pair[0].seconds))
    runs = [run for run, _ in found]

    def column(name):
        return np.array([given[name] for _, given in found])

    seconds = np.array([float(run.seconds) for run in runs])
    return Layouts(
        seconds=seconds, rate=np.array([float(r.rate) for r in runs]), mfu=np.array([float(r.mfu) for r in runs]),
        memory=np.array([float(r.memory) for r in runs]), tp=column("tp"), pp=column("pp"), dp=np.array([r.layout["dp"] for r in runs]),
        micro_batch=column("micro_batch"), zero=column("zero"), recompute=column("recompute"), tried=len(tries), best=runs[0],
        grow=lambda: Term("step", seconds, formula="each as train() gives it"),
    )  # fmt: skip


def _splits(m, tp):
    try:
        return m.check_split(tp) == tp
    except RangeError:
        return False
