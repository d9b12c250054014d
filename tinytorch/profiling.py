# Exported from modules/tinytorch/14_profiling by `mlsys build`; edit the module's source, not this file.

"""Profiling: what a program on this framework does, when, for how long, and in how much memory.

    with Profile() as profile: step()     records every operation forward and backward, and every module
    print(profile.table())                time by kind of operation, with FLOP and what limits it
    print(profile.tree())                 who called whom
    profile.save("trace.json")            for chrome://tracing and ui.perfetto.dev

Times are of the wall clock, in seconds; the profiler's own cost is measured and taken out of them. FLOP are counted from
shapes; bytes are those that an operation has to read and write at least once.

Errors, each one line: ValueError (intervals that overlap without lying in each other, shares out of range).
"""

import contextlib
import json
import math
import time
from dataclasses import dataclass, field

from tinytorch import autograd, layers, tensor
from tinytorch.tensor import Storage

VIEWS = ("Permute", "Slice", "Expand", "Reshape")
PRODUCTS = ("MatMul", "Linear", "Conv2d", "Correlate")
ATTENTION = ("TiledAttention", "CausalAttention")  # without and with the causal mask, as they are counted
OUTSIDE = "outside of operations"  # gradients of leaves, and what the program makes itself


def nested(intervals):
    """Intervals [name, begin, end] -> a forest: a list of [name, begin, end, children], by begin.

    Raises ValueError for two that overlap without one containing the other.
    """
    roots, open_ = [], []
    for name, begin, end in sorted(intervals, key=lambda i: (i[1], -i[2])):
        while open_ and begin >= open_[-1][2] and not (begin == end == open_[-1][2] == open_[-1][1]):
            open_.pop()
        if open_ and end > open_[-1][2]:
            raise ValueError(f"{name} from {begin} to {end} overlaps {open_[-1][0]} from {open_[-1][1]} to {open_[-1][2]} "
                             "and does not lie in it")
        node = [name, begin, end, []]
        (open_[-1][3] if open_ else roots).append(node)
        open_.append(node)
    return roots


def self_times(forest):
    """[name, seconds] of each node of a forest, without the time of its children; parents before children."""
    times = []
    for name, begin, end, children in forest:
        times.append([name, end - begin - sum(child[2] - child[1] for child in children)])
        times.extend(self_times(children))
    return times


def grouped(times):
    """[name, seconds] -> rows [name, calls, seconds, share of the sum], by seconds, largest first, then by name."""
    rows = {}
    for name, seconds in times:
        calls, total = rows.get(name, (0, 0.0))
        rows[name] = calls + 1, total + seconds
    whole = sum(total for _, total in rows.values())
    ordered = sorted(rows.items(), key=lambda item: (-item[1][1], item[0]))
    return [[name, calls, total, total / whole if whole else 0.0] for name, (calls, total) in ordered]


def cost(name, shapes, result, itemsize=4, wants=None):
    """(FLOP, bytes) of an operation on operands of these shapes, or of its backward, where wants says whose gradients."""
    if name in VIEWS:
        return 0, 0
    sizes, numbers = [math.prod(shape) for shape in shapes], math.prod(result)
    if name in PRODUCTS:
        inner = math.prod(shapes[1][1:]) if name in ("Conv2d", "Correlate") else (shapes[0][-1] if shapes[0] else 1)
        flop = 2 * inner * numbers
        if wants is None:
            return flop, (sum(sizes) + numbers) * itemsize
        wanted = [size for size, want in zip(sizes, wants, strict=True) if want]
        return flop * sum(map(bool, wants[:2])), (numbers + sum(sizes) + sum(wanted)) * itemsize
    flop = max([*sizes, numbers])
    if name in ATTENTION:
        flop = numbers * (4 * shapes[1][2] if name == "TiledAttention" else 2 * (shapes[0][1] + 1))
    if wants is None:
        return flop, (sum(sizes) + numbers) * itemsize
    wanted = [size for size, want in zip(sizes, wants, strict=True) if want]
    return flop * 5 // 2 if name in ATTENTION else sum(wanted), (numbers + 2 * sum(wanted)) * itemsize


def limit(flop, traffic, seconds, peak, bandwidth):
    """What limits an operation and the share of its bound that it reaches -> ("compute" | "memory" | "overhead", float)."""
    compute, memory = flop / peak, traffic / bandwidth
    bound = max(compute, memory)
    reached = bound / seconds if seconds > 0 else 0.0
    if reached < 0.5:
        return "overhead", reached
    return ("compute" if compute >= memory else "memory"), reached


