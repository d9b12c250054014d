"""Pipelines of equal stages in closed form: idle time and what a stage keeps; unequal stages: simulate/pipeline.py.

Sources: Huang et al. 2019 (GPipe); Narayanan et al. 2019 and 2021 (one forward, one backward; interleaved).
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .errors import RangeError, unknown
from .result import Result, Term, total

SCHEDULES = ("gpipe", "1f1b", "interleaved")


def check(stages, micro_batches, schedule, interleave):
    """The counts as arrays. Raises RangeError for chunks of another schedule, or micro-batches in no full rounds of stages."""
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, list(SCHEDULES))
    p, m, v = (amount(name, x, "", least=1, whole=True) for name, x in
               dict(stages=stages, micro_batches=micro_batches, interleave=interleave).items())  # fmt: skip
    if schedule != "interleaved" and np.any(v != 1):
        raise RangeError(f"interleave: got {v[()]:g} with schedule {schedule!r}; wanted 1, or schedule 'interleaved'")
    if schedule == "interleaved" and np.any(m % p):
        got, of = (x[m % p != 0].flat[0] for x in np.broadcast_arrays(m, p))
        raise RangeError(f"micro_batches: got {got:g}; interleaved chunks go in rounds, so wanted a multiple of {of:g} stages")
    return p, m, v


def bubble(stages, micro_batches, *, schedule="1f1b", interleave=1):
    """Share of the time in which a stage of equal ones is idle: (p - 1) / (v m + p - 1). Broadcasts."""
    p, m, v = check(stages, micro_batches, schedule, interleave)
    return ((p - 1) / (v * m + p - 1))[()]


def in_flight(stages, micro_batches, *, stage=0, schedule="1f1b", interleave=1):
    """Micro-batches whose activations a stage keeps at most, counted in whole stages: a chunk is 1/interleave. Broadcasts.

    GPipe keeps all m; one forward, one backward keeps p - stage, which no number of micro-batches raises.
    """
    p, m, v = check(stages, micro_batches, schedule, interleave)
    stage = amount("stage", stage, "", whole=True)
    if np.any(stage >= p):
        raise RangeError(f"stage: got {np.max(stage):g}; wanted less than {np.min(p):g} stages, counted from 0")
    if schedule == "gpipe":
        return (m + 0 * p)[()]
    if schedule == "1f1b":
        return np.minimum(m, p - stage)[()]
    return (np.minimum(v * m, 2 * (p - stage - 1) + (v - 1) * p + 1) / v)[()]


@dataclass(frozen=True, kw_only=True)
class Pipeline(Result):
    """One step of a pipeline. rate counts micro-batches a second, utilization is the share of time that stages work.

    in_flight is micro-batches kept by the first stage, memory their bytes.
    """

    seconds: np.ndarray
    rate: np.ndarray
    utilization: np.ndarray
    bubble: np.ndarray
    in_flight: np.ndarray
    memory: np.ndarray


def pipeline(forward, backward, *, stages, micro_batches, schedule="1f1b", interleave=1, activations=0.0):
    """A step of equal stages, without transfers -> Pipeline. All numbers broadcast.

    forward and backward are seconds of one micro-batch in one stage (all its chunks), activations the bytes that a stage
    keeps of one micro-batch.
    """
    p, m, v = check(stages, micro_batches, schedule, interleave)
    f, b = amount("forward", forward, "s", above=0.0), amount("backward", backward, "s")
    kept = in_flight(p, m, schedule=schedule, interleave=v)

    def seconds(f=f, b=b, m=m):
        return ((m + (p - 1) / v) * (f + b))[()]

    idle = bubble(p, m, schedule=schedule, interleave=v) + 0 * seconds()
    return Pipeline(
        seconds=seconds(), rate=m / seconds(), utilization=1 - idle, bubble=idle, in_flight=kept,
        memory=kept * amount("activations", activations, "B"),
        grow=lambda: total("step", [
            Term("forward", m * f, formula="micro-batches x time of a stage"), Term("backward", m * b),
            Term("bubble", (p - 1) / v * (f + b), formula="(stages - 1) / chunks x one micro-batch"),
        ]),
        knobs={"speed of all stages": lambda s: seconds(f / s, b / s), "micro-batches": lambda s: seconds(m=m * s) / s},
    )  # fmt: skip
