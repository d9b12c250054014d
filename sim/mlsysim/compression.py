"""What quantisation, pruning, low rank and distillation do to bytes, FLOP and time. Accuracy is not predicted.

    weights="int4"               stored in 4 bits, widened on reading: fewer bytes, the same arithmetic
    activations="int8"           weights and activations in 8 bits: fewer bytes, and the int8 units where the device has them
    prune=0.5                    scattered zeros: a smaller file with an index; dense kernels take as long as before
    prune=0.5, pattern="2:4"     two of four: half of the bytes and their places, and the sparse rate where it is printed
    prune=0.5, pattern="structured"   whole channels: smaller products, as wide as the device likes them
    rank=64                      each product becomes two thin ones, where that is less work

Each is a change to the workload's graph, timed like any other graph. Sources: Frantar et al. 2023 (GPTQ: weights in 4 bits,
a scale a group); Mishra et al. 2021 (2:4, two bits of place for each kept weight); Han et al. 2016; Hinton et al. 2015.
"""

from dataclasses import dataclass, replace

import numpy as np

from ._check import amount
from .devices import device as find
from .efficiency import activation_width, draw, operator_times, width
from .errors import RangeError, SimError, UnknownName, unknown
from .graph import Graph
from .models import model as named
from .result import Result, Term, require, total
from .solving import graph_of, solve

PATTERNS = ("unstructured", "2:4", "structured")
SCALE = 2.0  # B of the scale that a group of weights shares
MULTIPLE = 8  # channels that stay after structured pruning come in this many


@dataclass(frozen=True, kw_only=True)
class Compression(Result):
    """A compressed workload on a device. speedup is over the uncompressed one, ratio what the file shrinks by.

    stored is the file of weights, memory what a pass needs on the device, params the weights that are left, flop those of
    the arithmetic that is really done. before holds the seconds, stored, memory and flop of the uncompressed workload.
    """

    seconds: np.ndarray
    speedup: np.ndarray
    flop: np.ndarray
    traffic: np.ndarray
    memory: np.ndarray
    capacity: float
    stored: np.ndarray
    ratio: np.ndarray
    params: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray
    before: dict
    units = {"speedup": "", "stored": "B", "ratio": "", "params": ""}


def _weighted(op):
    return op.kind in ("gemm", "depthwise") and bool(np.any(np.asarray(op.weights)))


def _narrow(graph, keep):
    """Every inner width times keep, in whole multiples; the first product keeps its inputs and the last its outputs."""
    places = [i for i, op in enumerate(graph.ops) if _weighted(op)]

    def cut(n):
        return np.where(np.asarray(n) > 1, np.maximum(np.ceil(np.asarray(n) * keep / MULTIPLE) * MULTIPLE, 1), n).clip(max=n)

    ops = []
    for i, op in enumerate(graph.ops):
        if not _weighted(op):
            groups = cut(op.groups) if op.kind == "attention" else op.groups
            part = np.asarray(groups) / op.groups if op.kind == "attention" else keep
            ops.append(replace(op, groups=groups, flop=None if op.flop is None else op.flop * part, reads=op.reads * part,
                               writes=op.writes * part, cache=op.cache * part, live=None))  # fmt: skip
            continue
        n = op.n if i == places[-1] else cut(op.n)
        k = op.k if i == places[0] or op.kind == "depthwise" else cut(op.k)
        groups = cut(op.groups) if op.kind == "depthwise" else op.groups
        less = (n / np.asarray(op.n)) * (k / np.asarray(op.k)) * (groups / np.asarray(op.groups))
        wide = k / np.asarray(op.k) * (groups / np.asarray(op.groups))
        tall = n / np.asarray(op.n) * (groups / np.asarray(op.groups))
        ops.append(replace(op, n=n, k=k, groups=groups, flop=None if op.flop is None else op.flop * less, weights=op.weights * less,
                           reads=op.reads * wide, writes=op.writes * tall, live=None))  # fmt: skip
    return Graph(ops, graph.title)


