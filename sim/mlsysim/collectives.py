"""Time of a collective operation in the alpha-beta model: a start-up time for each step, and bytes over bandwidth.

size is what one device holds: the whole tensor for an all-reduce, the result for an all-gather, the input for a
reduce-scatter, and what a device sends in all for an all-to-all. bandwidth is per direction. Everything broadcasts.
Source: Thakur, Rabenseifner, Gropp 2005; Sanders, Speck, Träff 2009 for two trees; Graham et al. 2016 for the switch.
"""

import numpy as np

from ._check import amount, together
from .errors import unknown

ALGORITHMS = ("ring", "tree", "double-tree", "in-switch")


def _inputs(size, devices, bandwidth, latency):
    given = dict(
        size=amount("size", size, "B"),
        devices=amount("devices", devices, "", least=1, whole=True),
        bandwidth=amount("bandwidth", bandwidth, "B/s", above=0.0),
        latency=amount("latency", latency, "s"),
    )
    together(**given)
    return tuple(given.values())


def _ring(size, n, bandwidth, latency):
    return 2 * (n - 1) * latency + 2 * (n - 1) / n * size / bandwidth


def _tree(size, n, bandwidth, latency, share=None):
    """Up and down a binary tree, cut into the best number of pieces; an inner node has two children to serve.

    k pieces take 2 (levels + k - 1) steps of latency + stream / 2k, which is least at the k below.
    """
    levels = np.ceil(np.log2(n))
    stream = 4 * (np.where(n > 1, 1.0, 0.0) if share is None else share) * size / bandwidth
    fill = np.maximum(levels - 1, 0)
    pieces = np.maximum(np.sqrt(fill * stream / np.maximum(2 * latency, 1e-30)), 1.0)
    return 2 * (fill + np.where(n > 1, pieces, 0.0)) * latency + stream * (1 + fill / pieces)


def _double_tree(size, n, bandwidth, latency):
    """Two trees, each with half of the message; an inner node of one is a leaf of the other."""
    return _tree(size, n, bandwidth, latency, np.where(n > 1, 0.5, 0.0))


def _in_switch(size, n, bandwidth, latency):
    """The switch adds for each device the n-th part that the device asks for, and copies that sum to all.

    A device sends its tensor to be added and its part of the sum to be copied, and receives that part and all sums:
    size (1 + 1/n) either way, both ways at the same time.
    """
    return np.where(n > 1, 2 * latency + size * (1 + 1 / n) / bandwidth, 0.0)


_ALL_REDUCE = dict(zip(ALGORITHMS, (_ring, _tree, _double_tree, _in_switch), strict=True))


def all_reduce(size, devices, bandwidth, *, latency=0.0, algorithm="ring"):
    """Seconds until every device has the sum. algorithm: one of ALGORITHMS, or "best" of ring and double tree.

    A ring moves 2 (n - 1)/n size through every device in 2 (n - 1) steps, which no algorithm without help from the
    network undercuts in bytes; trees take fewer steps.
    """
    given = _inputs(size, devices, bandwidth, latency)
    if algorithm == "best":
        return np.minimum(_ring(*given), _double_tree(*given))[()]
    if algorithm not in _ALL_REDUCE:
        raise unknown("algorithm", algorithm, [*ALGORITHMS, "best"])
    return _ALL_REDUCE[algorithm](*given)[()]


# A library sends short messages with flags beside the data, which is quick to start and wastes rate, long ones without:
# share of the rate, and latency inside a node and across nodes over that of the quickest. The middle one needs NVLink.
PROTOCOLS = ((0.5, 1.0, 1.0), (120 / 128, 3.2, np.inf), (1.0, 5.7, 5.2))
# Share of the rate that a tree across nodes reaches with messages of 64 B, 128 B ... 512 MiB by each protocol: its pieces are too
# few or too small in between. Source: NVIDIA NCCL, treeCorrectionFactor in src/graph/tuning.cc, measured by its authors.
TREE = np.array((
    (1, 1, 1, 1, .9, .8, .7, .7, .7, .7, .6, .5, .4, .4, .5, .6, .7, .8, .9, 1, 1, 1, 1, 1),
    (1, 1, 1, 1, 1, .9, .8, .8, .8, .7, .6, .6, .6, .6, .6, .6, .8, .9, .9, .9, .9, 1, 1, 1),
    (.9, .9, .9, .9, .9, .9, .9, .8, .7, .6, .6, .5, .5, .5, .5, .6, .7, .8, .7, .7, .8, .9, .9, .9)))  # fmt: skip