def peak_holders(events):
    """Events [number, name, bytes], 0 bytes for an end -> (peak in bytes, [[name, bytes], ...] at its first moment)."""
    live, now, peak, holders = {}, 0, 0, []
    for number, name, size in events:
        if size:
            live[number] = name, size
            now += size
            if now > peak:
                peak, held = now, {}
                for owner, part in live.values():
                    held[owner] = held.get(owner, 0) + part
                holders = sorted(([owner, part] for owner, part in held.items()), key=lambda h: (-h[1], h[0]))
        else:
            now -= live.pop(number, (None, 0))[1]
    return peak, holders


def corrected(forest, before, whole):
    """A forest with the recorder's time taken out -> list of [name, seconds, children]; seconds are totals, never below 0."""
    def visit(node):
        name, begin, end, children = node
        inner = [visit(child) for child in children]
        count = sum(n for _, n in inner)
        seconds = max(end - begin - before - count * whole, 0.0)
        return [name, seconds, [part for part, _ in inner]], count + 1

    return [visit(node)[0] for node in forest]


@dataclass
class Event:
    """One interval: what ran ("forward", "backward" or "module"), when, its work, and the bytes of tensors afterwards."""

    name: str
    kind: str
    begin: float
    end: float = 0.0
    flop: int = 0
    traffic: int = 0
    live: int = 0
    shapes: tuple = field(default=())
    dtype: str = ""


