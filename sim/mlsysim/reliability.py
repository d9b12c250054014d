"""Failures of a cluster, checkpoints against them, and what stragglers cost.

Components fail at constant rates, independently, and one failure stops the job. Sources: Young 1974; Daly 2006 (a higher
order estimate of the optimum checkpoint interval); Vaidya 1995 (several levels); Garwood 1936 (intervals of a count);
rates: Grattafiori et al. 2024, The Llama 3 Herd of Models, table 5.
"""

from dataclasses import dataclass
from functools import cache
from math import erfc, lgamma

import numpy as np

from ._check import amount
from .constants import Figure
from .errors import RangeError, unknown
from .result import Result, Term, total
from .storage import checkpoint
from .systems import find_cluster
from .training import state_bytes

_SPAN, _GPUS, _NODES = 54 * 86400.0, 16384, 2048
_TABLE = "Grattafiori et al. 2024, The Llama 3 Herd of Models, table 5: 419 interruptions of 16,384 H100 in 54 days"


def _rate(count, pieces, note):
    return Figure(count / (_SPAN * pieces), "1/s", _TABLE, "2024-07", "measured", count**-0.5, note)


# component -> (what there is one of, failures a second of each)
RATES = {
    "device": ("device", _rate(268, _GPUS, "148 GPU, 72 HBM3, 19 SRAM, 17 system processor, 6 silent errors, 6 thermal")),
    "host": ("node", _rate(46, _NODES, "32 maintenance, 3 SSD, 3 power, 2 each of chassis, board, CPU, memory")),
    "network": ("device", _rate(42, _GPUS, "35 switch or cable, 7 network card")),
    "software": ("device", _rate(63, _GPUS, "54 bugs, 7 watchdog of the collectives, 2 dependencies; taken to grow with the devices")),
}


@dataclass(frozen=True, kw_only=True)
class Failures(Result):
    """Failures of a job: rate is failures a second, seconds the mean time between them, share that of each component."""

    headline = "rate"

    rate: np.ndarray
    seconds: np.ndarray
    share: dict

    def expected(self, duration):
        """Failures to expect in `duration` seconds."""
        return self.rate * amount("duration", duration, "s")

    def interval(self, duration, level=0.95):
        """Number of failures in `duration` seconds, from low to high, between which it lies with probability `level`."""
        return poisson(self.expected(duration), level)


def failures(on, *, rates=None):
    """Failures of a job on a Cluster, its components in series -> Failures.

    on is a Cluster or (name of a node, number of devices). rates: component -> ("device", "node" or "job", mean seconds
    between failures of one); without it RATES, measured on one large cluster.
    """
    on = find_cluster(on)
    count = {"device": on.devices, "node": on.nodes, "job": 1}
    each = {}
    for name, (per, value) in (RATES if rates is None else rates).items():
        if per not in count:
            raise unknown(f"place of {name}", per, list(count))
        one = value.value if isinstance(value, Figure) else 1 / amount(f"rates[{name!r}]", value, "s", above=0.0)
        each[name] = count[per] * one
    if not each:
        raise RangeError("rates: got none; wanted at least one component")
    rate = sum(each.values())

    def turn(name):
        return lambda s: rate + each[name] * (1 / s - 1)

    return Failures(
        rate=rate, seconds=1 / rate, share={name: x / rate for name, x in each.items()},
        grow=lambda: total("failures", [Term(n, x, "1/s", f"{count[(rates or RATES)[n][0]]:,} pieces") for n, x in each.items()], "1/s"),
        knobs={f"reliability of {name}": turn(name) for name in each},
    )  # fmt: skip


def _cdf(k, mean):
    """Probability of at most k events where `mean` are expected."""
    i = np.arange(int(k) + 1)
    logs = np.array([lgamma(x + 1) for x in i])
    return min(float(np.exp(i * np.log(max(mean, 1e-300)) - mean - logs).sum()), 1.0)


def _level(level):
    if not 0 < level < 1:
        raise RangeError(f"level: got {level!r}; wanted more than 0 and less than 1")
    return (1 - level) / 2


def poisson(mean, level=0.95):
    """(low, high) between which a Poisson count of that mean lies with probability at least `level`, both ends included."""
    tail, mean = _level(level), float(amount("mean", mean, ""))
    span = int(10 * np.sqrt(mean) + 20)
    near = np.arange(max(int(mean) - span, 0), int(mean) + span)
    logs = np.array([lgamma(x + 1) for x in near])
    below = np.cumsum(np.exp(near * np.log(max(mean, 1e-300)) - mean - logs))
    return int(near[np.searchsorted(below, tail)]), int(near[min(np.searchsorted(below, 1 - tail), near.size - 1)])


