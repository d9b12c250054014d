# %% [markdown]
# # TinyTorch 19: Benchmarking
#
# "Our kernel is 1.31 times faster." Measured once each, the new one last, after the processor had warmed up and the
# cache was full; on the next morning it is 0.97. Nothing in the program was wrong. The number had an error of 40 %, and
# nobody had asked for it. A benchmark is an experiment: it has noise, bias and a claim, and it can be wrong in ways that
# no test of the code will find.
#
# **Where it sits.** What you write is exported as `tinytorch/benchmarking.py`. It times anything that can be called.
#
# | module | what it has to do with benchmarks |
# |---|---|
# | 14 profiling | says where time goes inside of one run; here it is about many runs |
# | 15 to 18 | each claims that something became faster: with which error? |
# | lab V1-13 | tails under load, by formula and by simulation; here they are measured |
# | 20 capstone | every claim of it has to pass through here |
#
# **Afterwards you can**
# 1. drop a warm-up by rule and not by eye;
# 2. put an interval on a median, exactly and by resampling, and say what it means;
# 3. compare two programs on a noisy machine so that neither drift nor order decides;
# 4. run the scenarios by which the field compares systems: single stream, server, offline;
# 5. see through three benchmarks that look right.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases bring ties, few numbers, bursts and degenerate samples. Every function is judged by itself, on given numbers: no
# grade hangs on how fast or how quiet your machine is. You need NumPy. Two and a half hours are typical.

# %%
#| export
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

# %%
from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Linear, Sequential, Tensor, autograd, relu

# %% [markdown]
# ## 1. One number for many
#
# Ten calls took 10, 10, 10, 10, 10, 10, 10, 10, 10 and 110 ms. The mean is 20 ms, and no call took 20 ms. Noise on a
# computer has one sign: interrupts, cold caches and other programs make calls longer, never shorter. So the **median**
# says what a call usually takes, the minimum what it takes undisturbed, and high **percentiles** what users complain
# about. The mean serves one purpose: total cost.
#
# Definitions of percentiles differ. The one for service promises, "99 % of requests within x", has no interpolation in
# it: the smallest measured value x such that at least that share of all values is ≤ x. The 50th percentile of 1, 2, 3, 4
# is 2, the 51st is 3.
#
# **Exercise 1.1** This percentile, for a share from 0 to 1; share 0 gives the smallest value. Beware of products such as
# 0.07 · 100, which floats put above 7. No numbers, or another share, are refused.

# %% solution="percentile"
#| export
def percentile(values, share):
    """The smallest of values such that at least this share of them is no larger: what a promise about latency means.

    Raises ValueError for no values and for a share that is not from 0 to 1.
    """
    ### BEGIN SOLUTION
    if len(values) == 0 or not 0 <= share <= 1:
        raise ValueError(f"a percentile wants values and a share from 0 to 1, got {len(values)} values and {share}")
    rank = math.ceil(round(share * len(values), 9))
    return float(np.sort(values)[max(rank, 1) - 1])
    ### END SOLUTION


# %% check="percentile" points=3
def at_share(values, share):
    try:
        return percentile(np.array(values, "float64"), share)
    except ValueError as error:
        return {"the message names the share": str(share) in str(error)}

check("percentile", [case([1, 2, 3, 4], 0.5), case([4, 3, 2, 1], 0.51), case([7.0], 0.0), case([1.0], 1.5)], call=at_share)

# %% hidden="percentile"
def cases(rng):
    for n in (9, 20, 101):
        values = [float(v) for v in rng.exponential(size=n)]
        for share in (0.5, 0.9, 0.99):
            yield case(values, share, behaviour="a value that was measured, never one between")
    for n, share in ((100, 0.07), (100, 0.29), (1000, 0.57), (10, 0.3), (50, 0.14)):
        yield case([float(v) for v in rng.permutation(n)], share, behaviour="shares that hit a rank exactly")
    yield case([2.0, 2.0, 1.0, 1.0], 0.5, behaviour="ties, one value, both ends")
    yield case([float(v) for v in rng.permutation(8)], 0.0, behaviour="ties, one value, both ends")
    yield case([float(v) for v in rng.permutation(8)], 1.0, behaviour="ties, one value, both ends")
    for values, share in (([], 0.5), ([1.0], -0.1), ([1.0], float("nan"))):
        yield case(values, share, behaviour="nothing, and other shares, are refused")