def _thin(graph, rank):
    """Every product (m, k) (k, n) as (m, k) (k, rank) and (m, rank) (rank, n), where that is less work."""
    ops = []
    for op in graph.ops:
        if op.kind != "gemm" or not _weighted(op) or not np.all(rank * (np.asarray(op.n) + op.k) < np.asarray(op.n) * op.k):
            ops.append(op)
            continue
        share = rank / np.asarray(op.n)  # of the FLOP and weights that one with all n outputs has
        scale = 1.0 if op.flop is None else np.asarray(op.flop) / (2.0 * op.m * op.n * op.k * op.groups)
        middle = op.m * rank * op.groups
        ops.append(replace(op, name=f"{op.name} down", n=rank, flop=2.0 * op.m * rank * op.k * op.groups * scale,
                           weights=op.weights * share, writes=middle))  # fmt: skip
        ops.append(replace(op, name=f"{op.name} up", k=rank, flop=2.0 * op.m * rank * op.n * op.groups * scale,
                           weights=op.weights * rank / op.k, reads=middle))  # fmt: skip
    return Graph(ops, graph.title)


def _sparse(device, precision):
    """(device, precision) whose rate is the sparse one, beside the dense 16-bit rate. Raises UnknownName."""
    if precision not in device.sparse:
        raise UnknownName(f"{device.title}: {unknown('precision with a printed sparse rate', precision, list(device.sparse) or ['none'])}")
    if precision in ("fp16", "bf16"):
        return replace(device, peak=device.peak | {"fp16": device.peak[precision], "bf16": device.sparse[precision]}), "bf16"
    return replace(device, peak=device.peak | {precision: device.sparse[precision]}), precision


