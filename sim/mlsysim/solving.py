"""One workload on one device: its operators timed one after the other."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._check import amount, together
from .devices import device as find
from .efficiency import activation_width, draw, host_seconds, operator_times, width
from .errors import SimError
from .graph import Graph
from .models import model as named
from .models.nets import Net
from .result import Result, Term, require, total


@dataclass(frozen=True, kw_only=True)
class Solution(Result):
    """One pass of a workload on one device.

    rate counts inputs (sequences, images) a second; mfu and mbu are shares of the printed peak and bandwidth; memory is
    what weights, cached keys and values and the activations of the widest operator take, capacity what the device has.
    """

    seconds: np.ndarray
    rate: np.ndarray
    flop: np.ndarray
    traffic: np.ndarray
    memory: np.ndarray
    capacity: float
    mfu: np.ndarray
    mbu: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray


@lru_cache(maxsize=128)
def _graph(model, shape):
    return model.graph(**dict(shape))


def graph_of(model, **shape):
    """The model's graph for a shape, kept for the next call if every number of the shape is a scalar."""
    try:
        return _graph(model, tuple(sorted(shape.items())))
    except TypeError:  # arrays have no hash
        return model.graph(**shape)


def refuse_microcontroller(model, device):
    """Raises SimError where cycles of kernels are known: they say more of a microcontroller than tiles and waves do."""
    from .tinyml import CORES

    if device.family in ("cortex-m", "xtensa", "avr") or any(device.name in core.devices for core in CORES.values()):
        raise SimError(f"device: {device.title} has no tiles to fill; tinyml.predict({model.name!r}, {device.name!r}) counts its cycles")


def solve(workload, device, *, batch=1, precision="fp16", weights=None, cache=None, launch="graph", allow_infeasible=False,
          **shape):  # fmt: skip
    """Time, memory and energy of one pass of a workload on one device -> Solution.

    workload is a model, its name, or a Graph; batch and shape (tokens, context ... whatever the model's graph takes) may
    be arrays and broadcast. precision is that of the arithmetic, weights and cache the precisions they are stored in,
    the same if not given: solve("llama-3.1-8b", "h100", batch=8, tokens=1, context=4096, weights="int4"). Activations of
    a decoder keep 16 bits at least. launch: "eager" where a host launches operators one by one and the device may wait for it.

    Raises Infeasible if it does not fit the memory, UnknownName, RangeError, SimError for a network on a microcontroller,
    which is tinyml.predict's.
    """
    device = find(device)
    one = width(precision)
    stored = one if weights is None else width(weights, "weights")
    held = one if cache is None else width(cache, "cache")
    batch = amount("batch", batch, "", least=1, whole=True)[()]
    if isinstance(workload, Graph):
        if shape:
            raise SimError(f"a Graph has its shape already; {', '.join(shape)} cannot be given with it")
        graph, params, cached, between = workload, workload.total("weights"), workload.total("cache"), one
    else:
        model = named(workload)
        if isinstance(model, Net) and device.tier == "tiny":
            refuse_microcontroller(model, device)
        between = activation_width(model, precision)
        together(batch=batch, **shape)
        if "tp" in shape:
            shape["tp"] = int(amount("tp", shape["tp"], "", least=1, whole=True))
        graph = graph_of(model, batch=batch, **shape)
        params, cached = model.params, model.cached(batch=batch, **shape)
    memory = params / shape.get("tp", 1) * stored + cached * held + graph.working * between
    fits = require(memory <= device.storage, allow_infeasible, f"{graph.title} on {device.title}", memory, device.storage)

    def run(**scale):
        changed = device.scaled(**scale) if scale else device
        return operator_times(graph, changed, precision, weights=stored, activations=between, cache=held)

    times = run()
    count = graph.count
    host = host_seconds(launch, count.sum(axis=0))
    on_device = graph.over(times.seconds)
    seconds = np.maximum(on_device, host)[()]
    flop = graph.total("flop")
    traffic = graph.over(times.traffic)
    mfu, mbu = flop / (device.rate(precision) * seconds), traffic / (device.bandwidth.value * seconds)

    def grow():
        parts = []
        for i, op in enumerate(graph.ops):
            bound = Term("arithmetic and traffic", times.busy[i] * count[i], join="overlap", parts=(
                Term("compute", times.compute[i] * count[i], formula="count flop / (peak x efficiency of the shape)"),
                Term("memory", times.memory[i] * count[i], formula="count traffic / (bandwidth x reached share)"),
            ))  # fmt: skip
            parts.append(total(op.name, [bound, Term("launch", times.launch * count[i])]))
        if np.any(host > on_device):
            parts.append(Term("waiting for the host", seconds - on_device, formula="its launches, less what the device does"))
        return total(graph.title or "pass", parts)

    def scaled(name):
        return lambda scale: np.maximum(graph.over(run(**{name: scale}).seconds), host)

    return Solution(
        seconds=seconds, rate=batch / seconds, flop=flop, traffic=traffic, memory=memory, capacity=device.storage,
        mfu=mfu, mbu=mbu, energy=draw(device, np.maximum(mfu, mbu)) * seconds, feasible=fits, grow=grow,
        knobs={
            "compute": scaled("peak"), "memory bandwidth": scaled("bandwidth"),
            "launch": lambda scale: np.maximum(on_device + times.launch * count.sum(axis=0) * (1 / scale - 1), host / scale),
        },
    )  # fmt: skip