# %% [markdown]
# ## 2. When does it begin
#
# The first calls are different: code is loaded, memory is asked for, caches are empty, the clock of the processor rises.
# "We drop the first ten" is a habit and no rule: it drops too few here and too many there.
#
# A rule: the run is warm from the first call k on at which the median of the next w calls is at most 1 + t times the
# median of the last w calls.
#
# **Worked example.** 9, 7, 4, 3, 3, 3, 3 with w = 3 and t = 10 %. The last three have median 3, so up to 3.3 is allowed.
# From k = 0: median(9, 7, 4) = 7; k = 1: 4; k = 2: median(4, 3, 3) = 3. Warm from the third call on.
#
# **Exercise 2.1** This k. With fewer than 2 w values nothing can be said: refuse, naming how many there are.

# %% solution="warm_from"
#| export
def warm_from(times, window=10, tolerance=0.05):
    """The first index from which a window of times has a median within a tolerance of that of the last window.

    Raises ValueError, with their number, for fewer than two windows of times.
    """
    ### BEGIN SOLUTION
    if len(times) < 2 * window:
        raise ValueError(f"{len(times)} times are fewer than two windows of {window}; measure longer")
    allowed = (1 + tolerance) * np.median(times[-window:])
    return next(k for k in range(len(times) - window + 1) if np.median(times[k:k + window]) <= allowed)
    ### END SOLUTION


# %% check="warm_from" points=4
def begun(times, **options):
    try:
        return int(warm_from(np.array(times, "float64"), **options))
    except ValueError as error:
        return {"the message names": str(len(times)) in str(error)}

check("warm_from", [
    case([9, 7, 4, 3, 3, 3, 3], window=3, tolerance=0.1),
    case([3, 3, 3, 3, 3, 3], window=3),
    case([1, 2, 3, 4, 5], window=3),
], call=begun)

# %% hidden="warm_from"
def cases(rng):
    for n, half in ((60, 5.0), (80, 12.0), (50, 2.0)):
        times = [float(v) for v in 1 + 4 * np.exp(-np.arange(n) / half) + rng.exponential(0.02, n)]
        yield case(times, behaviour="a start that dies away")
        yield case(times, window=5, tolerance=0.2, behaviour="a start that dies away")
    steps = [float(v) for v in np.repeat([3.0, 2.0, 1.0], 15)]
    yield case(steps, behaviour="steps, outliers, warm from the start")
    outliers = np.ones(40)
    outliers[[2, 7, 20]] = 50.0
    yield case([float(v) for v in outliers], behaviour="steps, outliers, warm from the start")
    yield case([float(v) for v in rng.uniform(1, 1.01, 30)], behaviour="steps, outliers, warm from the start")
    yield case([5.0, 1.0, 1.0, 1.0], window=2, behaviour="exactly two windows, and fewer")
    for n in (0, 7, 19):
        yield case([1.0] * n, behaviour="exactly two windows, and fewer")


# %% [markdown]
# ## 3. How sure
#
# A median of 20 measurements is one draw. What interval holds the true median with a confidence of 95 %? It needs no
# assumption about the noise. Each measurement lies below the true median with probability 1/2, so the number of those
# below is binomial. Sort them; the interval from the j-th smallest to the j-th largest misses if fewer than j lie below,
# or fewer than j above:
#
# $$P(\text{miss}) = 2 \sum_{i=0}^{j-1} \binom{n}{i} 2^{-n} \le 1 - \text{level}$$
#
# Take the largest j, n / 2 at most, for which that holds. **Worked example.** n = 10: for j = 1 it is 2 / 1024 = 0.2 %, for j = 2
# 2 · 11 / 1024 = 2.1 %, for j = 3 2 · 56 / 1024 = 10.9 %. So j = 2: from the second smallest to the second largest.
#
# **Exercise 3.1** This interval. Five values are too few for 95 %, since even j = 1 misses in 6.25 %: refuse, with the
# number of values. A thousand values are common, and their binomial coefficients are beyond any float: add logarithms.
#
# For other statistics, such as a 99th percentile or a ratio of medians, there is the **bootstrap** (Efron 1979): draw n of
# the n values with replacement, compute the statistic, a thousand times, and take what lies in the middle. It is
# approximate, and for extreme percentiles of few values it is bad: values that were never measured cannot be drawn.
#
# **Exercise 3.2** The bootstrap. Draw all indices at once by `rng.integers(0, n, (resamples, n))`, apply
# `statistic(array, axis=1)`, and take the shares (1 − level) / 2 and (1 + level) / 2 by `np.quantile`.

