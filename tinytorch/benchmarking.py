# Exported from modules/tinytorch/19_benchmarking by `mlsys build`; edit the module's source, not this file.

"""Benchmarking: times with their errors, comparisons that survive noise, and the scenarios of MLPerf.

    measure(f)                       times of single calls, warm-up dropped -> Sample with median and interval
    compare(a, b)                    two programs in turn -> ratio, interval, p value
    single_stream, offline, server   the scenarios, on anything that can be called
    energy(...)                      joules from watts of a data sheet, called an estimate

Errors, each one line: ValueError (no numbers, shares out of range, arrivals out of order).
"""

import math
import time
from dataclasses import dataclass

import numpy as np

KIND = "estimate"


def percentile(values, share):
    """The smallest of values such that at least this share of them is no larger: what a promise about latency means.

    Raises ValueError for no values and for a share that is not from 0 to 1.
    """
    if len(values) == 0 or not 0 <= share <= 1:
        raise ValueError(f"a percentile wants values and a share from 0 to 1, got {len(values)} values and {share}")
    rank = math.ceil(round(share * len(values), 9))
    return float(np.sort(values)[max(rank, 1) - 1])


def warm_from(times, window=10, tolerance=0.05):
    """The first index from which a window of times has a median within a tolerance of that of the last window.

    Raises ValueError, with their number, for fewer than two windows of times.
    """
    if len(times) < 2 * window:
        raise ValueError(f"{len(times)} times are fewer than two windows of {window}; measure longer")
    allowed = (1 + tolerance) * np.median(times[-window:])
    return next(k for k in range(len(times) - window + 1) if np.median(times[k:k + window]) <= allowed)


