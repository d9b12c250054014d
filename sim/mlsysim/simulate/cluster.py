"""A shared cluster: jobs that need all their devices at once wait, start, are preempted, and leave.

Devices are a pool: which nodes they are in is not modelled. Policies: "fifo" in order of arrival; "backfill" the same, but
a later job may start early if the first in line is not delayed by what users estimate (EASY); "shortest" the shortest
remaining time first, with preemption; "fair" the user who has had least goes first, with backfilling.
Sources: Feitelson, Rudolph 1995 (gangs); Mu'alem, Feitelson 2001 (EASY, bounded slowdown); Schrage, Miller 1966 (shortest
remaining time); Jain, Chiu, Hawe 1984 (fairness).
"""

import csv
from dataclasses import dataclass, field

import numpy as np

from .._check import amount
from ..errors import Infeasible, RangeError, SimError, clip, unknown
from ..result import Result, Term, total
from ..systems import Cluster

POLICIES = ("fifo", "backfill", "shortest", "fair")
SHORT = 10.0  # seconds: below it a slowdown says nothing, so runs count as at least so long


@dataclass(frozen=True)
class Jobs:
    """Arrays of one entry a job, in order of arrival: arrival (s), gpus, seconds it runs, seconds its user estimates, user."""

    arrival: np.ndarray
    gpus: np.ndarray
    seconds: np.ndarray
    estimate: np.ndarray
    user: np.ndarray

    def __post_init__(self):
        for name in ("arrival", "gpus", "seconds", "estimate"):
            unit, limit = ("", {"least": 1, "whole": True}) if name == "gpus" else ("s", {"above": 0.0} if name != "arrival" else {})
            value = amount(name, getattr(self, name), unit, **limit)
            if value.shape != np.shape(self.arrival) or value.ndim != 1:
                raise RangeError(f"{name}: got shape {value.shape}; wanted one entry for each of {np.size(self.arrival)} jobs")
        line = np.argsort(self.arrival, kind="stable")
        for name in ("arrival", "gpus", "seconds", "estimate", "user"):
            object.__setattr__(self, name, np.asarray(getattr(self, name))[line])
        object.__setattr__(self, "gpus", self.gpus.astype(int))

    def __len__(self):
        return len(self.arrival)


def jobs(count, rate, *, gpus=(1, 2, 4, 8, 16, 32, 64), weights=None, seconds=3600.0, spread=2.0, estimate=1.0, users=4, seed=0):
    """Jobs to simulate: Poisson arrivals of `rate` a second -> Jobs.

    gpus are the sizes to draw from, with weights (smaller is likelier unless told); seconds is the mean of log-normal run
    times of coefficient of variation `spread` (0 all equal); estimate >= 1: users ask for up to so many times the run time.
    """
    count, users = (int(amount(n, x, "", least=1, whole=True)) for n, x in (("count", count), ("users", users)))
    rate = float(amount("rate", rate, "1/s" if isinstance(rate, str) else "", above=0.0))
    sizes = np.atleast_1d(amount("gpus", gpus, "", least=1, whole=True))
    shares = 1 / np.sqrt(sizes) if weights is None else amount("weights", weights, "")
    if shares.shape != sizes.shape or not shares.sum():
        raise RangeError(f"weights: got shape {shares.shape}; wanted one for each of {sizes.size} sizes, not all 0")
    mean, spread = float(amount("seconds", seconds, "s", above=0.0)), float(amount("spread", spread, ""))
    most = float(amount("estimate", estimate, "", least=1.0))
    rng = np.random.default_rng(seed)
    sigma = np.sqrt(np.log(1 + spread**2))
    run = mean * np.exp(sigma * rng.standard_normal(count) - sigma**2 / 2)
    return Jobs(np.cumsum(rng.exponential(1 / rate, count)), rng.choice(sizes, count, p=shares / shares.sum()).astype(int), run,
                run * rng.uniform(1, most, count), rng.integers(0, users, count))  # fmt: skip


