"""Training a network of layers, or an encoder, by data parallelism: every device has all weights and a part of the batch."""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .collectives import all_reduce
from .efficiency import constants, draw, operator_times, width
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


def train_net(model, on, *, batch, precision="fp16", layout=None, optimizer=20.0, overlap=True, allow_infeasible=False, **shape):
    """One step of training a Net or an encoder on `batch` inputs, all devices together -> NetTraining.

    on is a Cluster or (name of a node, number of devices, which may be fewer than it has). Normalisation and activation
    are passes of their own, forward and back. layout: "nhwc" or "nchw", the order of an image's numbers; frameworks use the
    second by default in fp32 and tf32, and matrix units then copy every tensor there and back. optimizer is bytes read and
    written a parameter: fp32 weights, gradient and one moment. shape goes to the model's graph (tokens of an encoder).

    batch may be an array. Raises Infeasible if it does not fit the memory, RangeError if batch is no multiple of the devices.
    Sources: Goyal et al. 2017 (gradients travel during the backward pass); NVIDIA, Convolutional Layers User's Guide (layouts).
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
    forward = m.graph(batch=batch / gpus, **(dict(fused=False) if isinstance(m, Net) else {}), **shape)
    copies = conversions(forward) if layout == "nchw" and precision in MATRIX and isinstance(m, Net) else None
    back = forward.backward()
    kept = ((forward.reads + forward.writes) * forward.count).sum(axis=0) / 2 * one
    memory = m.params * (optimizer - 4.0 + (one if one < 4 else 0.0)) + kept
    device = node.device
    fits = require(memory <= device.memory.value, allow_infeasible, f"training {m.title} on {device.title}", memory, device.memory.value)

    def step(device=device, on=on, launch=1.0):
        def work(graph):
            if graph is None:
                return 0.0
            return (operator_times(graph, device, precision, launch=launch).seconds * graph.count).sum(axis=0)

        ahead, behind, copied = work(forward), work(back), 3.0 * work(copies)
        update = m.params * optimizer / (device.bandwidth.value * constants(device.family).memory)
        group = links(on, gpus, 1, ring=True)
        grads = all_reduce(m.params * min(one, 4.0), gpus, group.bandwidth, latency=group.latency) if gpus > 1 else 0.0
        exposed = np.maximum(grads - behind, 0.0) if overlap else grads
        return ahead, behind, copied, update, exposed

    spent = step()
    seconds = sum(spent)
    flop = 3.0 * m.graph(batch=batch, **shape).total("flop")
    mfu = flop / (gpus * device.rate(precision) * seconds)
    traffic = gpus * sum(g.total("reads") + g.total("writes") for g in (forward, back)) * one
    power = on.nodes * node.count * draw(device, np.maximum(mfu, traffic / (gpus * device.bandwidth.value * seconds)))
    names = ("forward", "backward", "layout", "update", "gradients")
    return NetTraining(
        seconds=seconds[()], rate=(batch / seconds)[()], flop=flop, traffic=traffic, memory=memory, capacity=device.memory.value,
        mfu=mfu, energy=power * seconds, feasible=fits,
        grow=lambda: total("step", [Term(name, value) for name, value in zip(names, spent, strict=True)]),
        knobs={
            "compute": lambda s: sum(step(device.scaled(peak=s))),
            "memory bandwidth": lambda s: sum(step(device.scaled(bandwidth=s))),
            "launch": lambda s: sum(step(launch=1 / s)),
            "scale-up network": lambda s: sum(step(on=faster(on, scale_up=s))),
            "scale-out network": lambda s: sum(step(on=faster(on, scale_out=s))),
        },
    )  # fmt: skip
