"""Waiting in line, exactly: M/M/c, M/D/1 and M/G/1, with quantiles of the time that a request spends in the system.

arrivals and service times broadcast; arrivals are requests a second, service is seconds. Sources: Gross, Shortle, Thompson,
Harris 2008, Fundamentals of Queueing Theory, 4th edition, sections 2.3 and 5.1.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import lgamma

import numpy as np

from ._check import amount, together
from .errors import Infeasible, RangeError
from .result import Result, Term, total


@dataclass(frozen=True, kw_only=True)
class Queue(Result):
    """A queue in its steady state. seconds is the mean time in the system, wait what of it is spent in line.

    utilization is the share of time that a server is busy, queued the mean number in line, inside that in line or in
    service (Little's law), delayed the share of requests that have to wait at all.
    """

    seconds: np.ndarray
    wait: np.ndarray
    utilization: np.ndarray
    delayed: np.ndarray
    queued: np.ndarray
    inside: np.ndarray
    tail: object = field(default=None, repr=False, compare=False)
    units = {"wait": "s", "queued": "", "inside": "", "delayed": ""}

    def __getitem__(self, index):
        picked, tail, shape = super().__getitem__(index), self.tail, self.shape
        if tail is None:
            return picked
        place = index if isinstance(index, tuple) else (index,)
        return replace(picked, tail=lambda t: np.broadcast_to(tail(_apart(t, len(shape))), (*np.shape(t), *shape))[(..., *place)])

    def exceeds(self, seconds):
        """Probability that a request spends more than `seconds` in the system. Broadcasts."""
        if self.tail is None:
            raise RangeError("the mean and variance of the service time do not fix its quantiles; use mmc or md1, or simulate")
        return self.tail(amount("seconds", seconds, "s"))[()]

    def quantile(self, share):
        """Seconds within which `share` of the requests are done: quantile(0.99). Broadcasts; exact to 1e-9."""
        share = np.asarray(amount("share", share, "%" if isinstance(share, str) else ""))
        if (share >= 1).any():
            raise RangeError(f"share: got {share.max():.6g}; wanted at least 0 and less than 1")
        low = np.zeros(np.broadcast_shapes(share.shape, self.shape))
        high = low + self.seconds
        while (short := self.exceeds(high) > 1 - share).any():
            high = np.where(short, 2 * high, high)
        for _ in range(60):
            middle = (low + high) / 2
            above = self.exceeds(middle) > 1 - share
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return ((low + high) / 2)[()]


def _apart(t, axes):
    """t with new axes at its end, so that it meets every queue of an array."""
    return np.reshape(t, (*np.shape(t), *(1,) * axes))


def _inputs(arrivals, service, servers=1):
    arrivals = amount("arrivals", arrivals, "1/s" if isinstance(arrivals, str) else "", above=0.0)
    service = amount("service", service, "s", above=0.0)
    together(arrivals=arrivals, service=service, servers=servers)
    load = np.asarray(arrivals * service / servers)
    if (load >= 1).any():
        worst = float(load.max())
        raise Infeasible(f"arrivals x service / servers is {worst:.4g}; a queue is stable below 1: wanted fewer arrivals, "
                         f"faster service or {int(np.floor(np.max(np.asarray(arrivals * service)))) + 1} servers")  # fmt: skip
    return arrivals, service, load


def erlang_c(servers, offered):
    """Probability that a request has to wait with `servers` servers and `offered` = arrivals x service erlangs.

    By the recursion of Erlang's B, which neither overflows nor cancels. Both broadcast. Source: Erlang 1917.
    """
    servers = amount("servers", servers, "", least=1, whole=True)
    offered = amount("offered", offered, "", above=0.0)
    if (offered >= servers).any():
        raise Infeasible(f"offered: got {float(np.max(offered)):.4g} erlangs; wanted less than {int(np.min(servers))} servers")
    servers, offered = np.broadcast_arrays(servers, offered)
    blocked = np.ones(servers.shape)
    answer = np.empty(servers.shape)
    for n in range(1, int(servers.max()) + 1):
        blocked = offered * blocked / (n + offered * blocked)
        np.copyto(answer, blocked, where=servers == n)
    return (answer / (1 - offered / servers * (1 - answer)))[()]


def _result(arrivals, service, load, wait, delayed, servers, tail):
    seconds = wait + service
    return Queue(
        seconds=seconds[()], wait=wait[()], utilization=load[()], delayed=np.asarray(delayed)[()], queued=(arrivals * wait)[()],
        inside=(arrivals * seconds)[()], tail=tail,
        grow=lambda: total("time in the system", [Term("in line", wait), Term("in service", service)]),
        knobs={"service rate": lambda s: servers(arrivals, service / s), "arrivals": lambda s: servers(arrivals * s, service)},
    )  # fmt: skip


def mmc(arrivals, service, servers=1):
    """Poisson arrivals, exponential service of mean `service`, `servers` servers and one line -> Queue.

    Raises Infeasible for a load of 1 or more.
    """
    servers = amount("servers", servers, "", least=1, whole=True)
    arrivals, service, load = _inputs(arrivals, service, servers)

    def mean(arrivals, service):
        return service + erlang_c(servers, arrivals * service) * service / (servers - arrivals * service)

    delayed = np.asarray(erlang_c(servers, arrivals * service))
    wait = delayed * service / (servers - arrivals * service)
    mu, theta = 1 / service, servers / service - arrivals  # a waiting time beyond 0 is exponential of rate theta

    def tail(t):
        gap = theta - mu
        close = np.abs(gap) < 1e-7 * mu
        gap = np.where(close, 1.0, gap)
        both = np.where(close, (1 + mu * t) * np.exp(-mu * t), (theta * np.exp(-mu * t) - mu * np.exp(-theta * t)) / gap)
        return (1 - delayed) * np.exp(-mu * t) + delayed * both

    return _result(arrivals, service, load, wait, delayed, mean, tail)


def mg1(arrivals, service, variation):
    """Poisson arrivals, one server, service of mean `service` and coefficient of variation `variation` -> Queue.

    The mean only: two moments do not fix a quantile. Source: Pollaczek 1930, Khinchine 1932.
    """
    variation = amount("variation", variation, "")
    arrivals, service, load = _inputs(arrivals, service)

    def mean(arrivals, service):
        load = arrivals * service
        return service + load * service * (1 + variation**2) / (2 * (1 - load))

    return _result(arrivals, service, load, np.asarray(mean(arrivals, service) - service), load, mean, None)


def md1(arrivals, service):
    """Poisson arrivals, one server, service that always takes `service` -> Queue, with exact quantiles."""
    queue = mg1(arrivals, service, 0.0)
    arrivals, service, load = _inputs(arrivals, service)

    def tail(t):
        t, rate, each = np.broadcast_arrays(np.asarray(t, float), arrivals, service)
        out = np.array([_md1_wait(max(x - d, 0.0), a, d) if x >= d else 0.0
                        for x, a, d in zip(t.ravel(), rate.ravel(), each.ravel(), strict=True)])  # fmt: skip
        return 1.0 - out.reshape(t.shape)

    return replace(queue, tail=tail)


def _md1_wait(t, rate, service):
    """Probability that the wait in M/D/1 is at most t: a sum of positive terms. Source: Franx 2001, equation for M/D/c."""
    k = int(np.floor(t / service))
    u = (k + 1) * service - t
    at_most = _md1_at_most(rate * service)
    if k + 1 >= at_most.size:
        return 1.0
    arrived = np.arange(k, -1, -1)  # while u passes; the line may then hold k - arrived
    logs = arrived * np.log(max(rate * u, 1e-300)) - rate * u - np.array([lgamma(j + 1) for j in arrived])
    return float(min((np.exp(logs) * at_most[1 : k + 2]).sum(), 1.0))


@lru_cache(maxsize=64)
def _md1_at_most(load):
    """Probability that at most n are in an M/D/1 system, n = 0, 1, ...: its generating function inverted on the unit circle."""
    size = 1 << int(np.clip(np.ceil(np.log2(60 / -np.log(load) / min(1.0, 2 * (1 - load)) + 64)), 8, 18))
    z = np.exp(2j * np.pi * np.arange(size) / size)
    with np.errstate(invalid="ignore"):
        values = (1 - load) * (1 - z) / (1 - z * np.exp(load * (1 - z)))
    values[0] = 1.0
    return np.minimum(np.cumsum(np.maximum(np.fft.fft(values).real / size, 0.0)), 1.0)