def read_trace(path):
    """Jobs from a CSV file with the columns arrival, gpus, seconds and, if there, estimate and user -> Jobs.

    Times in seconds, or text such as "2 h". Raises SimError that names line and column.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = [c for c in ("arrival", "gpus", "seconds") if not rows or c not in rows[0]]
    if missing:
        raise SimError(f"{path}: no column {', '.join(missing)}; wanted arrival, gpus, seconds and perhaps estimate, user")

    def number(row, line, column, unit):
        text = row[column]
        try:
            return float(amount(column, text if any(c.isalpha() for c in text.replace("e", "")) else float(text), unit))
        except (ValueError, TypeError, AttributeError) as error:
            raise SimError(f"{path}: line {line}: {column}: {error}") from None

    got = {c: [number(r, i, c, "" if c == "gpus" else "s") for i, r in enumerate(rows, 2)] for c in ("arrival", "gpus", "seconds")}
    estimate = [number(r, i, "estimate", "s") if r.get("estimate") else got["seconds"][i - 2] for i, r in enumerate(rows, 2)]
    return Jobs(*map(np.array, got.values()), np.array(estimate), np.array([r.get("user") or "" for r in rows]))


@dataclass(frozen=True, kw_only=True)
class ClusterRun(Result):
    """What happened to every job. seconds is the mean time from arrival to end, rate jobs a second, span the whole time.

    utilization is device-seconds in use over those there were, restarts included. wait and slowdown hold one entry a job:
    time from arrival to end less the run time, and time over run time, which counts as at least 10 s. fairness is Jain's
    index of the users' mean inverse slowdown: 1 where all of them are held up alike. job, start, end: one entry a stretch
    of running.
    """

    seconds: float
    rate: float
    utilization: float
    fairness: float
    preemptions: int
    span: float
    wait: np.ndarray = field(repr=False)
    slowdown: np.ndarray = field(repr=False)
    job: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)
    end: np.ndarray = field(repr=False)
    gpus: np.ndarray = field(repr=False)
    units = {"span": "s"}

    def spans(self):
        """(row, start, end, label) of every stretch, a row a job, as plot.timeline draws them."""
        labels = [f"{g} GPU" + "s" * (g > 1) for g in self.gpus[self.job].tolist()]
        return list(zip(self.job.tolist(), self.start.tolist(), self.end.tolist(), labels, strict=True))


def jain(x):
    """Jain's index of fairness, from 1/n (one has all) to 1 (all have the same)."""
    x = np.asarray(x, float)
    return float(x.sum() ** 2 / (x.size * (x * x).sum())) if x.any() else 1.0


class Scheduler:
    """Free devices, the line, and what runs. Jobs are numbers, running maps each to (process, start, estimated end)."""

    def __init__(self, env, load, gpus, policy, overhead):
        self.env, self.load, self.free, self.policy, self.overhead = env, load, gpus, policy, overhead
        self.gpus, self.need = gpus, load.gpus.tolist()
        self.waiting, self.running = [], {}
        self.left = load.seconds.tolist()
        self.guess = load.estimate.tolist()
        names, self.user = np.unique(load.user, return_inverse=True)
        self.used = [0.0] * len(names)
        self.segments, self.ended, self.preemptions = [], np.zeros(len(load)), 0
        self.restarts = [0.0] * len(load)  # seconds that the next stretch begins with
        self.wake = env.event()

    def arrive(self):
        for i, at in enumerate(self.load.arrival.tolist()):
            if at > self.env.now:
                yield self.env.timeout(at - self.env.now)
            self.waiting.append(i)
            self.notify()

    def notify(self):
        if not self.wake.triggered:
            self.wake.succeed()

    def dispatch(self):
        """Decide once for all that happens at a moment: the wake-up comes after what was due at that time."""
        while True:
            yield self.wake
            self.wake = self.env.event()
            self.shortest() if self.policy == "shortest" else self.in_line()

    def start(self, i):
        self.free -= self.need[i]
        self.used[self.user[i]] += self.need[i] * self.guess[i]
        self.running[i] = (self.env.process(self.work(i)), self.env.now + self.restarts[i] + self.guess[i])

    def work(self, i):
        import simpy

        begun, again = self.env.now, self.restarts[i]
        try:
            yield self.env.timeout(again + self.left[i])
            done = self.left[i]
            self.ended[i] = self.env.now
        except simpy.Interrupt:
            done = max(self.env.now - begun - again, 0.0)
            self.restarts[i] = self.overhead
            self.waiting.append(i)
            self.preemptions += 1
        self.free += self.need[i]
        self.used[self.user[i]] += self.need[i] * (self.env.now - begun - self.guess[i])
        self.left[i] -= done
        self.guess[i] = max(self.guess[i] - done, self.left[i])
        self.segments.append((i, begun, self.env.now))
        del self.running[i]
        self.notify()

    def in_line(self):
        """Start from the head of the line; behind a head that does not fit, what does not delay it."""
        while self.waiting:
            if self.policy == "fair":
                self.waiting.sort(key=lambda i: (self.used[self.user[i]], i))
            if self.need[self.waiting[0]] > self.free:
                break
            self.start(self.waiting.pop(0))
        if self.policy == "fifo" or not self.waiting or not self.free:
            return
        free, need = self.free, self.need[self.waiting[0]]
        leaving = sorted((max(end, self.env.now), i) for i, (_, end) in self.running.items())
        while free < need:
            ends, i = leaving.pop(0)
            free += self.need[i]
        spare = free - need  # devices that the head leaves free when it starts, at `ends`
        for i in self.waiting[1:]:
            if self.need[i] > self.free:
                continue
            if self.env.now + self.restarts[i] + self.guess[i] > ends:
                if self.need[i] > spare:
                    continue
                spare -= self.need[i]
            self.waiting.remove(i)
            self.start(i)
            if not self.free:
                return

    def shortest(self):
        """The jobs with least left that fit together; what runs and is not among them makes room."""
        now = self.env.now
        left = {i: end - now for i, (_, end) in self.running.items()} | {i: self.guess[i] + self.restarts[i] for i in self.waiting}
        room, chosen = self.gpus, set()
        for i in sorted(left, key=lambda i: (left[i], i not in self.running, i)):
            if self.need[i] <= room:
                chosen.add(i)
                room -= self.need[i]
        out = [i for i in self.running if i not in chosen]
        for i in out:
            self.running[i][0].interrupt()
        if out:  # they leave at this very moment, and wake the scheduler again
            return
        for i in chosen - self.running.keys():
            self.waiting.remove(i)
            self.start(i)