def poisson_mean(count, level=0.95):
    """(low, high) of the mean that a count supports at that level of confidence: Garwood's exact interval."""
    tail, count = _level(level), int(amount("count", count, "", whole=True))

    def solve(k, wanted):
        low, high = 0.0, count + 20 * np.sqrt(count + 1.0) + 40
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if _cdf(k, middle) > wanted else (low, middle)
        return (low + high) / 2

    return (float(solve(count - 1, 1 - tail)) if count else 0.0), float(solve(count, tail))


# Checkpoints.


def young(write, mtbf):
    """Seconds of work between checkpoints of `write` seconds that waste least, to first order: sqrt(2 write mtbf)."""
    return np.sqrt(2 * amount("write", write, "s") * amount("mtbf", mtbf, "s", above=0.0))[()]


def daly(write, mtbf):
    """The same to higher order; mtbf where a write takes more than twice of it. Source: Daly 2006."""
    write, mtbf = amount("write", write, "s"), amount("mtbf", mtbf, "s", above=0.0)
    x = np.sqrt(write / (2 * mtbf))
    return np.where(write < 2 * mtbf, np.sqrt(2 * write * mtbf) * (1 + x / 3 + x * x / 9) - write, mtbf)[()]


def optimal(write, mtbf):
    """The interval that wastes least of all: the root of (1 - t/M) exp((t + C)/M) = 1, by Newton's method."""
    c, m = np.broadcast_arrays(amount("write", write, "s", above=0.0), amount("mtbf", mtbf, "s", above=0.0))
    t = np.minimum(np.sqrt(2 * c / m), 0.999)
    for _ in range(50):
        t = np.clip(t - (np.log1p(-t) + t + c / m) / (1 - 1 / (1 - t)), t / 4, (1 + 3 * t) / 4)
    return (t * m)[()]


INTERVALS = {"young": young, "daly": daly, "optimal": optimal}


def first_order_waste(interval, write, mtbf, *, restart=0.0):
    """Waste to first order, write / interval + (interval / 2 + restart) / mtbf. Source: Young 1974."""
    interval, mtbf = amount("interval", interval, "s", above=0.0), amount("mtbf", mtbf, "s", above=0.0)
    return (amount("write", write, "s") / interval + (interval / 2 + amount("restart", restart, "s")) / mtbf)[()]


@dataclass(frozen=True, kw_only=True)
class Checkpointing(Result):
    """Where the time of a job goes: goodput is the share that is kept work; writing, lost and restarting are the rest.

    interval is seconds of work between checkpoints, seconds those of each write for which work stops.
    """

    headline = "goodput"

    goodput: np.ndarray
    interval: np.ndarray
    writing: np.ndarray
    lost: np.ndarray
    restarting: np.ndarray
    seconds: np.ndarray
    mtbf: np.ndarray
    units = {"interval": "s", "mtbf": "s"}

    @property
    def waste(self):
        return 1 - self.goodput


def checkpointing(mtbf, write, *, restart=0.0, interval="daly", background=0.0):
    """Goodput of a job that writes a checkpoint of `write` seconds after every `interval` seconds of work -> Checkpointing.

    interval: seconds, or "young", "daly", "optimal". background: seconds for which a checkpoint is still being written
    while work goes on (asynchronous); until then a failure falls back to the one before. Exact for exponential failures,
    which may hit writes and restarts too; background to first order. Source: Daly 2006.
    """
    mtbf, restart, background = (amount(n, x, "s", **k) for n, x, k in
                                 (("mtbf", mtbf, {"above": 0.0}), ("restart", restart, {}), ("background", background, {})))  # fmt: skip
    write = amount("write", write, "s")
    if isinstance(interval, str) and not any(c.isdigit() for c in interval):
        if interval not in INTERVALS:
            raise unknown("interval", interval, list(INTERVALS))
        tau = np.asarray(INTERVALS[interval](np.maximum(write, 1e-9), mtbf))
    else:
        tau = amount("interval", interval, "s", above=0.0)
    if np.any(background > tau + write):
        raise RangeError(f"background: got {float(np.max(background)):.4g} s; wanted at most interval and write together, "
                         f"{float(np.min(tau + write)):.4g} s, or writes would pile up")  # fmt: skip

    def shares(m=mtbf, c=write, r=restart, w=background):
        whole = m * np.exp(r / m) * np.expm1((tau + c) / m)  # expected time until one interval is kept
        lost = w / m
        kept = tau / whole * (1 - lost)
        again = 1 - np.exp(-r / m)
        return kept[()], (c / whole * (1 - lost))[()], again + 0 * kept

    kept, writing, again = shares()
    lost = 1 - kept - writing - again
    return Checkpointing(
        goodput=kept, interval=(tau + 0 * kept)[()], writing=writing, lost=lost, restarting=again, seconds=(write + 0 * kept)[()],
        mtbf=(mtbf + 0 * kept)[()],
        grow=lambda: Term("goodput", kept, "", "all time less what is wasted", "", (
            Term("all time", 1.0, ""), Term("writing", -writing, "", "work stops for each checkpoint"),
            Term("lost", -lost, "", "work since the last checkpoint"), Term("restarting", -again, ""),
        ), "sum"),
        knobs={
            "time between failures": lambda s: shares(m=mtbf * s)[0], "write bandwidth": lambda s: shares(c=write / s, w=background / s)[0],
            "speed of a restart": lambda s: shares(r=restart / s)[0],
        },
    )  # fmt: skip