# %% solution="median_interval"
#| export
def median_interval(values, level=0.95):
    """Ends that hold the true median with at least this confidence, whatever the distribution -> two floats.

    Raises ValueError, with their number, for too few values. Independent values are assumed.
    """
    ### BEGIN SOLUTION
    n = len(values)
    below = np.arange(1, max(n // 2, 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(n - below + 1) - np.log(below))]) - n * math.log(2)
    j = int(np.sum(2 * np.cumsum(np.exp(logs)) <= 1 - level + 1e-12)) if n > 1 else 0
    if j == 0:
        raise ValueError(f"{n} values are too few for an interval of the median at {level:.0%}")
    ordered = np.sort(values)
    return float(ordered[j - 1]), float(ordered[n - j])
    ### END SOLUTION


# %% solution="bootstrap"
#| export
def bootstrap(values, statistic, rng, level=0.95, resamples=1000):
    """Ends of the middle share `level` of a statistic(array, axis=1) over resamples of values -> two floats.

    Source: Efron 1979, the percentile method.
    """
    ### BEGIN SOLUTION
    values = np.asarray(values)
    drawn = values[rng.integers(0, len(values), (resamples, len(values)))]
    low, high = np.quantile(statistic(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
    ### END SOLUTION


# %% check="median_interval" points=5
def held(values, level=0.95):
    try:
        return median_interval(np.array(values, "float64"), level)
    except ValueError as error:
        return {"the message names": str(len(values)) in str(error)}

check("median_interval", [case([3, 1, 4, 1, 5, 9, 2, 6, 5, 3]), case([1, 2, 3, 4, 5]), case([1, 2, 3, 4, 5], level=0.9)], call=held)

# %% hidden="median_interval"
def cases(rng):
    for n in (6, 8, 13, 30, 100, 1100):
        yield case([float(v) for v in rng.exponential(size=n)], behaviour="order statistics by the binomial")
    for level in (0.5, 0.8, 0.99, 0.999):
        yield case([float(v) for v in rng.normal(size=25)], level, behaviour="other levels")
    yield case([2.0] * 7 + [1.0], behaviour="ties")
    for n, level in ((0, 0.95), (1, 0.95), (4, 0.95), (7, 0.99)):
        yield case([float(v) for v in range(n)], level, behaviour="too few values are refused")


# %% check="bootstrap" points=4
def resampled(values, name, seed, **options):
    statistic = {"mean": np.mean, "median": np.median, "spread": lambda a, axis: a.max(axis) - a.min(axis)}[name]
    return bootstrap(np.array(values, "float64"), statistic, np.random.default_rng(seed), **options)

check("bootstrap", [case([1.0, 2.0, 4.0], "mean", 0), case([1.0, 2.0, 4.0], "median", 1, level=0.5, resamples=50)], call=resampled)

# %% hidden="bootstrap"
def cases(rng):
    for name in ("mean", "median", "spread"):
        for n in (5, 20):
            yield case([float(v) for v in rng.exponential(size=n)], name, int(rng.integers(999)), behaviour="the middle of all resamples")
    yield case([float(v) for v in rng.normal(size=9)], "mean", 4, level=0.8, resamples=200, behaviour="other levels, one value")
    yield case([3.0], "median", 5, behaviour="other levels, one value")


# %% [markdown]
# Does "95 %" hold? Ten thousand experiments of 15 exponential times each, whose true median is known: how often does the
# interval hold it?

# %% show
rng = np.random.default_rng(0)
experiments = rng.exponential(size=(10_000, 15))
inside = np.mean([low <= np.log(2) <= high for low, high in map(median_interval, experiments)])
means = np.mean([abs(e.mean() - 1) <= 1.96 * e.std(ddof=1) / np.sqrt(15) for e in experiments])
print(f"the interval of the median holds it in {inside:.1%} of the experiments (at least 95 % promised)")
print(f"mean ± 1.96 standard errors holds the true mean in {means:.1%}: few skewed values are no normal distribution")

# %% [markdown]
# ## 4. A against B
#
# Two programs, one machine, and the machine changes: it gets warmer, others come and go. Run A a hundred times and then
# B a hundred times, and whatever happened in between is in the result. Run them in turn, and it hits both. In the order
# ABAB… a steady drift still favours whoever comes first; in **ABBA** it cancels.
#
# Now the measurements come in pairs, and one asks about differences d = log a − log b of pairs: a ratio as a difference.
# Is their mean more than noise? If A and B were the same, each d might as well have had the other sign. So flip signs at
# random, many times, and see how often a mean as large as the one that was measured comes out. That share is the
# **p value**; one is added above and below, since what was measured is one of the possible ones.
#
# **Exercise 4.1** The order of a comparison of some rounds: a text of A and B, pair by pair, ABBA ABBA …
#
# **Exercise 4.2** The p value. Draw signs at once by `rng.choice([-1, 1], (rounds, n))`. Means count as large as the
# measured one if they are at most 10⁻¹² smaller in magnitude.

# %% solution="turns"
#| export
def turns(rounds):
    """The order of `rounds` pairs of runs as a text: "AB", "BA", "AB", ... joined, so that a steady drift cancels."""
    ### BEGIN SOLUTION
    return "".join("AB" if k % 2 == 0 else "BA" for k in range(rounds))
    ### END SOLUTION


# %% solution="sign_flip_p"
#| export
def sign_flip_p(differences, rng, rounds=2000):
    """The share of random signs under which the mean of paired differences is as large in magnitude as it was measured.

    (1 + how many) / (1 + rounds): small if the differences are more than noise. Source: Fisher 1935.
    """
    ### BEGIN SOLUTION
    differences = np.asarray(differences, np.float64)
    means = (rng.choice([-1, 1], (rounds, len(differences))) * differences).mean(axis=1)
    return float((1 + np.sum(np.abs(means) >= abs(differences.mean()) - 1e-12)) / (1 + rounds))
    ### END SOLUTION


# %% check="turns" points=2
check("turns", [case(1), case(4)], compare="value")

# %% hidden="turns"
def cases(rng):
    for rounds in (2, 3, 5, 8, 13):
        yield case(rounds, behaviour="pairs, turned round every other time")
    yield case(0, behaviour="no rounds")


# %% check="sign_flip_p" points=5
def flipped(differences, seed, rounds=2000):
    return sign_flip_p(np.array(differences, "float64"), np.random.default_rng(seed), rounds)

check("sign_flip_p", [case([0.1, 0.2, 0.15, 0.12], 0), case([0.1, -0.1], 1, rounds=100)], call=flipped)

# %% hidden="sign_flip_p"
def cases(rng):
    for n, shift in ((10, 0.3), (20, 0.0), (15, -0.5), (8, 0.05)):
        yield case([float(v) for v in rng.normal(shift, 0.3, n)], int(rng.integers(999)),
                   behaviour="both directions, what was measured included")
    yield case([0.0] * 6, 3, behaviour="no difference at all, one pair, few rounds")
    yield case([0.4], 4, rounds=99, behaviour="no difference at all, one pair, few rounds")
    yield case([float(v) for v in rng.normal(2, 0.1, 30)], 5, rounds=49, behaviour="no difference at all, one pair, few rounds")


# %%
#| export
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

# %% [markdown]
# A mean has a weak point: one call that the system interrupts for a second outweighs 39 others, and a difference of 10 % is
# lost in it. `compare` therefore flips the signs of **ranks**: of the differences in the order of their magnitude, the smallest
# counts 1, the next one 2, each with its sign (Wilcoxon 1945). The median and its interval do not notice such a call either.
#
# Two programs that are the same, and two of which one does 10 % more, on your machine. Predict: **by what factor do the
# longest and the shortest of 200 equal calls differ?**

# %% predict="spread_of_equal" points=1
# predict("spread_of_equal", "number", low="number", high="number")
### BEGIN SOLUTION
predict("spread_of_equal", "4", low="1.5", high="30")
### END SOLUTION

# %% show
rng = np.random.default_rng(1)
a, b = rng.normal(size=(160, 160)).astype("float32"), rng.normal(size=(160, 160)).astype("float32")


def work(n=10):
    for _ in range(n):
        a @ b


work(50)
times = []
for _ in range(200):
    start = time.perf_counter()
    work()
    times.append(time.perf_counter() - start)
reveal("spread_of_equal", f"{max(times) / min(times):.3g}")
print("one program:       ", measure(work))
print("the same twice:    ", compare(work, work))
print("10 % more work in A:", compare(lambda: work(11), work))

# %% [markdown]
# ## 5. Under load
#
# A server gets requests when they come, not when it is ready. Requests that arrive while it works have to wait, and
# latency is measured from **arrival**. With one server and first come, first served, request i starts when it has
# arrived and the one before is done:
#
# $$\text{start}_i = \max(\text{arrival}_i, \text{end}_{i-1}), \qquad \text{end}_i = \text{start}_i + \text{service}_i, \qquad
# \text{latency}_i = \text{end}_i - \text{arrival}_i$$
#
# **Worked example.** Arrivals 0, 1, 5; each takes 3. Starts 0, 3, 6; ends 3, 6, 9; latencies 3, 5, 4.
#
# **Exercise 5.1** These latencies. Arrivals that are out of order are refused.
#
# MLPerf's **server** scenario (Reddi et al. 2020) asks: at which rate of Poisson arrivals can the system still keep its
# promise on the 99th percentile? Gaps between Poisson arrivals are exponential. If gaps are drawn once for a rate of 1 a
# second, then dividing them by a rate gives arrivals at that rate, and latencies grow with it, so that the highest rate
# can be found by bisection.
#
# **Exercise 5.2** The highest rate, among those that a bisection of so many steps visits: start with `low` 0 and `high`
# 1 / mean service time; test the middle; if the promise holds there, it becomes `low`, else `high`; the result is `low`.
# Arrivals at a rate are the cumulative sums of gaps / rate. The promise: `percentile` of latencies at `share` ≤ `bound`.

# %% solution="queued"
#| export
def queued(arrivals, services):
    """Latencies, from arrival to end, of requests that one server takes in order of arrival; all in seconds.

    Raises ValueError for arrivals that are not in order.
    """
    ### BEGIN SOLUTION
    if np.any(np.diff(arrivals) < 0):
        raise ValueError("arrivals are not in order of time")
    latencies, free = np.empty(len(arrivals)), -math.inf
    for i, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        free = max(arrival, free) + service
        latencies[i] = free - arrival
    return latencies
    ### END SOLUTION


# %% solution="highest_rate"
#| export
def highest_rate(gaps, services, bound, share=0.99, steps=30):
    """The highest rate (1/s), by bisection, at which the percentile of latencies keeps its bound (s); 0 if none does.

    gaps: draws of an exponential distribution of mean 1, divided by a rate between arrivals; services: seconds of each.
    """
    ### BEGIN SOLUTION
    low, high = 0.0, 1 / float(np.mean(services))
    for _ in range(steps):
        middle = (low + high) / 2
        if percentile(queued(np.cumsum(gaps) / middle, services), share) <= bound:
            low = middle
        else:
            high = middle
    return low
    ### END SOLUTION


# %%
def plain_queue(arrivals, services):
    """What `queued` gives, by sums and running maxima, so that each function is judged by itself."""
    done = np.cumsum(services)
    return done + np.maximum.accumulate(np.asarray(arrivals) - (done - services)) - arrivals


def plain_percentile(values, share):
    return float(np.sort(values)[max(math.ceil(round(share * len(values), 9)), 1) - 1])


class Given:
    """Inside, the notebook's own functions are the given ones."""

    def __enter__(self):
        self.own = {name: globals().get(name) for name in ("queued", "percentile")}
        globals().update(queued=plain_queue, percentile=plain_percentile)

    def __exit__(self, *_):
        globals().update(self.own)


# %% check="queued" points=4
def waited(arrivals, services):
    try:
        return queued(np.array(arrivals, "float64"), np.array(services, "float64"))
    except ValueError as error:
        return "refused: order" if "order" in str(error) else "refused"

check("queued", [case([0, 1, 5], [3, 3, 3]), case([0, 2, 1], [1, 1, 1])], call=waited)

# %% hidden="queued"
def cases(rng):
    for n, load in ((10, 0.5), (30, 0.9), (40, 1.2)):
        arrivals = np.cumsum(rng.exponential(1 / load, n))
        yield case([float(v) for v in arrivals], [float(v) for v in rng.exponential(size=n)], behaviour="waiting for those before")
    yield case([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], behaviour="bursts, idle times, nothing")
    yield case([100.0, 200.0], [1.0, 1.0], behaviour="bursts, idle times, nothing")
    yield case([], [], behaviour="bursts, idle times, nothing")
    yield case([-5.0, -4.0, 3.0], [2.0, 2.0, 1.0], behaviour="bursts, idle times, nothing")
    yield case([3.0, 1.0], [1.0, 1.0], behaviour="arrivals out of order are refused")


# %% check="highest_rate" points=5
def rate_of(gaps, services, bound, **options):
    with Given():
        return highest_rate(np.array(gaps, "float64"), np.array(services, "float64"), bound, **options)

check("highest_rate", [case([1.0] * 20, [0.1] * 20, 0.1), case([1.0] * 20, [0.1] * 20, 0.05)], call=rate_of, rtol=1e-6)

# %% hidden="highest_rate"
def cases(rng):
    for factor, share in ((3.0, 0.99), (10.0, 0.99), (2.0, 0.9)):
        services = rng.gamma(4, 0.0025, 400)
        yield case([float(v) for v in rng.exponential(size=400)], [float(v) for v in services], float(factor * services.mean()),
                   share=share, behaviour="the promise at the tail")
    services = [0.01] * 300
    yield case([float(v) for v in rng.exponential(size=300)], services, 0.03, steps=12, behaviour="few steps, promises that cannot be kept")
    yield case([float(v) for v in rng.exponential(size=300)], services, 0.009, behaviour="few steps, promises that cannot be kept")
    yield case([float(v) for v in rng.exponential(size=300)], services, 100.0, behaviour="few steps, promises that cannot be kept")


# %%
#| export
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

# %% [markdown]
# All three on one model. Predict: **what share of the offline rate does the server scenario reach**, where offline takes
# batches of 32 and the server may take four times the median of a single query at the 99th percentile?

# %% predict="server_share" points=1
# predict("server_share", "number", low="number", high="number")
### BEGIN SOLUTION
predict("server_share", "0.05", low="0.01", high="0.3")
### END SOLUTION

# %% show
rng = np.random.default_rng(2)
model = Sequential(Linear(256, 512, rng=rng), relu, Linear(512, 512, rng=rng), relu, Linear(512, 10, rng=rng))
one, many = (Tensor(rng.normal(size=(n, 256)), "float32") for n in (1, 32))
with autograd.no_grad():
    alone = measure(lambda: model(one))
    fastest = offline(lambda: model(many), 32)
    rate = server(lambda: model(one), 4 * alone.median)
    latency = single_stream(lambda: model(one))
reveal("server_share", f"{rate / fastest:.3g}")
print(f"single stream: {latency * 1e6:.0f} µs at the 90th percentile, so {1 / latency:,.0f} queries/s")
print(f"offline:       {fastest:,.0f} queries/s in batches of 32")
print(f"server:        {rate:,.0f} queries/s with 99 % within {4 * alone.median * 1e6:.0f} µs")

# %% [markdown]
# Three numbers for one model on one machine, and all three are right. A comparison of systems that does not say which of
# them it means compares nothing.
#
# ## 6. Joules
#
# Few machines tell what they draw. What can be computed is an **estimate**: a share of busy time at the power of the data
# sheet, the rest at idle power. It has to be called that, and it has an interval: the truth lies between doing all the
# work at idle power and doing it at full power.
#
# **Exercise 6.1** Joules for one query from its seconds and the utilisation u while it runs (0 to 1): between idle and
# busy power, linear in u. A dict with "joules", "low" (u = 0), "high" (u = 1) and "kind", which is `KIND`. Refuse
# utilisations outside of 0 to 1, and a busy power below idle, with a ValueError.

# %% solution="energy"
#| export
def energy(seconds, idle_watts, busy_watts, utilisation):
    """Joules of something that takes so many seconds, from data-sheet powers -> {"joules", "low", "high", "kind"}.

    Raises ValueError for a utilisation that is not from 0 to 1 and a busy power below the idle one.
    """
    ### BEGIN SOLUTION
    if not 0 <= utilisation <= 1 or busy_watts < idle_watts:
        raise ValueError(f"utilisation is from 0 to 1 and busy power at least idle power, got {utilisation}, "
                         f"{busy_watts} and {idle_watts} W")
    watts = idle_watts + utilisation * (busy_watts - idle_watts)
    return {"joules": seconds * watts, "low": seconds * idle_watts, "high": seconds * busy_watts, "kind": KIND}
    ### END SOLUTION


# %% check="energy" points=3
def joules(*arguments):
    try:
        return energy(*arguments)
    except ValueError as error:
        return {"refused": "utilisation" in str(error) or "power" in str(error)}

check("energy", [case(0.5, 10.0, 70.0, 0.5), case(1.0, 10.0, 70.0, 1.5)], call=joules)

# %% hidden="energy"
def cases(rng):
    for _ in range(4):
        idle = float(rng.uniform(1, 50))
        busy = idle + float(rng.uniform(1, 300))
        yield case(float(rng.uniform(0.001, 9)), idle, busy, float(rng.uniform(0, 1)), behaviour="between idle and busy")
    yield case(2.0, 10.0, 10.0, 0.3, behaviour="both ends")
    yield case(2.0, 0.0, 5.0, 0.0, behaviour="both ends")
    yield case(2.0, 1.0, 5.0, 1.0, behaviour="both ends")
    yield case(1.0, 20.0, 10.0, 0.5, behaviour="what cannot be is refused")
    yield case(1.0, 1.0, 10.0, -0.1, behaviour="what cannot be is refused")


# %% [markdown]
# ## 7. Three benchmarks that look right
#
# `Machine` is a made-up computer with a clock of its own, so that everybody finds the same numbers. It warms up, drifts,
# and stands still now and then, as real ones do. It is given, and so are three reports on it. Each has one fault. Say
# what the right number is.

# %%
class Machine:
    """A clock that programs move: work(cost) takes longer while it is cold, in drift, and in pauses."""

    def __init__(self, seed, cold=0.0, drift=0.0, pause_every=None, pause=0.0):
        self.rng, self.now, self.calls = np.random.default_rng(seed), 0.0, 0
        self.cold, self.drift, self.pause_every, self.pause = cold, drift, pause_every, pause

    def clock(self):
        return self.now

    def work(self, cost):
        slow = (1 + self.cold * math.exp(-self.calls / 15)) * (1 + self.drift * self.calls) * (1 + self.rng.exponential(0.01))
        self.calls += 1
        self.now += cost * slow
        if self.pause_every and self.calls % self.pause_every == 0:
            self.now += self.pause


def timed(machine, cost):
    begin = machine.clock()
    machine.work(cost)
    return machine.clock() - begin


def report_1():
    """The new kernel: the mean of 120 calls on a fresh machine."""
    fresh = Machine(1, cold=4.0)
    return np.array([timed(fresh, 1.0) for _ in range(120)])


def report_2():
    """Compiler flags X and Y: first 60 calls of X, then 60 of Y, medians."""
    machine = Machine(2, drift=0.004)
    x = [timed(machine, 1.0) for _ in range(60)]
    return np.array(x), np.array([timed(machine, 0.95) for _ in range(60)])


def report_3(rate=0.5, requests=400):
    """Latency at 0.5 requests a second: a client sends one, waits for the answer, and then for its next turn.

    -> intended arrivals, and begin and end of each request as the client saw them.
    """
    machine, rows = Machine(3, pause_every=100, pause=60.0), []
    for k in range(requests):
        intended = k / rate
        machine.now = max(machine.now, intended)
        begin = machine.now
        machine.work(1.0)
        rows.append((intended, begin, machine.now))
    return np.array(rows).T

# %% show
print(f"report 1: the call costs 1.0 when warm; mean of 120 calls {report_1().mean():.3f}")
x, y = report_2()
print(f"report 2: X {np.median(x):.3f}, Y {np.median(y):.3f}: 'Y is {np.median(y) / np.median(x):.3f} times X, slower'")
intended, begin, end = report_3()
print(f"report 3: '99 % of requests within {percentile(end - begin, 0.99):.2f} s', measured from sending to answer")

# %% [markdown]
# ### 7.1
# In report 1 the machine is cold. After the warm-up that `warm_from` finds with a window of 5 and a tolerance of 5 %, what
# is the **median** of the rest?

# %% answer="warm_median" points=2
warm_median = ""  # a number, such as "12.3"
### BEGIN SOLUTION
times_ = report_1()
first_ = next(k for k in range(len(times_) - 4) if np.median(times_[k:k + 5]) <= 1.05 * np.median(times_[-5:]))
warm_median = f"{np.median(times_[first_:]):.5f}"
### END SOLUTION

# %% key="warm_median"
from mlsysbook import Key, Mistake


def key(v):
    times = report_1()
    allowed = 1.05 * np.median(times[-5:])
    first = next(k for k in range(len(times) - 4) if np.median(times[k:k + 5]) <= allowed)
    return Key(float(np.median(times[first:])), "", tol=0.005, mistakes=[
        Mistake(float(times.mean()), 0.0, "that is the mean of all, the cold calls included"),
        Mistake(float(np.median(times)), 0.25, "that is the median of all; the warm-up is to be dropped"),
        Mistake(float(times[first:].mean()), 0.5, "that is the mean of the rest"),
    ])

# %% [markdown]
# ### 7.2
# In report 2 the machine gets slower with every call. Compare the two in turn, on a `Machine(2, drift=0.004)`, in the
# order of `turns(60)`: **how many times as long as X does Y take**, as the median of the ratios of pairs, y over x?

# %% answer="true_ratio" points=2
true_ratio = ""  # a number, such as "12.3"
### BEGIN SOLUTION
machine_, pairs_ = Machine(2, drift=0.004), {"A": [], "B": []}
for which_ in "ABBA" * 30:
    pairs_[which_].append(timed(machine_, 1.0 if which_ == "A" else 0.95))
true_ratio = f"{np.median(np.array(pairs_['B']) / np.array(pairs_['A'])):.5f}"
### END SOLUTION

# %% key="true_ratio"
def key(v):
    machine, pairs = Machine(2, drift=0.004), {"A": [], "B": []}
    for k in range(60):
        for which in ("AB", "BA")[k % 2]:
            pairs[which].append(timed(machine, 1.0 if which == "A" else 0.95))
    ratios = np.array(pairs["B"]) / np.array(pairs["A"])
    x, y = report_2()
    return Key(float(np.median(ratios)), "", tol=0.002, mistakes=[
        Mistake(float(np.median(y) / np.median(x)), 0.0, "that is what the report says: the drift is in it"),
        Mistake(1 / float(np.median(ratios)), 0.5, "that is x over y"),
    ])

# %% [markdown]
# ### 7.3
# In report 3 the client stops sending while the server stands still. During a pause of 60 s, 30 requests should have come,
# and one was measured: **coordinated omission**. Users do not wait for each other. Measured from the **intended** arrival,
# what is the 99th percentile (`percentile`) of latency, in seconds?

# %% answer="true_tail" points=2
true_tail = ""  # a number with its unit, such as "12.3 s"
### BEGIN SOLUTION
intended_, begin_, end_ = report_3()
true_tail = f"{np.sort(end_ - intended_)[math.ceil(round(0.99 * len(end_), 9)) - 1]:.4f} s"
### END SOLUTION

# %% key="true_tail"
def key(v):
    intended, begin, end = report_3()
    rank = math.ceil(round(0.99 * len(end), 9)) - 1
    return Key(float(np.sort(end - intended)[rank]), "s", tol=0.005, mistakes=[
        Mistake(float(np.sort(end - begin)[rank]), 0.0, "that is measured from sending; the requests that were held back have waited, too"),
        Mistake(float((end - intended).max()), 0.25, "that is the longest of all"),
        Mistake(float(np.median(end - intended)), 0.25, "that is the median"),
    ])

# %% [markdown]
# The three on one picture: what was measured, in the order in which it was measured. Each fault can be seen, once one
# looks at single measurements and not at their summary.

# %% show
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
axes[0].plot(report_1(), ".-")
axes[0].set(title="1: cold", xlabel="call", ylabel="time")
x, y = report_2()
axes[1].plot(range(60), x, ".", label="X")
axes[1].plot(range(60, 120), y, "x", label="Y")
axes[1].set(title="2: drift", xlabel="call")
axes[1].legend()
intended, begin, end = report_3()
axes[2].plot(intended, end - begin, ".", label="from sending")
axes[2].plot(intended, end - intended, "-", label="from arrival")
axes[2].set(title="3: pauses", xlabel="s", ylabel="latency, s")
axes[2].legend()
plt.show()
print(f"1: first call {report_1()[0]:.2f}, last {report_1()[-1]:.2f}; 2: X from {x[0]:.2f} to {x[-1]:.2f}, "
      f"Y from {y[0]:.2f} to {y[-1]:.2f}; 3: longest from sending {np.max(end - begin):.1f} s, "
      f"requests beyond 5 s: {np.sum(end - begin > 5)} from sending, "
      f"{np.sum(end - intended > 5)} from arrival")

# %% [markdown]
# ## 8. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="review_a_claim" points=4
# You review a paper. It says: "Our method is 1.8 times faster than the baseline (mean of 5 runs after 1 warm-up run,
# batch 64, on our GPU server). The baseline's time is taken from its authors' paper. Latency under load was measured with
# a client that sends the next request when the last answer is there; the 99.9th percentile of 1,000 requests is 12 ms.
# Energy per query falls by 1.8 as well." In six to ten sentences: name at least four faults, say for each in which
# direction it probably errs or why that cannot be known, and what experiment you would ask for in its place.
#
# ### BEGIN MARK SCHEME
# One point each for a fault that is named, judged in its direction and repaired (at most four):
#
# * Baseline's time from another machine: direction unknown; run both on one machine, in turn.
# * Mean of 5 runs, no interval, one warm-up: noise may be larger than the effect; more runs, median with an interval,
#   warm-up by rule.
# * Closed loop: coordinated omission, tail far too low; arrivals at a fixed or Poisson rate, latency from intended
#   arrival.
# * 99.9th percentile of 1,000 requests rests on one value: says nothing; some 10,000s of requests or a lower percentile.
# * Energy scaled with time: an estimate at best, wrong if power differs between methods (often higher for the faster);
#   measure power, or call it an estimate with bounds.
# * One batch size, one scenario: may be the method's best; single stream, server and offline, with accuracy beside.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Times have one-sided noise: medians, minima and percentiles, each for its purpose. An interval belongs to every number,
# and for a median it needs no assumption. Comparisons go in turn. Latency counts from arrival. Energy without a meter is
# an estimate.
#
# | here | elsewhere |
# |---|---|
# | `measure` | `pyperf`, `pytest-benchmark`, Google Benchmark |
# | `median_interval` | order-statistic intervals; Hoefler and Belli 2015 ask for them in papers |
# | `compare` | `benchstat` of Go, A/B tests in continuous integration |
# | `single_stream`, `server`, `offline` | MLPerf Inference (Reddi et al. 2020), whose load generator does all of it for real |
# | `queued` from intended arrivals | `wrk2`, HdrHistogram's correction |
# | `energy` | RAPL counters, `nvidia-smi`, a meter at the plug |
#
# With this, module 20 can ask for targets, and believe that they were reached.