def median_interval(values, level=0.95):
    """Ends that hold the true median with at least this confidence, whatever the distribution -> two floats.

    Raises ValueError, with their number, for too few values. Independent values are assumed.
    """
    n = len(values)
    below = np.arange(1, max(n // 2, 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(n - below + 1) - np.log(below))]) - n * math.log(2)
    j = int(np.sum(2 * np.cumsum(np.exp(logs)) <= 1 - level + 1e-12)) if n > 1 else 0
    if j == 0:
        raise ValueError(f"{n} values are too few for an interval of the median at {level:.0%}")
    ordered = np.sort(values)
    return float(ordered[j - 1]), float(ordered[n - j])


def bootstrap(values, statistic, rng, level=0.95, resamples=1000):
    """Ends of the middle share `level` of a statistic(array, axis=1) over resamples of values -> two floats.

    Source: Efron 1979, the percentile method.
    """
    values = np.asarray(values)
    drawn = values[rng.integers(0, len(values), (resamples, len(values)))]
    low, high = np.quantile(statistic(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def turns(rounds):
    """The order of `rounds` pairs of runs as a text: "AB", "BA", "AB", ... joined, so that a steady drift cancels."""
    return "".join("AB" if k % 2 == 0 else "BA" for k in range(rounds))


def sign_flip_p(differences, rng, rounds=2000):
    """The share of random signs under which the mean of paired differences is as large in magnitude as it was measured.

    (1 + how many) / (1 + rounds): small if the differences are more than noise. Source: Fisher 1935.
    """
    differences = np.asarray(differences, np.float64)
    means = (rng.choice([-1, 1], (rounds, len(differences))) * differences).mean(axis=1)
    return float((1 + np.sum(np.abs(means) >= abs(differences.mean()) - 1e-12)) / (1 + rounds))


@dataclass(frozen=True)
class Sample:
    """Times of single calls in seconds, warm-up dropped; median with an interval that holds the true one with 95 %."""

    times: np.ndarray
    dropped: int
    median: float
    low: float
    high: float

    def __str__(self):
        return (f"{self.median * 1e6:.1f} µs, {self.low * 1e6:.1f} to {self.high * 1e6:.1f} (95 %), {len(self.times)} calls after "
                f"{self.dropped} of warm-up")


@dataclass(frozen=True)
class Comparison:
    """How many times as long as B A takes: a median of paired ratios, its interval (95 %), and a p value of no difference."""

    ratio: float
    low: float
    high: float
    p: float

    def __str__(self):
        said = "no difference shown" if self.p > 0.01 else ("A is slower" if self.ratio > 1 else "A is faster")
        return f"A / B = {self.ratio:.3f}, {self.low:.3f} to {self.high:.3f} (95 %), p = {self.p:.4f}: {said}"


def measure(f, seconds=0.3, clock=time.perf_counter, least=40, most=10_000):
    """Time single calls of f for about so many seconds -> Sample."""
    times, begin = [], clock()
    while len(times) < least or (clock() - begin < seconds and len(times) < most):
        start = clock()
        f()
        times.append(clock() - start)
    times = np.array(times)
    dropped = warm_from(times)
    kept = times[dropped:]
    return Sample(kept, dropped, float(np.median(kept)), *median_interval(kept))


def compare(a, b, rounds=40, clock=time.perf_counter, seed=0):
    """Time two programs in turn -> Comparison. Two rounds of warm-up are not counted."""
    times = {"A": [], "B": []}
    for which in turns(rounds + 2):
        start = clock()
        (a if which == "A" else b)()
        times[which].append(clock() - start)
    ratios = np.log(times["A"][2:]) - np.log(times["B"][2:])
    low, high = median_interval(ratios)
    ranks = np.sign(ratios) * (1 + np.argsort(np.argsort(np.abs(ratios))))      # one call that was interrupted decides nothing
    return Comparison(math.exp(np.median(ratios)), math.exp(low), math.exp(high), sign_flip_p(ranks, np.random.default_rng(seed)))


def queued(arrivals, services):
    """Latencies, from arrival to end, of requests that one server takes in order of arrival; all in seconds.

    Raises ValueError for arrivals that are not in order.
    """
    if np.any(np.diff(arrivals) < 0):
        raise ValueError("arrivals are not in order of time")
    latencies, free = np.empty(len(arrivals)), -math.inf
    for i, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        free = max(arrival, free) + service
        latencies[i] = free - arrival
    return latencies


def highest_rate(gaps, services, bound, share=0.99, steps=30):
    """The highest rate (1/s), by bisection, at which the percentile of latencies keeps its bound (s); 0 if none does.

    gaps: draws of an exponential distribution of mean 1, divided by a rate between arrivals; services: seconds of each.
    """
    low, high = 0.0, 1 / float(np.mean(services))
    for _ in range(steps):
        middle = (low + high) / 2
        if percentile(queued(np.cumsum(gaps) / middle, services), share) <= bound:
            low = middle
        else:
            high = middle
    return low


def single_stream(f, queries=200, share=0.9):
    """MLPerf's single stream: one query after the other -> the 90th percentile of latency, in seconds."""
    return percentile(measure(f, seconds=0, least=queries).times, share)


def offline(f, batch, seconds=0.5):
    """MLPerf's offline: all queries are there at once, f takes a batch of them -> queries/s."""
    return batch / measure(f, seconds=seconds).median


def server(f, bound, queries=500, share=0.99, seed=0):
    """MLPerf's server: Poisson arrivals -> the highest rate (1/s) whose 99th percentile of latency keeps its bound.

    Services are measured one by one; arrivals and the queue are simulated over them, so that a rate is found in one run.
    """
    services = measure(f, seconds=0, least=queries).times
    gaps = np.random.default_rng(seed).exponential(size=len(services))
    return highest_rate(gaps, services, bound, share)


def energy(seconds, idle_watts, busy_watts, utilisation):
    """Joules of something that takes so many seconds, from data-sheet powers -> {"joules", "low", "high", "kind"}.

    Raises ValueError for a utilisation that is not from 0 to 1 and a busy power below the idle one.
    """
    if not 0 <= utilisation <= 1 or busy_watts < idle_watts:
        raise ValueError(f"utilisation is from 0 to 1 and busy power at least idle power, got {utilisation}, "
                         f"{busy_watts} and {idle_watts} W")
    watts = idle_watts + utilisation * (busy_watts - idle_watts)
    return {"joules": seconds * watts, "low": seconds * idle_watts, "high": seconds * busy_watts, "kind": KIND}