class Profile:
    """Record operations, gradients and modules inside of a with block. Recorders do not nest.

    events: in the order of their ends. memory: [number, name, bytes] of storages as they come and go.
    """

    active = None

    def __init__(self, modules=True):
        self.modules, self.events, self.memory, self.names, self.numbers = modules, [], [], [], {}

    def __enter__(self):
        if Profile.active is not None:
            raise RuntimeError("a Profile is active already; they do not nest")
        self.before, self.whole = recorder_cost()
        Profile.active = self
        self.patches = patched(self)
        self.patches.__enter__()
        return self

    def __exit__(self, *reason):
        self.patches.__exit__(*reason)
        Profile.active = None

    def forest(self):
        """Events as a forest of [name, begin, end, children]; the names of backward and module events say what they are."""
        marks = {"forward": "", "backward": " (backward)", "module": " (module)"}
        return nested([[event.name + marks[event.kind], event.begin, event.end] for event in self.events])

    def operations(self):
        """The events that are operations, forward or backward, and no modules."""
        return [event for event in self.events if event.kind != "module"]

    def table(self, peak=None, bandwidth=None):
        """Self times by name as text; with the machine's FLOP/s and bytes/s also what limits each."""
        rows = grouped([[name, seconds] for name, seconds in flattened(corrected(self.forest(), self.before, self.whole))])
        work = {}
        for event in self.operations():
            name = event.name + (" (backward)" if event.kind == "backward" else "")
            flop, traffic = work.get(name, (0, 0))
            work[name] = flop + event.flop, traffic + event.traffic
        lines = [f"{'':32} {'calls':>6} {'time':>10} {'share':>6} {'MFLOP':>9} {'MB':>8}" + ("  limited by" if peak else "")]
        for name, calls, seconds, share in rows:
            flop, traffic = work.get(name, (0, 0))
            text = f"{name:32} {calls:6} {seconds * 1e3:7.3f} ms {share:6.1%} {flop / 1e6:9.2f} {traffic / 1e6:8.2f}"
            if peak and name in work:
                why, reached = limit(flop, traffic, seconds, peak, bandwidth)
                text += f"  {why} ({reached:.0%} of its bound)"
            lines.append(text)
        return "\n".join(lines)

    def tree(self, least=0.01):
        """Who called whom, with total times as bars; what takes less than a share `least` of everything is left out."""
        forest = merged(corrected(self.forest(), self.before, self.whole))
        whole = sum(node[1] for node in forest) or 1.0
        lines = []

        def visit(node, depth):
            name, seconds, children, calls = node
            if seconds >= least * whole:
                bar = "█" * round(30 * seconds / whole)
                lines.append(f"{'  ' * depth + name:40} {calls:5} x {seconds * 1e3:8.3f} ms  {bar}")
                for child in children:
                    visit(child, depth + 1)

        for node in forest:
            visit(node, 0)
        return "\n".join(lines)

    def save(self, path):
        """Write the events as a trace that chrome://tracing and ui.perfetto.dev show."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(trace([[e.name, e.kind, e.begin, e.end, e.live] for e in self.events]), file)


def flattened(forest):
    """[name, self seconds] of a corrected forest."""
    for name, seconds, children in forest:
        yield name, max(seconds - sum(child[1] for child in children), 0.0)
        yield from flattened(children)


def merged(forest):
    """Siblings of one name as one node -> list of [name, seconds, children, calls], the largest first."""
    groups = {}
    for name, seconds, children in forest:
        group = groups.setdefault(name, [name, 0.0, [], 0])
        group[1] += seconds
        group[2] += children
        group[3] += 1
    rows = [[name, seconds, merged(children), calls] for name, seconds, children, calls in groups.values()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


@contextlib.contextmanager
def patched(profile):
    """While this lasts, operations, gradients, modules and storages are noted in profile."""
    run, pull, call, made, gone = tensor.Function.run, autograd.Node.pull, layers.Module.__call__, Storage.__init__, Storage.__del__

    def noted_run(function, tensors):
        event = Event(type(function).__name__, "forward", time.perf_counter())
        profile.names.append(event.name)
        output = run(function, tensors)
        event.end = time.perf_counter()
        profile.names.pop()
        event.shapes, event.dtype = tuple(t.shape for t in tensors), str(output.dtype)
        event.flop, event.traffic = cost(event.name, event.shapes, output.shape, output.dtype.itemsize)
        event.live = Storage.live_bytes
        profile.events.append(event)
        return output

    def noted_pull(node, grad):
        event = Event(node.name, "backward", time.perf_counter())
        wants = None if node.function is None else list(node.function.wants)
        profile.names.append(event.name)
        parts = pull(node, grad)
        event.end = time.perf_counter()
        profile.names.pop()
        event.shapes, event.dtype = node.shapes, str(node.dtype)
        if wants is not None:
            event.flop, event.traffic = cost(event.name, node.shapes, node.shape, node.dtype.itemsize, wants)
        event.live = Storage.live_bytes
        profile.events.append(event)
        return parts

    def noted_call(module, *inputs, **options):
        event = Event(type(module).__name__, "module", time.perf_counter())
        try:
            return call(module, *inputs, **options)
        finally:
            event.end, event.live = time.perf_counter(), Storage.live_bytes
            profile.events.append(event)

    def noted_made(storage, data):
        made(storage, data)
        profile.numbers[id(storage)] = len(profile.memory)
        profile.memory.append([len(profile.memory), profile.names[-1] if profile.names else OUTSIDE, storage.nbytes])

    def noted_gone(storage):
        number = profile.numbers.pop(id(storage), None)
        if number is not None:
            profile.memory.append([number, "", 0])
        gone(storage)

    tensor.Function.run, autograd.Node.pull = noted_run, noted_pull
    Storage.__init__, Storage.__del__ = noted_made, noted_gone
    if profile.modules:
        layers.Module.__call__ = noted_call
    try:
        yield
    finally:
        tensor.Function.run, autograd.Node.pull, layers.Module.__call__ = run, pull, call
        Storage.__init__, Storage.__del__ = made, gone


def recorder_cost(repeat=200):
    """What noting one event takes: inside of its own interval, and in all, in seconds; the shortest of many."""
    profile = object.__new__(Profile)
    profile.modules, profile.events, profile.memory, profile.names, profile.numbers = False, [], [], [], {}
    x, nothing = tensor.zeros(1), tensor.Neg()
    kept = tensor.Function.run
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        kept(nothing, (x,))
        times.append(time.perf_counter() - begin)
    plain = min(times)
    inside, outside = [], []
    with patched(profile):
        for _ in range(repeat):
            begin = time.perf_counter()
            nothing.run((x,))
            outside.append(time.perf_counter() - begin)
            inside.append(profile.events[-1].end - profile.events[-1].begin)
    return max(min(inside) - plain, 0.0), max(min(outside) - plain, 0.0)


def trace(rows):
    """Rows [name, kind, begin, end, live], times in seconds -> a document in the trace event format, times in µs."""
    events, start = [], min((row[2] for row in rows), default=0.0)
    for name, kind, begin, end, live in rows:
        events.append({"name": name, "cat": kind, "ph": "X", "ts": (begin - start) * 1e6, "dur": (end - begin) * 1e6, "pid": 0, "tid": 0})
        if kind in ("forward", "backward"):
            events.append({"name": "live bytes", "ph": "C", "ts": (end - start) * 1e6, "pid": 0, "args": {"bytes": live}})
    return {"traceEvents": events}


def speedup(parts):
    """How many times faster the whole becomes if parts [share, factor] become so many times faster.

    Raises ValueError for shares below 0 or above 1 in sum, and for factors that are not positive.
    """
    shares = [share for share, _ in parts]
    if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-9 or any(not factor > 0 for _, factor in parts):
        raise ValueError(f"shares are from 0 up and 1 at most in sum, factors above 0; got {parts}")
    left = 1 - sum(shares) + sum(share / factor for share, factor in parts)
    return 1 / left if left > 0 else math.inf