def compress(workload, device, *, weights=None, activations=None, group=None, prune=0.0, pattern="unstructured", rank=None,
             batch=1, precision="fp16", cache=None, allow_infeasible=False, **shape):  # fmt: skip
    """A workload compressed and timed on a device, beside itself uncompressed in `precision` -> Compression.

    weights: the precision that weights are stored in; activations: the one that both are kept in and multiplied in; group:
    weights that share a scale. prune: share of weights (structured: of channels) removed. rank: of every product. They
    combine. batch and shape as in solve(). Raises UnknownName for a rate that the device does not print, Infeasible.
    """
    m, device = named(workload), find(device)
    batch = amount("batch", batch, "", least=1, whole=True)[()]
    arithmetic = precision if activations is None else activations
    one, dense, between = width(arithmetic, "activations"), width(precision), activation_width(m, arithmetic)
    held = one if cache is None else width(cache, "cache")
    each = width(arithmetic if weights is None else weights, "weights")
    each += 0.0 if group is None else SCALE / amount("group", group, "", least=1, whole=True)
    if pattern not in PATTERNS:
        raise unknown("pattern", pattern, list(PATTERNS))
    removed = float(amount("prune", prune, "%" if isinstance(prune, str) else ""))
    if removed >= 1 or pattern == "2:4" and removed not in (0.0, 0.5):
        wanted = "0.5, two of four" if pattern == "2:4" else "a share from 0 to below 1"
        raise RangeError(f"prune: got {removed:g}; wanted {wanted}")
    plain = graph_of(m, batch=batch, **shape)
    graph, kept = plain, each
    if removed and pattern == "structured":
        graph = _narrow(graph, 1 - removed)
    if rank is not None:
        graph = _thin(graph, float(amount("rank", rank, "", least=1, whole=True)))
    two_of_four = bool(removed) and pattern == "2:4"
    if two_of_four:
        kept = 0.5 * (each + 0.25)  # two bits say where a kept weight stands
        sparse = _sparse(device, arithmetic)
    on_file = kept
    if removed and pattern == "unstructured":  # a bit for each weight, or 16 bits for each that is kept
        on_file = min(each, (1 - removed) * each + 1 / 8, (1 - removed) * (each + 2.0))

    products = [i for i, op in enumerate(graph.ops) if _weighted(op)]
    of_products = sum((np.asarray(op.weights) * op.count for op in plain.ops if _weighted(op)), 0.0)
    left = sum((np.asarray(graph.ops[i].weights) * graph.ops[i].count for i in products), 0.0)
    outside = 0.0 if getattr(m, "experts", 0) else np.maximum(m.params - of_products, 0.0)  # embeddings, norms
    params = outside + (m.params - outside) * (left / of_products)
    tp = shape.get("tp", 1)
    memory = params / tp * kept + m.cached(batch=batch, **shape) * held + graph.working * between
    title = f"{m.title}, compressed, on {device.title}"
    fits = require(memory <= device.storage, allow_infeasible, title, memory, device.storage)

    def run(**scale):
        """Seconds of one occurrence of each operator."""
        bytes_of = dict(weights=kept, activations=between, cache=held)
        times = operator_times(graph, device.scaled(**scale) if scale else device, arithmetic, **bytes_of)
        seconds = times.seconds
        if two_of_four:
            faster, name = sparse
            halved = operator_times(graph, faster.scaled(**scale) if scale else faster, name, **bytes_of).seconds
            gemms = [i for i in products if graph.ops[i].kind == "gemm"]
            seconds = seconds.copy()
            seconds[gemms] = halved[gemms]
        return seconds * graph.count, (times.traffic * graph.count).sum(axis=0)[()]

    by_operator, traffic = run()
    seconds, flop = by_operator.sum(axis=0)[()], graph.total("flop")
    if two_of_four:
        flop = flop - sum((graph.flop[i] * graph.count[i] / 2 for i in products if graph.ops[i].kind == "gemm"), 0.0)
    first = solve(m, device, batch=batch, precision=precision, cache=cache, allow_infeasible=True, **shape)
    busy = np.maximum(flop / (device.rate(arithmetic) * seconds), traffic / (device.bandwidth.value * seconds))
    file = m.params * dense
    return Compression(
        seconds=seconds, speedup=first.seconds / seconds, flop=flop, traffic=traffic, memory=memory, capacity=device.storage,
        stored=params * on_file, ratio=file / (params * on_file), params=params, energy=draw(device, busy) * seconds, feasible=fits,
        before=dict(seconds=first.seconds, stored=file, memory=first.memory, flop=first.flop),
        grow=lambda: total(title, [Term(op.name, t) for op, t in zip(graph.ops, by_operator, strict=True)]),
        knobs={"compute": lambda s: run(peak=s)[0].sum(axis=0), "memory bandwidth": lambda s: run(bandwidth=s)[0].sum(axis=0)},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Distillation(Result):
    """A student in the place of its teacher: seconds and memory of a pass of the student, speedup over the teacher's.

    flop is what training the student on so many examples takes: its own three passes and one of the teacher. shrink is
    how many times fewer parameters the student has.
    """

    seconds: np.ndarray
    speedup: np.ndarray
    memory: np.ndarray
    flop: np.ndarray
    shrink: float
    units = {"speedup": "", "shrink": ""}


def distill(teacher, student, device, *, examples=0, batch=1, precision="fp16", **shape):
    """Time of a student model against its teacher, and the FLOP of teaching it -> Distillation.

    examples: inputs of that shape (sequences, images) that the student learns from. The teacher need not fit the device.
    """
    old, new = named(teacher), named(student)
    if new.params >= old.params:
        raise SimError(f"student: {new.title} has {new.params:,} parameters, its teacher {old.params:,}; wanted fewer")
    examples = amount("examples", examples, "", whole=True)
    shape = dict(batch=batch, precision=precision, **shape)
    slow, fast = solve(old, device, allow_infeasible=True, **shape), solve(new, device, **shape)
    return Distillation(
        seconds=fast.seconds, speedup=slow.seconds / fast.seconds, memory=fast.memory, shrink=old.params / new.params,
        flop=(examples * (3 * fast.flop + slow.flop) / np.asarray(batch))[()], grow=fast.grow, knobs=fast.knobs,
    )  # fmt: skip
