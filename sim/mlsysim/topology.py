"""Networks between nodes, how much of a host's rate is left when all hosts talk at once, and collectives on a Cluster.

A host is a node with all its cards; a link's capacity is counted in host rates. The load of a pattern is what the busiest
link carries while every host sends at its full rate, so a host gets its rate over the load. Equal paths share evenly: no
two flows collide on one uplink by bad luck of a hash.
Sources: Leiserson 1985 (fat tree); Dally, Towles 2004 (torus, tori under uniform traffic); Kim et al. 2008 (dragonfly).
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ._check import amount
from .collectives import IN_SWITCH, STAGES, all_gather, all_reduce, by_protocol, hierarchical_all_reduce
from .collectives import all_to_all as pairwise
from .efficiency import link_share
from .errors import RangeError, unknown
from .result import Result, Term
from .systems import find_cluster

PATTERNS = ("ring", "all-to-all", "halves")
OPERATIONS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all")
_FLAT = ("tpu-ici-v2", "tpu-ici-v3", "tpu-ici-v5e", "tpu-ici-v6e")  # four links a chip: a torus of two dimensions


@dataclass(frozen=True)
class Network:
    """A network of `hosts` hosts. links are cables, hops links on the way from host to host, bisection in host rates.

    loads: "ring" each host to the next one, in order; "all-to-all" each to all the others evenly; "halves" each to one
    in the other half, by any routes.
    """

    kind: str
    hosts: int
    switches: tuple
    links: int
    hops: int
    mean_hops: float
    bisection: float
    loads: dict

    def slowed(self, pattern):
        """How many times longer a pattern takes than a host's own link would let it."""
        if pattern not in PATTERNS:
            raise unknown("pattern", pattern, list(PATTERNS))
        return max(1.0, self.loads[pattern])

    def bandwidth(self, rate, pattern="all-to-all"):
        """B/s of each host of `rate` B/s while all of them talk in that pattern."""
        return (amount("rate", rate, "B/s", above=0.0) / self.slowed(pattern))[()]


def _count(name, value, least=1):
    return int(amount(name, value, "", least=least, whole=True))


