"""Pipeline schedules played out: every pass of every micro-batch, with stages and links as unequal as they are.

A stage works through its list in order; a pass begins when the stage is free and what it needs has arrived. Transfers run
beside the work. The lists are those of the papers named in pipeline.py, as Megatron-LM orders them.
"""

from dataclasses import dataclass, field

import numpy as np

from .._check import amount
from ..errors import RangeError
from ..pipeline import check
from ..result import Result, Term, total

FORWARD, BACKWARD = 0, 1


def order(stage, stages, micro_batches, schedule="1f1b", interleave=1):
    """What a stage does, in order: a list of (kind, chunk, micro-batch)."""
    p, m, v, s = stages, micro_batches, interleave, stage
    if schedule == "gpipe":
        return [(FORWARD, 0, i) for i in range(m)] + [(BACKWARD, 0, i) for i in reversed(range(m))]
    if schedule == "1f1b":
        ahead, whole = min(p - s - 1, m), [(0, i) for i in range(m)]
    else:  # rounds of p micro-batches, chunk by chunk
        ahead = min(2 * (p - s - 1) + (v - 1) * p, m * v)
        whole = [(k // p % v, k // (p * v) * p + k % p) for k in range(m * v)]
    back = [(v - 1 - chunk, i) for chunk, i in whole]
    out = [(FORWARD, *whole[k]) for k in range(ahead)]
    for k in range(ahead, len(whole)):
        out += [(FORWARD, *whole[k]), (BACKWARD, *back[k - ahead])]
    return out + [(BACKWARD, *x) for x in back[len(whole) - ahead :]]


@dataclass(frozen=True, kw_only=True)
class PipelineRun(Result):
    """A step played out. rate, bubble, in_flight and memory as in Pipeline; busy and kept hold one entry a stage.

    stage, kind (0 forward, 1 backward), chunk, micro_batch, start and end hold one entry a pass, in order of their start.
    """

    seconds: float
    rate: float
    utilization: float
    bubble: float
    in_flight: float
    memory: float
    busy: np.ndarray = field(repr=False)
    kept: np.ndarray = field(repr=False)
    stage: np.ndarray = field(repr=False)
    kind: np.ndarray = field(repr=False)
    chunk: np.ndarray = field(repr=False)
    micro_batch: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)
    end: np.ndarray = field(repr=False)

    def spans(self):
        """(row, start, end, label) of every pass, as plot.timeline draws them."""
        names = np.array(["forward", "backward"])[self.kind]
        return list(zip(self.stage.tolist(), self.start.tolist(), self.end.tolist(), names.tolist(), strict=True))


def _times(name, value, p, v, m):
    """Seconds as an array (stages, chunks, micro-batches) from a scalar or leading axes of it; chunks share a stage's time."""
    x = amount(name, value, "s")
    if x.ndim > 3 or x.shape != (p, v, m)[: x.ndim]:
        raise RangeError(f"{name}: got shape {x.shape}; wanted a number, or shape ({p},), ({p}, {v}) or ({p}, {v}, {m}): "
                         "stages, chunks, micro-batches")  # fmt: skip
    return np.broadcast_to((x / v if x.ndim < 2 else x).reshape(*x.shape, *(1,) * (3 - x.ndim)), (p, v, m))


def _play(orders, spent, send, p, v):
    """End of every pass, (kind, stage, chunk, micro-batch): each stage goes on until what it waits for has no end yet."""
    m = spent[0].shape[2]
    spent, send = [x.tolist() for x in spent], send.tolist()
    end = [[[[None] * m for _ in range(v)] for _ in range(p)] for _ in range(2)]
    at, free, todo = [0] * p, [0.0] * p, list(range(p))
    while todo:
        s = todo.pop()
        while at[s] < len(orders[s]):
            kind, c, i = orders[s][at[s]]
            if kind == FORWARD:
                t, dc, link = ((s - 1) % p, c - (s == 0), (s - 1) % p)
                ready = 0.0 if s == c == 0 else end[0][t][dc][i]
            else:
                t, dc, link = ((s + 1) % p, c + (s == p - 1), s)
                ready = end[0][s][c][i] if dc == v else end[1][t][dc][i]
            if ready is None:
                break
            moved = p > 1 and not (s == c == 0 if kind == FORWARD else dc == v)
            free[s] = max(free[s], ready + (send[link] if moved else 0.0)) + spent[kind][s][c][i]
            end[kind][s][c][i] = free[s]
            at[s] += 1
            follows = (s + 1) % p if kind == FORWARD else (s - 1) % p
            if follows != s and follows not in todo:
                todo.append(follows)
    return np.array(end)


def simulate_pipeline(forward, backward, *, stages, micro_batches, schedule="1f1b", interleave=1, send=0.0, activations=0.0):
    """Play one step -> PipelineRun.

    forward and backward: seconds of a stage for one micro-batch, one number, or an array of shape (stages,),
    (stages, chunks) or (stages, chunks, micro-batches); send: seconds from a stage to the next one, a number or one for
    each stage (the last goes to the first, between chunks); activations: bytes that a stage keeps of a micro-batch.
    """
    p, m, v = (int(x) for x in check(stages, micro_batches, schedule, interleave))
    spent = np.stack([_times(name, x, p, v, m) for name, x in (("forward", forward), ("backward", backward))])
    send = amount("send", send, "s")
    if send.shape not in ((), (p,)):
        raise RangeError(f"send: got shape {send.shape}; wanted a number or shape ({p},)")
    send = np.broadcast_to(send, (p,))
    orders = [order(s, p, m, schedule, v) for s in range(p)]
    end = _play(orders, spent, send, p, v)

    def seconds(spent=spent, send=send):
        return float(_play(orders, spent, send, p, v).max())

    def faster(stage):
        def turn(scale):
            changed = spent.copy()
            changed[:, stage] /= scale
            return seconds(changed)

        return turn

    kept = np.array([max(np.cumsum([1 if kind == FORWARD else -1 for kind, _, _ in o])) / v for o in orders])
    busy, span = spent.sum(axis=(0, 2, 3)), float(end.max())
    kind, stage, chunk, micro = (x.ravel() for x in np.indices(end.shape))
    ends = end.ravel()
    starts = ends - spent.ravel()
    line = np.lexsort((stage, starts))
    slow = int(busy.argmax())
    full = busy.sum() / (p * span)
    return PipelineRun(
        seconds=span, rate=m / span, utilization=float(full), bubble=float(1 - full), in_flight=float(kept.max()),
        memory=float(kept.max() * amount("activations", activations, "B")), busy=busy, kept=kept, stage=stage[line],
        kind=kind[line], chunk=chunk[line], micro_batch=micro[line], start=starts[line], end=ends[line],
        grow=lambda: total("step", [
            Term(f"work of stage {slow}, the slowest", busy[slow], formula="all its passes"),
            Term("its waiting", span - busy[slow], formula="filling, draining, and for what others send"),
        ]),
        knobs={f"speed of stage {s}": faster(s) for s in range(p)} | {"links": lambda x: seconds(send=send / x)},
    )  # fmt: skip