def simulate_cluster(load, gpus, *, policy="fifo", overhead=0.0):
    """Run `load`, made by jobs() or read_trace(), on `gpus` devices or a Cluster until all is done -> ClusterRun.

    overhead: seconds that a preempted job needs when it starts again. Raises Infeasible for a job larger than the cluster.
    """
    import simpy

    if not isinstance(load, Jobs):
        raise SimError(f"load: got {clip(load)}; wanted what jobs() or read_trace() makes, such as jobs(500, 0.01)")
    gpus = gpus.devices if isinstance(gpus, Cluster) else int(amount("gpus", gpus, "", least=1, whole=True))
    if policy not in POLICIES:
        raise unknown("policy", policy, list(POLICIES))
    overhead = float(amount("overhead", overhead, "s"))
    if load.gpus.max() > gpus:
        raise Infeasible(f"job {int(load.gpus.argmax())} needs {load.gpus.max()} devices at once, there are {gpus}: "
                         f"{load.gpus.max() / gpus:.3g} times that")  # fmt: skip
    env = simpy.Environment()
    scheduler = Scheduler(env, load, gpus, policy, overhead)
    env.process(scheduler.arrive())
    env.process(scheduler.dispatch())
    env.run()
    job, start, end = (np.array(x) for x in zip(*scheduler.segments, strict=True))
    took = scheduler.ended - load.arrival
    wait = np.maximum(took - load.seconds, 0.0)
    slowdown = np.maximum(took / np.maximum(load.seconds, SHORT), 1.0)
    span = float(scheduler.ended.max() - load.arrival[0])
    each = [np.mean(1 / slowdown[load.user == u]) for u in np.unique(load.user)]
    line = np.lexsort((job, start))
    return ClusterRun(
        seconds=float(took.mean()), rate=len(load) / span, utilization=float(((end - start) * load.gpus[job]).sum() / (gpus * span)),
        fairness=jain(each), preemptions=scheduler.preemptions, span=span, wait=wait, slowdown=slowdown, job=job[line], start=start[line],
        end=end[line], gpus=load.gpus,
        grow=lambda: total("mean time of a job", [
            Term("waiting", float(wait.mean()), formula="in line, preempted, or starting again"),
            Term("running", float((took - wait).mean())),
        ]),
    )  # fmt: skip