def tiered(mtbf, levels):
    """Intervals and waste to first order of several levels of checkpoints -> (interval of each, waste).

    levels: (write, restart, share) each: the share of the failures that this level is needed for; shares add up to 1. A
    level's best interval is that of Young for its own failures. Source: Vaidya 1995.
    """
    mtbf = amount("mtbf", mtbf, "s", above=0.0)
    levels = [tuple(float(amount(f"levels[{i}].{n}", x, "" if n == "share" else "s")) for n, x in
                    zip(("write", "restart", "share"), level, strict=True)) for i, level in enumerate(levels)]  # fmt: skip
    if abs(sum(share for *_, share in levels) - 1) > 1e-9 or any(not share for *_, share in levels):
        raise RangeError(f"levels: the shares of failures are {', '.join(f'{x[2]:g}' for x in levels)}; wanted more than 0, together 1")
    intervals = [young(write, mtbf / share) for write, _, share in levels]
    return intervals, sum(first_order_waste(t, write, mtbf / share, restart=restart)
                          for t, (write, restart, share) in zip(intervals, levels, strict=True))  # fmt: skip


def checkpoint_bytes(params, *, weights=2.0, optimizer=12.0):
    """Bytes of a checkpoint: weights and optimizer state of every parameter, 14 B with mixed-precision Adam."""
    kept = state_bytes(params, weights=weights, gradients=0.0, optimizer=optimizer)
    return kept[0] + kept[2]


def job_goodput(on, params, *, storage=None, each="nvme-gen4", writers=None, restart="5 min", interval="daly", copy=None, rates=None):
    """Goodput of training `params` parameters on a Cluster that keeps checkpoints in storage -> Checkpointing.

    storage, each, writers: as in storage.checkpoint(); unless told a drive in each node. restart: seconds to find the fault
    and start, reading the checkpoint comes on top. copy: rate (B/s a node) at which a node copies its part to host memory,
    after which work goes on while that is written (asynchronous).
    """
    on = find_cluster(on)
    size, mtbf = checkpoint_bytes(params), failures(on, rates=rates).seconds
    disk = checkpoint(size, storage=storage, each=each, writers=on.nodes if writers is None else writers)
    restart = amount("restart", restart, "s") + disk.restore
    if copy is None:
        return checkpointing(mtbf, disk.seconds, restart=restart, interval=interval)
    stall = size / on.nodes / amount("copy", copy, "B/s", above=0.0)
    if isinstance(interval, str) and interval in INTERVALS:
        interval = np.maximum(INTERVALS[interval](stall, mtbf), disk.seconds)
    return checkpointing(mtbf, stall, restart=restart, interval=interval, background=disk.seconds)


# Stragglers.


@cache
def _normal():
    """z, log of the normal distribution function at z."""
    z = np.linspace(-9.0, 9.0, 18001)
    upper = np.array([erfc(x / np.sqrt(2)) / 2 for x in z])
    with np.errstate(divide="ignore"):
        return z, np.where(upper < 0.5, np.log1p(-upper), np.log(upper[::-1]))


def slowest(n, variation, *, distribution="normal"):
    """Mean time of the slowest of n ranks over the mean time of one: what a step that waits for all of them takes.

    variation: standard deviation over mean of a rank's time. "normal", or "exponential": a fixed time and an exponential
    delay. Broadcasts.
    """
    n, variation = np.broadcast_arrays(amount("n", n, "", least=1, whole=True), amount("variation", variation, ""))
    if distribution == "normal":
        z, logs = _normal()
        power = np.exp(n[..., None] * logs)
        standard = z[-1] - np.trapezoid(power, z)
    elif distribution == "exponential":
        if np.any(variation > 1):
            raise RangeError(f"variation: got {float(variation.max()):g}; wanted at most 1, where nothing is fixed")
        x = n + 8.0  # the sum of 1/k up to n, from its expansion further on
        standard = np.log(x) + np.euler_gamma + 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4)
        standard = standard - sum(1 / (n + i) for i in range(1, 9)) - 1
    else:
        raise unknown("distribution", distribution, ["normal", "exponential"])
    return (1 + variation * standard)[()]
