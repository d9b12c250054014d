"""Serving simulated step by step: arrivals, continuous batching, chunked prefill, paged cache with preemption, prefixes.

Each replica repeats: admit waiting requests while cache blocks are free, give every running sequence one token and spend
what is left of the token budget on prompts, and let the time of that step pass. The time of a step is that of
serving.step_seconds, split into what depends on the number of rows and what depends on the tokens that are attended to.
Sources: Yu et al. 2022 (Orca), Kwon et al. 2023 (paged cache), Agrawal et al. 2024 (chunked prefill).
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np

from .._check import amount
from ..collectives import all_reduce
from ..devices import device as find
from ..efficiency import activation_width, draw, link_share, operator_times, width
from ..errors import Infeasible, RangeError, SimError, clip, unknown
from ..models import model as named
from ..result import Result, Term, total
from ..serving import RESERVE
from ..systems import fabric

ROUTERS = ("round-robin", "least-loaded", "prefix")


@dataclass(frozen=True)
class Requests:
    """Arrays of one entry a request: arrival (s), prompt and output (tokens), prefix (group of a shared prompt start, -1)."""

    arrival: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    prefix: np.ndarray
    prefix_tokens: int = 0

    def __len__(self):
        return len(self.arrival)


def requests(count, rate, *, prompt=512, output=128, arrivals="poisson", variation=1.0, spread=0.0, prefixes=0,
             prefix_tokens=0, seed=0):  # fmt: skip
    """Requests to simulate -> Requests.

    arrivals: "poisson", "gamma" (gaps of coefficient of variation `variation`), or an array of times. prompt and output
    are means, or arrays; spread is the coefficient of variation of their log-normal lengths. prefixes > 0 gives each
    request one of so many shared beginnings of prefix_tokens tokens.
    """
    count = int(amount("count", count, "", least=1, whole=True))
    rng = np.random.default_rng(seed)
    if isinstance(arrivals, str):
        rate = float(amount("rate", rate, "1/s" if isinstance(rate, str) else "", above=0.0))
        variation = {"poisson": 1.0, "gamma": float(amount("variation", variation, "", above=0.0))}.get(arrivals)
        if variation is None:
            raise unknown("arrivals", arrivals, ["poisson", "gamma"])
        shape = variation**-2
        times = np.cumsum(rng.gamma(shape, 1 / (rate * shape), count))
    else:
        times = np.sort(amount("arrivals", arrivals, "s"))
        if times.shape != (count,):
            raise RangeError(f"arrivals: got an array of shape {times.shape}; wanted {count} times")

    def lengths(name, mean):
        mean = amount(name, mean, "", least=1)
        sigma = np.sqrt(np.log1p(float(amount("spread", spread, "")) ** 2))
        drawn = mean * np.exp(rng.normal(-(sigma**2) / 2, sigma, count)) if mean.ndim == 0 else mean
        return np.broadcast_to(np.maximum(np.rint(drawn), 1).astype(int), (count,))

    shared = int(amount("prefix_tokens", prefix_tokens, "", whole=True))
    groups = rng.integers(0, prefixes, count) if prefixes else np.full(count, -1)
    return Requests(times, lengths("prompt", prompt) + (shared if prefixes else 0), lengths("output", output), groups, shared)


@dataclass(frozen=True, kw_only=True)
class ServingRun(Result):
    """What happened to every request. rate is output tokens a second, goodput requests a second that met the objective.

    ttft, tpot and e2e hold one time a request; ttft.p99 and the like are in percentile(). occupancy is (time, share of
    cache blocks in use) of the first replica, preemptions how often a sequence lost its cache.
    """

    seconds: float
    rate: float
    goodput: float
    utilization: float
    energy: float
    preemptions: int
    prefix_hits: int
    tokens_in: int
    tokens_out: int
    blocks: int
    leaked: int
    steps: int
    ttft: np.ndarray = field(repr=False)
    tpot: np.ndarray = field(repr=False)
    e2e: np.ndarray = field(repr=False)
    occupancy: tuple = field(repr=False, default=())
    units = {"goodput": "1/s"}

    def percentile(self, name, *levels):
        """Percentiles of "ttft", "tpot" or "e2e" in seconds: run.percentile("ttft", 50, 99)."""
        if name not in ("ttft", "tpot", "e2e"):
            raise unknown("time", name, ["ttft", "tpot", "e2e"])
        return np.percentile(getattr(self, name), levels)

    def __str__(self):
        from ..units import format

        lines = [f"{n:<5} " + "  ".join(f"p{p} {format(v, 's')}" for p, v in zip((50, 95, 99), self.percentile(n, 50, 95, 99), strict=True))
                 for n in ("ttft", "tpot", "e2e")]  # fmt: skip
        return "\n".join([super().__str__(), "", *lines])


class StepClock:
    """Seconds of one step of a replica, from tables made once: a step costs a few look-ups."""

    def __init__(self, model, device, tp, precision, weights, cache, most_rows):
        stored, self.held = (width(precision if x is None else x, name) for x, name in ((weights, "weights"), (cache, "cache")))
        one = activation_width(model, precision)
        rows = np.arange(1, most_rows + 1)
        graph = model.graph(batch=rows, tokens=1, context=0, tp=tp)
        head = np.array([op.name == "head" for op in graph.ops])
        keep = ~head & np.array([op.kind != "attention" for op in graph.ops])
        times = operator_times(graph, device, precision, weights=stored, activations=one, cache=self.held)
        spent = times.seconds * graph.count
        self.rows, self.heads = (np.concatenate([[0.0], spent[pick].sum(axis=0)]) for pick in (keep, head))
        if tp > 1:
            link = fabric(device.link)
            each, count = model.reduced(batch=rows, tokens=1)
            self.rows[1:] += count * all_reduce(each * 2.0, tp, link.per_direction.value * link_share(link.kind),
                                                latency=link.latency.value, algorithm="best")  # fmt: skip
        # attention is linear in the tokens that are read, and for prompts in the pairs of tokens
        self.launch = times.launch * model.layers

        def attention(**shape):
            g = model.graph(tp=tp, **shape)
            t = operator_times(g, device, precision, weights=stored, activations=one, cache=self.held)
            pick = ~np.array([op.kind != "attention" for op in g.ops])
            return float((t.busy * g.count)[pick].sum())

        self.per_cached = attention(batch=64, tokens=1, context=4096) / (64 * 4097)
        self.per_pair = attention(batch=1, tokens=4096) / (4096 * 4097 / 2)

    def seconds(self, decoding, cached, chunks):
        """decoding sequences that attend to `cached` tokens together, and chunks (new tokens, tokens before them)."""
        rows = decoding + sum(n for n, _ in chunks)
        kernels = (decoding > 0) + len(chunks)
        time = self.rows[rows] + self.heads[decoding + len(chunks)] + self.launch * kernels + self.per_cached * cached
        for n, before in chunks:
            time += self.per_pair * n * (before + (n + 1) / 2)
        return time


class Blocks:
    """The cache of one replica in blocks, shared beginnings kept until their room is wanted."""

    def __init__(self, count, size):
        self.count = self.free = count
        self.size = size
        self.shared = OrderedDict()  # group -> [blocks, sequences that use it, computed], least recently used first

    def need(self, tokens):
        return -(-tokens // self.size)

    def take(self, n):
        """Take n blocks, dropping unused beginnings if that helps -> whether it could."""
        for group in [g for g, (_, users, _) in self.shared.items() if not users] if self.free < n else ():
            self.free += self.shared.pop(group)[0]
            if self.free >= n:
                break
        if self.free < n:
            return False
        self.free -= n
        return True

    def clear(self):
        """Drop all unused beginnings -> blocks that are still missing."""
        self.take(self.count + 1)
        return self.count - self.free


@dataclass(eq=False)
class Sequence:
    """A request on its way: `done` tokens of `prompt` are in the cache, `given` tokens have been put out."""

    number: int
    prompt: int
    output: int
    group: int = -1
    done: int = 0
    given: int = 0
    blocks: int = 0
    shared: bool = False

    @property
    def held(self):
        return self.done + self.given


class Replica:
    """One copy of the model: a queue, a running batch, and a cache."""

    def __init__(self, env, clock, blocks, budget, chunked, max_batch, prefix_tokens, log):
        self.env, self.clock, self.blocks, self.log = env, clock, blocks, log
        self.budget, self.chunked, self.max_batch, self.prefix_tokens = budget, chunked, max_batch, prefix_tokens
        self.waiting, self.running = deque(), []
        self.busy = 0.0
        self.wake = env.event()

    def load(self):
        return sum(s.prompt - s.done + s.output - s.given for s in (*self.waiting, *self.running))

    def put(self, sequence):
        self.waiting.append(sequence)
        if not self.wake.triggered:
            self.wake.succeed()

    def admit(self):
        """Move waiting sequences into the batch while their prompts fit the cache."""
        while self.waiting and len(self.running) < self.max_batch:
            s = self.waiting[0]
            whole = self.prefix_tokens // self.blocks.size if s.group >= 0 else 0
            entry = self.blocks.shared.get(s.group) if whole else None
            computed = entry is not None and entry[2]
            if computed:
                entry[1] += 1  # in use from now on, so that taking blocks does not drop it
            # of a prompt computed again after a preemption, the tokens that were put out are part
            wanted = self.blocks.need(s.prompt + s.given + 1) - (whole if computed else 0)
            if not self.blocks.take(wanted):
                if computed:
                    entry[1] -= 1
                return
            self.waiting.popleft()
            s.blocks = wanted
            if computed:
                self.blocks.shared.move_to_end(s.group)
                s.done, s.shared = whole * self.blocks.size, True
                self.log["hits"] += 1
            elif whole and entry is None:
                self.blocks.shared[s.group] = [whole, 1, False]
                s.blocks, s.shared = wanted - whole, True
            self.running.append(s)

    def release(self, s):
        self.blocks.free += s.blocks
        if s.shared:
            entry = self.blocks.shared[s.group]
            entry[1] -= 1
            if not entry[2]:  # its maker goes before it was computed
                self.blocks.free += self.blocks.shared.pop(s.group)[0]
        s.blocks, s.shared = 0, False

    def preempt(self):
        """Take the cache of the sequence that came last; its tokens are computed again when there is room."""
        s = self.running.pop()
        self.release(s)
        s.prompt, s.output, s.done = s.prompt + s.given, s.output - s.given, 0
        s.given = 0
        self.waiting.appendleft(s)
        self.log["preemptions"] += 1

    def step(self):
        """Plan one step -> (seconds, sequences that decode, [(sequence, new prompt tokens)])."""
        self.admit()
        while True:
            decoding = [s for s in self.running if s.done == s.prompt]
            grow = [s for s in decoding if self.blocks.need(s.held + 1) > s.blocks + self.shared_blocks(s)]
            if not grow or self.blocks.take(len(grow)):
                break
            self.preempt()
        for s in grow:
            s.blocks += 1
        filling = [s for s in self.running if s.done < s.prompt]
        left = self.budget - (len(decoding) if self.chunked else 0)
        chunks = []
        for s in filling:
            n = min(s.prompt - s.done, left)
            if n <= 0:
                break
            chunks.append((s, n))
            left -= n
        if chunks and not self.chunked:
            decoding = []  # prompts first, everything else waits
        seconds = self.clock.seconds(len(decoding), sum(s.held for s in decoding), [(n, s.done) for s, n in chunks])
        return seconds, decoding, chunks

    def shared_blocks(self, s):
        return self.prefix_tokens // self.blocks.size if s.shared else 0

    def run(self):
        log = self.log
        while True:
            if not (self.waiting or self.running):
                self.wake = self.env.event()
                yield self.wake
            seconds, decoding, chunks = self.step()
            log["steps"] += 1
            self.busy += seconds
            yield self.env.timeout(seconds)
            now = self.env.now
            for s, n in chunks:
                s.done += n
                if s.shared and s.done >= self.shared_blocks(s) * self.blocks.size:
                    self.blocks.shared[s.group][2] = True
                if s.done == s.prompt:
                    self.token(s, now)
            for s in decoding:
                self.token(s, now)
            self.running = [s for s in self.running if s.given < s.output]
            if self is log["first"]:
                log["occupancy"].append((now, 1 - self.blocks.free / self.blocks.count))

    def token(self, s, now):
        s.given += 1
        log = self.log
        log["out"] += 1
        if np.isnan(log["ttft"][s.number]):
            log["ttft"][s.number] = now
        if s.given == s.output:
            log["end"][s.number] = now
            self.release(s)


def simulate_serving(model, device, load, *, tp=1, replicas=1, router="least-loaded", budget=2048, chunked=True, max_batch=256,
                     block=16, precision="fp16", weights=None, cache=None, slo=(1.0, 0.1)):  # fmt: skip
    """Serve `load`, made by requests(), until all are done -> ServingRun.

    budget is tokens a step (decoding and prompt together); chunked=False computes whole prompts first while decoding
    waits. block is tokens a cache block, slo the objective: seconds to the first token and for each further one.

    Raises Infeasible if the weights or the longest request do not fit a replica, SimError for a model that is no decoder.
    """
    import simpy

    if not isinstance(load, Requests):
        raise SimError(f"load: got {clip(load)}; wanted what requests() makes, such as requests(1000, 20, prompt=512)")
    m, device = named(model), find(device)
    if getattr(m, "kind", "") != "decoder":
        raise SimError(f"simulate_serving: {m.title} is a {m.kind} model; wanted a decoder, such as 'llama-3.1-8b'")
    if router not in ROUTERS:
        raise unknown("router", router, list(ROUTERS))
    tp = m.check_split(tp)
    replicas, budget, max_batch, block = (int(amount(name, x, "", least=1, whole=True)) for name, x in
                                          dict(replicas=replicas, budget=budget, max_batch=max_batch, block=block).items())  # fmt: skip
    if chunked and budget <= max_batch:
        raise RangeError(f"budget: got {budget} tokens a step; wanted more than max_batch ({max_batch}), or no prompt ever gets one")
    slo = tuple(float(amount(f"slo[{i}]", x, "s", above=0.0)) for i, x in enumerate(slo))
    clock = StepClock(m, device, tp, precision, weights, cache, max(budget, max_batch) + max_batch)
    each = m.cached(batch=1, tokens=1, tp=tp) * clock.held
    room = device.memory.value * (1 - RESERVE) - m.params * width(precision if weights is None else weights) / tp
    count = int(room // (each * block))
    longest = int((load.prompt + load.output).max())
    if count * block < longest + block:
        raise Infeasible(f"{m.title} on {tp} x {device.title} leaves room for {max(count, 0) * block:,} cached tokens, the longest "
                         f"request has {longest:,}; more tp, or fewer bits for weights or cache")  # fmt: skip

    env = simpy.Environment()
    n = len(load)
    log = {"ttft": np.full(n, np.nan), "end": np.full(n, np.nan), "preemptions": 0, "hits": 0, "out": 0, "steps": 0, "occupancy": []}
    crew = [Replica(env, clock, Blocks(count, block), budget, chunked, max_batch, load.prefix_tokens, log) for _ in range(replicas)]
    log["first"] = crew[0]
    for replica in crew:
        env.process(replica.run())

    def route():
        for i in range(n):
            yield env.timeout(float(load.arrival[i]) - env.now)
            group = int(load.prefix[i])
            if router == "round-robin":
                chosen = crew[i % replicas]
            elif router == "prefix" and group >= 0:
                chosen = crew[group % replicas]
            else:
                chosen = min(crew, key=Replica.load)
            chosen.put(Sequence(i, int(load.prompt[i]), int(load.output[i]), group))

    env.process(route())
    env.run()
    ttft, e2e = log["ttft"] - load.arrival, log["end"] - load.arrival
    tpot = np.where(load.output > 1, (log["end"] - log["ttft"]) / np.maximum(load.output - 1, 1), 0.0)
    span = float(log["end"].max() - load.arrival[0])
    busy = sum(r.busy for r in crew) / (replicas * span)
    good = (ttft <= slo[0]) & (tpot <= slo[1])
    wait = float(ttft.mean())
    return ServingRun(
        seconds=span, rate=log["out"] / span, goodput=float(good.sum()) / span, utilization=busy,
        energy=float(replicas * tp * draw(device, busy)) * span, preemptions=log["preemptions"], prefix_hits=log["hits"],
        tokens_in=int(load.prompt.sum()), tokens_out=log["out"], blocks=count * replicas,
        leaked=sum(r.blocks.clear() for r in crew), steps=log["steps"], ttft=ttft, tpot=tpot, e2e=e2e,
        occupancy=tuple(np.array(log["occupancy"]).reshape(-1, 2).T),
        grow=lambda: total("mean time of a request", [
            Term("to the first token", wait, formula="queue and prefill"),
            Term("further tokens", float((e2e - ttft).mean()), formula="decoding beside the others"),
        ]),
    )  # fmt: skip