def fat_tree(hosts, *, ports=1, radix=64, oversubscription=1.0, rail=False):
    """Switches of `radix` ports in as few levels as it takes, hosts of `ports` cards -> Network.

    oversubscription: ports down over ports up of a leaf. rail=True: card i of every host is on a leaf for cards i, and what
    is meant for another card changes rails inside its host, so a leaf joins `ports` times as many hosts.
    """
    hosts, ports, radix = _count("hosts", hosts), _count("ports", ports), _count("radix", radix, 4)
    over = float(amount("oversubscription", oversubscription, "", least=1.0))
    down = int(radix * over / (1 + over))
    ends = hosts * ports
    if ends <= radix if not rail else hosts <= radix:  # one level
        switches = (ports,) if rail else (1,)
        return Network("rail" if rail else "fat-tree", hosts, switches, ends, 2, 2.0, hosts / 2,
                       dict.fromkeys(PATTERNS, 1.0))  # fmt: skip
    up, half = ends / over, radix // 2
    group = down if rail else max(down // ports, 1)
    sizes, below = [group], down * half  # hosts that a switch of each level reaches without going up; all cards below it
    while 2 * below < ends:  # the top has all its ports below it
        sizes.append(below // ports)
        below *= half
    sizes.append(hosts)
    levels = len(sizes)
    switches = [-(-ends // down), *(int(-(-up // half)) for _ in range(levels - 2)), int(-(-up // radix))]
    others = max(hosts - 1, 1)
    within = np.minimum(np.array(sizes) - 1.0, others) / others
    mean = float(sum(2 * (i + 1) * (w - v) for i, (v, w) in enumerate(zip([0, *within[:-1]], within, strict=True))))
    loads = {"ring": over / group, "all-to-all": over * (hosts - group) / others, "halves": over}
    return Network("rail" if rail else "fat-tree", hosts, tuple(switches), int(ends + (levels - 1) * up), 2 * levels, mean,
                   hosts / 2 / over, loads)  # fmt: skip


def torus(*sides):
    """Hosts on a grid that closes on itself in each dimension, two links in each: torus(8, 8, 8) -> Network.

    A ring here is as many rings as a host has links, in both directions of edge-disjoint cycles, each with its part of the
    data. All-to-all goes dimension by dimension, the shorter way round.
    """
    sides = [_count(f"sides[{i}]", s) for i, s in enumerate(sides)]
    if not sides:
        raise RangeError("sides: got none; wanted at least one, such as torus(4, 4, 4)")
    hosts, k = prod(sides), len(sides)
    used = sum(s > 1 for s in sides)
    far = [(s * s // 4) / s * hosts / max(hosts - 1, 1) for s in sides]  # mean hops in a dimension
    widest = max(sides)
    bisection = 2 * hosts / widest / (2 * k) if hosts > 1 else 0.0
    loads = {"ring": k / max(used, 1), "all-to-all": k * max(far), "halves": hosts / 2 / bisection if hosts > 1 else 1.0}
    return Network("torus", hosts, (), hosts * used, sum(s // 2 for s in sides), sum(far), bisection,
                   loads)  # fmt: skip


def dragonfly(hosts, *, radix=64):
    """Groups of routers, all joined inside a group, groups joined pairwise by long links, shortest routes -> Network.

    A router of `radix` ports has p hosts, 2 p - 1 neighbours in its group and p long links, which balances the three.
    """
    hosts, radix = _count("hosts", hosts), _count("radix", radix, 3)
    p = (radix + 1) // 4
    a, h = 2 * p, p
    if hosts > a * p * (a * h + 1):
        raise RangeError(f"hosts: got {hosts}; a dragonfly of {radix} ports a router has at most {a * p * (a * h + 1)}")
    groups = -(-hosts // (a * p))
    each = hosts / (groups * a)  # hosts a router, as they are spread
    others = max(hosts - 1, 1)
    away = (hosts - a * each) / others if groups > 1 else 0.0
    near = 2 * each * away / a + each * each / others  # on a link between routers of a group
    loads = {"ring": 1.0, "all-to-all": max(near, each * away / h)}
    across = groups * groups / 4 * a * h / (groups - 1) if groups > 1 else a * a / 4
    loads["halves"] = hosts / 2 / across
    mean = 2 + (a - 1) * each / others + away * (1 + 2 * (a - 1) / a)
    links = hosts + groups * a * (a - 1) // 2 + (groups * a * h // 2 if groups > 1 else 0)
    return Network("dragonfly", hosts, (groups * a,), links, 5 if groups > 1 else 3, mean, min(across, hosts / 2),
                   loads)  # fmt: skip


def grid(hosts, dimensions):
    """Sides of the torus of so many hosts that is nearest to a cube."""
    sides = []
    for left in range(dimensions, 0, -1):
        root = round(hosts ** (1 / left))
        sides.append(next(s for s in range(max(root, 1), 0, -1) if hosts % s == 0))
        hosts //= sides[-1]
    return sorted(sides)


def network(on, *, hosts=None, sides=None, radix=64):
    """The Network of a Cluster, or of its first `hosts` nodes. sides: of a torus; without it, the most cubic one."""
    hosts = on.nodes if hosts is None else _count("hosts", hosts)
    if on.topology == "torus":
        if sides is None:
            sides = grid(hosts, 2 if on.node.scale_out.name in _FLAT else 3)
        if prod(sides) != hosts:
            raise RangeError(f"sides: got {tuple(sides)}, which holds {prod(sides)} nodes; wanted {hosts}")
        return torus(*sides)
    if on.topology == "dragonfly":
        return dragonfly(hosts, radix=radix)
    return fat_tree(hosts, ports=on.node.nics, radix=radix, oversubscription=on.oversubscription, rail=on.topology == "rail")


@dataclass(frozen=True)
class Links:
    """Bandwidth (B/s per device and direction) and latency of a group of ranks: inside a node, or across nodes."""

    bandwidth: float
    latency: float
    inside: bool


def links(on, ranks, stride, ring=False, pattern="ring"):
    """What a group of `ranks` devices, `stride` apart, talks over: the node's fabric while all of them are in one node.

    Across nodes each device has its part of the cards, less what `pattern` loses in the network when all nodes talk so. A
    ring enters and leaves a node once, and as many rings as the group has devices in a node run side by side: with
    ring=True the rate is that of all their cards, or of the node's fabric if that is less. With pattern "all-to-all" a device's
    messages to those in its own node go over the node's fabric meanwhile, so the rate for all of them is higher.
    """
    node = on.node
    near = node.scale_up.per_direction.value * link_share(node.scale_up.kind)
    if ranks * stride <= node.count:
        return Links(near, node.scale_up.latency.value, True)
    far = node.scale_out_rate / node.count * link_share(node.scale_out.kind) / network(on).slowed(pattern)
    together = max(node.count // stride, 1)
    if together > 1 and pattern == "all-to-all":
        far = min(far * (ranks - 1) / (ranks - together), near * (ranks - 1) / (together - 1))
    elif together > 1 and ring:
        far = min(far * together, near)
    return Links(far, node.scale_out.latency.value, False)


@dataclass(frozen=True, kw_only=True)
class Collective(Result):
    """One collective operation. bandwidth is bytes of the tensor a second, bus what nccl-tests prints as bus bandwidth.

    bus scales it by what a ring moves through a device, 2 (n - 1)/n for an all-reduce and (n - 1)/n for the others, so
    that it compares with the rate of a link.
    """

    seconds: np.ndarray
    bandwidth: np.ndarray
    bus: np.ndarray
    traffic: np.ndarray
    algorithm: np.ndarray
    ranks: int
    units = {"bandwidth": "B/s", "bus": "B/s"}


_HUGE = 1e30  # B/s: a link that takes no time


def _plans(operation, inner, outer, nets):
    """algorithm -> seconds(size, near, far, near latency, far latency), rates a device, for inner x outer devices."""
    n = inner * outer
    double = 2.0 if operation == "all-reduce" else 1.0

    def ring(size, near, far, a, b):
        if outer == 1:
            return double * all_gather(size, inner, near, latency=a)
        slow = np.minimum(near, far * inner)  # all cards of a node take the traffic of one ring each
        return double * all_gather(size, n, slow, latency=((inner - 1) * a + b) / inner)

    def layered(size, near, far, a, b, across="ring", inside="ring"):
        if operation == "all-reduce":
            near = near * nets["in-switch"] * (1 + 1 / inner) if inside == "in-switch" else near
            return hierarchical_all_reduce(size, inner, outer, near, far, inner_latency=a, outer_latency=b, algorithm=across,
                                           inside=inside, pieces="best")  # fmt: skip
        return all_gather(size, inner, near, latency=a) + all_gather(size / inner, outer, far, latency=b)

    def single(algorithm):
        return lambda size, near, far, a, b: all_reduce(size, inner, near, latency=a, algorithm=algorithm)

    def direct(size, near, far, a, b):
        """Every pair of devices has a message of its own; those inside a node go at the same time as the others."""
        loaded = far / nets["all-to-all"]
        here = pairwise(size * inner / n, inner, near, latency=a)
        return np.maximum(here, (n - inner) * b + size * (n - inner) / n / loaded)

    def relayed(size, near, far, a, b):
        """First inside the node to the device with the right card, then one message to each node."""
        return pairwise(size, inner, near, latency=a) + pairwise(size, outer, far / nets["all-to-all"], latency=b)

    if operation == "all-to-all":
        if outer == 1:
            return {"pairwise": lambda size, near, far, a, b: pairwise(size, inner, near, latency=a)}
        return {"hierarchical": relayed} if nets["relay"] else {"pairwise": direct, "hierarchical": relayed}
    plans = {"ring": ring}
    if outer > 1:
        plans["hierarchical"] = layered
    if operation == "all-reduce":
        for name in ("tree", "double-tree"):
            plans[name] = single(name) if outer == 1 else lambda *x, name=name: layered(*x, across=name)
        plans["in-switch"] = lambda *x: layered(*x, across="in-switch", inside="in-switch")
        plans["in-node-switch"] = lambda *x: layered(*x, inside="in-switch")
    return plans


def collective(on, operation, size, *, ranks=None, algorithm="best", sides=None, radix=64):
    """One collective of `size` bytes a device on the first `ranks` devices of a Cluster -> Collective.

    on is a Cluster or (name of a node, number of devices); operation one of OPERATIONS; size as in collectives.py, may be
    an array. algorithm "best" is the fastest, size by size, of those that need no switch that adds: "ring" over all cards,
    "hierarchical" (inside a node, then across), "tree", "double-tree"; with "in-switch" all switches do, with
    "in-node-switch" those inside nodes, as NCCL uses them from NVLink 4 on. Each runs with the protocol of a library that
    is best for the size (collectives.PROTOCOLS), but on a torus of devices. Other nodes talk in the same pattern at the same time.

    Raises RangeError for ranks that are more than there are or fill a node in part, UnknownName.
    """
    on = find_cluster(on)
    if operation not in OPERATIONS:
        raise unknown("operation", operation, list(OPERATIONS))
    size = amount("size", size, "B")
    node, n = on.node, on.devices if ranks is None else _count("ranks", ranks)
    if n > on.devices:
        raise RangeError(f"ranks: got {n}; the cluster has {on.devices} devices")
    if on.topology == "torus" and node.scale_up is node.scale_out:
        inner, outer = 1, n  # one grid of devices: a node is no boundary
        net = network(replace(on, nodes=n), sides=sides)
    else:
        inner, outer = (n, 1) if n <= node.count else (node.count, n // node.count)
        if inner * outer != n:
            raise RangeError(f"ranks: got {n}; beyond one node wanted a multiple of its {node.count} devices")
        net = network(on, hosts=outer, sides=sides, radix=radix) if outer > 1 else fat_tree(1)
    near, a = node.scale_up.per_direction.value * link_share(node.scale_up.kind), node.scale_up.latency.value
    far, b = node.scale_out_rate / node.count * link_share(node.scale_out.kind) / net.slowed("ring"), node.scale_out.latency.value
    nets = {"all-to-all": net.slowed("all-to-all") / net.slowed("ring"), "relay": net.kind == "rail",
            "in-switch": STAGES * IN_SWITCH.get(node.device.family, 1.0)}  # fmt: skip
    grid_of_devices = inner == 1 and net.kind == "torus"
    plans = _torus_plans(operation, net, nets) if grid_of_devices else _plans(operation, inner, outer, nets)
    if algorithm != "best" and algorithm not in plans:
        raise unknown(f"algorithm of an {operation} on {n} devices", algorithm, [*plans, "best"])
    names = [k for k in plans if not k.endswith("switch")] if algorithm == "best" else [algorithm]
    if not grid_of_devices:
        trees = ("hierarchical", "tree", "double-tree")  # within a node and across nodes one after the other, as a library's tree goes
        plans = {name: by_protocol(plans[name], across=outer > 1, tree=outer > 1 and name in trees) for name in names}

    def seconds(size=size, near=near, far=far, a=a, b=b):
        return np.stack([np.broadcast_to(plans[name](size, near, far, a, b), np.shape(size)) for name in names])

    times = seconds()
    which = times.argmin(axis=0)

    def best(times):
        return np.take_along_axis(times, which[None], axis=0)[0][()]

    def grow():
        def at(**changed):
            return best(seconds(**changed))

        silent = dict(a=0.0, b=0.0)
        inside, across, moving = at(far=_HUGE, **silent), at(near=_HUGE, **silent), at(**silent)
        bytes_ = [Term("inside", inside, formula=f"at {near / 1e9:.4g} GB/s a device"),
                  Term("across", across, formula=f"at {far / 1e9:.4g} GB/s a device")]  # fmt: skip
        together = np.allclose(moving, np.maximum(inside, across), rtol=1e-9, atol=0.0)
        if not together and not np.allclose(moving, inside + across, rtol=1e-9, atol=0.0):
            bytes_.append(Term("less overlap", moving - inside - across, formula="pieces inside and across at the same time"))
        starting = [Term("inside", at(size=size * 0, b=0.0), formula="steps x latency of the node's fabric"),
                    Term("across", at(size=size * 0, a=0.0), formula="steps x latency between nodes")]  # fmt: skip
        rest = took - moving - sum(t.value for t in starting)
        starting.append(Term("filling, less overlap", rest, formula="pieces of the message follow each other"))
        return Term(operation, took, "s", "sum of", "", (
            Term("start-ups", took - moving, parts=tuple(starting), join="sum"),
            Term("bytes", moving, parts=tuple(bytes_), join="max" if together else "sum"),
        ), "sum")  # fmt: skip

    took = best(times)
    moved = (2.0 if operation == "all-reduce" else 1.0) * (n - 1) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(took > 0, size / took, np.inf)[()]
    return Collective(
        seconds=took, bandwidth=rate, bus=rate * moved if n > 1 else rate, traffic=(size * moved)[()],
        algorithm=np.take(names, which), ranks=n, grow=grow,
        knobs={
            "scale-up bandwidth": lambda s: seconds(near=near * s).min(axis=0)[()],
            "scale-out bandwidth": lambda s: seconds(far=far * s).min(axis=0)[()],
            "scale-up latency": lambda s: seconds(a=a / s).min(axis=0)[()],
            "scale-out latency": lambda s: seconds(b=b / s).min(axis=0)[()],
        },
    )  # fmt: skip


def _torus_plans(operation, net, nets):
    """Rings in all dimensions at a time, half of each message in either direction, so the farthest host is `hops` away."""
    n, double = net.hosts, 2.0 if operation == "all-reduce" else 1.0
    load = nets["all-to-all"] if operation == "all-to-all" else 1.0

    def rings(size, near, far, a, b):
        return double * (all_gather(size, n, far / load) + net.hops * b)

    return {"pairwise" if operation == "all-to-all" else "ring": rings}