# Where the switch of a node adds, the library reckons with this share of the link's rate: an efficiency of the generation, all
# channels (16, 24) but one; and of that with 5/6, for what is sent besides the tensor. Source: src/graph/tuning.cc, nvls.cc.
IN_SWITCH = {"nvidia-hopper": 0.85 * 15 / 16, "nvidia-blackwell": 0.74 * 23 / 24}
STAGES = 5.0 / 6.0


def library_all_reduce(size, devices, bandwidth, *, latency=0.0):
    """Seconds of an all-reduce by a library that picks the best algorithm and protocol; latency is that of the quickest.

    Source: NVIDIA NCCL 2.19, src/graph/tuning.cc: LL, LL128 and Simple, on NVLink and on a network.
    """
    def plan(size, near, far, a, b):
        return all_reduce(size, devices, near, latency=a, algorithm="best")

    return by_protocol(plan)(size, np.asarray(bandwidth, float), 1.0, latency, 0.0)[()]


def by_protocol(plan, across=False, tree=False):
    """plan(size, near, far, near latency, far latency) with the protocol that is best for each size; tree: less what TREE says."""
    def best(size, near, far, a, b):
        a, b = np.asarray(a), np.asarray(b)
        steps = np.log2(np.maximum(size, 64.0) / 64.0)
        times = []
        for (share, inside, outside), reached in zip(PROTOCOLS, TREE, strict=True):
            if not across or np.isfinite(outside):
                part = share * np.interp(steps, np.arange(25), (*reached, 1.0)) if tree else share
                times.append(plan(size, near * part, far * part, a * inside, b * (outside if across else 1.0)))
        return np.minimum.reduce(times)

    return best


def all_gather(size, devices, bandwidth, *, latency=0.0):
    """Seconds until every device has all parts of a tensor of `size` bytes, by a ring. A reduce-scatter takes as long."""
    size, n, bandwidth, latency = _inputs(size, devices, bandwidth, latency)
    return ((n - 1) * latency + (n - 1) / n * size / bandwidth)[()]


reduce_scatter = all_gather


def all_to_all(size, devices, bandwidth, *, latency=0.0):
    """Seconds until every device has sent an equal part of its `size` bytes to each of the others."""
    return all_gather(size, devices, bandwidth, latency=latency)


PIECES = 2.0 ** np.arange(11)


def hierarchical_all_reduce(size, inner, outer, inner_bandwidth, outer_bandwidth, *, inner_latency=0.0, outer_latency=0.0,
                            algorithm="ring", inside="ring", pieces=1):  # fmt: skip
    """Seconds of an all-reduce over outer nodes of inner devices each: scatter inside, reduce across, gather inside.

    outer_bandwidth is that of one device. Each device takes 1/inner of the tensor across, all of them at the same time.
    inside="in-switch": the node's switch adds. pieces: the tensor is cut into that many, which follow each other through
    the steps, or into the "best" number as libraries do; inside, scattering and gathering share the links.
    """
    if inside not in ("ring", "in-switch"):
        raise unknown("inside", inside, ["ring", "in-switch"])
    if pieces == "best":
        counts = PIECES.reshape(-1, *(1,) * np.ndim(np.asarray(size, float) * np.asarray(outer)))
    else:
        counts = amount("pieces", pieces, "", least=1, whole=True)
    inner = amount("inner", inner, "", least=1, whole=True)
    each = amount("size", size, "B") / counts
    if inside == "ring":
        near = 2 * all_gather(each, inner, inner_bandwidth, latency=inner_latency)
    else:
        near = all_reduce(each, inner, inner_bandwidth, latency=inner_latency, algorithm="in-switch")
    across = all_reduce(each / inner, outer, outer_bandwidth, latency=outer_latency, algorithm=algorithm)
    seconds = near + across + (counts - 1) * np.maximum(near, across)
    return (seconds.min(axis=0) if pieces == "best" else seconds)[()]
