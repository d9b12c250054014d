"""Training a network of layers, or an encoder, by data parallelism: every device has all weights and a part of the batch."""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .collectives import all_reduce
from .efficiency import constants, draw, framework, operator_times, width
from .errors import RangeError, SimError, unknown
from .graph import Graph, Op
from .models import model as named
from .models.nets import Net
from .result import Result, Term, require, total
from .systems import find_cluster
from .training import faster, links

LAYOUTS = ("nhwc", "nchw")
MATRIX = ("tf32", "fp16", "bf16", "fp8", "int8")  # done by matrix units, which want channels innermost


@dataclass(frozen=True, kw_only=True)
class NetTraining(Result):
    """One step of training. rate counts inputs (images, sequences) a second, all devices together."""

    seconds: np.ndarray
    rate: np.ndarray
    flop: np.ndarray
    traffic: np.ndarray
    memory: np.ndarray
    capacity: float
    mfu: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray


def conversions(graph):
    """The copies of a network whose images lie channel by channel: in and out of every convolution on matrix units."""
    ops = [Op(f"{op.name} layout", "vector", reads=op.reads + op.writes, writes=op.reads + op.writes, count=op.count)
           for op in graph.ops if op.kind == "gemm" and not np.all(np.asarray(op.m) == 1)]  # fmt: skip
    return Graph(ops, f"{graph.title} layout")


def loading_seconds(on, workers, decode=None):
    """Seconds between two images that `workers` processes read, decode and augment on the cores of a cluster's hosts.

    decode: what one core takes for an image, calibrated where not given.
    """
    workers = amount("workers", workers, "", least=1, whole=True)
    busy = np.minimum(workers, on.nodes * on.node.cores.value) if on.node.cores else workers
    return (framework("loader") if decode is None else amount("decode", decode, "s")) / busy


def train_net(model, on, *, batch, precision="fp16", layout=None, optimizer=20.0, overlap=True, execution="eager", mixed=True, accumulate=1,
              workers=None, decode=None, allow_infeasible=False, **shape):  # fmt: skip
    """One step of training a Net or an encoder on `batch` inputs, all devices together -> NetTraining.

    on is a Cluster, a device, or (name of a node, number of devices, which may be fewer than it has). execution "eager": what
    lies between two products are passes of their own, forward and back; "compiled": one pass each (XLA, MXNet's fused norms).
    mixed: in 16 bits, norms between residuals, softmax, residuals and gradients of weights stay in 32, as autocast keeps them, and
    weights are cast. overlap: gradients travel during the backward pass.
    layout: "nhwc" or "nchw", the order of an image's numbers; frameworks use the second by default in fp32 and tf32, and matrix
    units then copy every tensor there and back. optimizer is bytes read and written a parameter: fp32 weights, gradient and one
    moment. accumulate: passes of `batch` inputs before an update. workers: processes of all hosts that read and decode images,
    `decode` seconds of a core for each (calibrated if not given); None: inputs are in memory. shape goes to the model's graph
    (tokens of an encoder, predicted words, flash).

    batch may be an array. Raises Infeasible if it does not fit the memory, RangeError if batch is no multiple of the devices.
    Sources: Goyal et al. 2017 (gradients travel during the backward pass); NVIDIA, Convolutional Layers User's Guide (layouts);
    PyTorch, automatic mixed precision, operators that autocast to float32.
    """
    m, on = named(model), find_cluster(on)
    if getattr(m, "causal", False):
        raise SimError(f"train_net: {m.title} is a decoder; wanted a net or an encoder, or train()")
    layout = ("nhwc" if width(precision) <= 2 else "nchw") if layout is None else layout
    if layout not in LAYOUTS:
        raise unknown("layout", layout, list(LAYOUTS))
    node, gpus = on.node, on.devices
    batch = amount("batch", batch, "", least=1, whole=True)
    rest = np.asarray(batch % gpus)
    if rest.any():
        raise RangeError(f"batch: got {float(np.asarray(batch).flat[0]):g}, which is not a multiple of {gpus} devices")
    one = width(precision)
    summed = 12.0 * (np.asarray(accumulate) > 1)  # B a parameter that adding up gradients of several passes reads and writes
    accumulate = amount("accumulate", accumulate, "", least=1, whole=True)
    loading = 0.0
    if workers is not None:
        loading = accumulate * batch * loading_seconds(on, workers, decode)
    forward = m.graph(batch=batch / gpus, execution=execution, training=True, widen=max(4.0 / one, 1.0) if mixed else 1.0, **shape)
    copies = conversions(forward) if layout == "nchw" and precision in MATRIX and isinstance(m, Net) else None
    back = forward.backward()
    kept = ((forward.reads + forward.writes) * forward.count).sum(axis=0) / 2 * one
    memory = m.params * (optimizer - 4.0 + (one if one < 4 else 0.0)) + kept
    device = node.device
    fits = require(memory <= device.memory.value, allow_infeasible, f"training {m.title} on {device.title}", memory, device.memory.value)

    def step(device=device, on=on, launch=1.0, host=1.0):
        def work(graph):
            if graph is None:
                return 0.0
            return accumulate * (operator_times(graph, device, precision, launch=launch).seconds * graph.count).sum(axis=0)

        ahead, behind, copied = work(forward), work(back), 3.0 * work(copies)
        update = accumulate * m.params * summed / (device.bandwidth.value * constants(device.family).memory)
        update = update + m.params * optimizer / (device.bandwidth.value * constants(device.family).memory)
        group = links(on, gpus, 1, ring=True)
        sent = 4.0 if mixed else min(one, 4.0)  # B a gradient: that of the variable, which mixed precision keeps in fp32
        grads = all_reduce(m.params * sent, gpus, group.bandwidth, latency=group.latency) if gpus > 1 else 0.0
        exposed = np.maximum(grads - behind / accumulate, 0.0) if overlap else grads
        spent = ahead, behind, copied, update, exposed
        return *spent, np.maximum(loading / host - sum(spent), 0.0)

    spent = step()
    seconds = sum(spent)
    flop = 3.0 * accumulate * m.graph(batch=batch, **shape).total("flop")
    mfu = flop / (gpus * device.rate(precision) * seconds)
    traffic = accumulate * gpus * sum(g.total("reads") + g.total("writes") for g in (forward, back)) * one
    power = on.nodes * node.count * draw(device, np.maximum(mfu, traffic / (gpus * device.bandwidth.value * seconds)))
    names = ("forward", "backward", "layout", "update", "gradients", "waiting for data")
    return NetTraining(
        seconds=seconds[()], rate=(accumulate * batch / seconds)[()], flop=flop, traffic=traffic, memory=memory,
        capacity=device.memory.value, mfu=mfu, energy=power * seconds, feasible=fits,
        grow=lambda: total("step", [Term(name, value) for name, value in zip(names, spent, strict=True)]),
        knobs={
            "compute": lambda s: sum(step(device.scaled(peak=s))),
            "memory bandwidth": lambda s: sum(step(device.scaled(bandwidth=s))),
            "launch": lambda s: sum(step(launch=1 / s)),
            **({"loading": lambda s: sum(step(host=s))} if workers else {}),
            "scale-up network": lambda s: sum(step(on=faster(on, scale_up=s))),
            "scale-out network": lambda s: sum(step(on=faster(on, scale_out=s))),
        },
    )  # fmt: skip
