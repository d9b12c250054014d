"""What stands around a device: links, nodes, clusters, storage, places and prices. Figures: data/*.toml.

A link has two directions and a maker may print either rate: per_direction is what one port group sends while it
receives as much, bidirectional the sum. Time on a link is computed with per_direction.
"""

from dataclasses import dataclass, replace

from ._check import amount
from .constants import Figure
from .devices import DEVICES, Device, device
from .errors import RangeError, SimError, clip, unknown
from .tables import Registry
from .units import parse

TOPOLOGIES = ("fat-tree", "rail", "torus", "dragonfly")
LINKS = ("pcie", "nvlink", "infiniband", "ethernet", "ici", "infinity-fabric", "neuronlink", "onboard")


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """A link between devices or nodes: rates of all ports that one device (or one network card) has on it.

    latency is the start-up time of a small message between neighbours, software included where it was measured.
    """

    name: str
    title: str
    kind: str
    year: int
    per_direction: Figure
    bidirectional: Figure
    latency: Figure


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine: count devices on a scale_up fabric, nics cards on a scale_out fabric.

    power is the most that the maker lets it draw; host_power what is left of it for everything but the devices.
    """

    name: str
    title: str
    year: int
    device: Device
    count: int
    scale_up: Fabric
    scale_out: Fabric
    nics: int
    power: Figure | None = None
    host_power: Figure | None = None
    host_memory: Figure | None = None
    cores: Figure | None = None
    price: Figure | None = None

    @property
    def memory(self):
        """Bytes of all devices together."""
        return self.count * self.device.memory.value

    @property
    def scale_out_rate(self):
        """B/s that leave the node in one direction, all cards together."""
        return self.nics * self.scale_out.per_direction.value

    def rate(self, precision):
        """Dense peak of all devices in FLOP/s."""
        return self.count * self.device.rate(precision)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Equal nodes on one network. oversubscription is downlink over uplink bandwidth of a fat tree, 1 where it is full."""

    node: Node
    nodes: int
    topology: str = "fat-tree"
    oversubscription: float = 1.0

    @property
    def devices(self):
        return self.nodes * self.node.count

    @property
    def device(self):
        return self.node.device

    @property
    def memory(self):
        """Bytes of all devices together."""
        return self.nodes * self.node.memory

    def rate(self, precision):
        """Dense peak of all devices in FLOP/s."""
        return self.nodes * self.node.rate(precision)


@dataclass(frozen=True, kw_only=True)
class StorageTier:
    """Somewhere that bytes are kept: rates of large sequential requests, latency and iops of small random reads.

    price is per byte and second; None, as for capacity, latency and iops, where nothing citable is known.
    """

    name: str
    title: str
    year: int
    read: Figure
    write: Figure
    latency: Figure | None = None
    iops: Figure | None = None
    capacity: Figure | None = None
    price: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place to run: pue is energy of the building over energy of its machines, wue litres a kWh of the machines.

    kind "grid" is a country's electricity with an average building, "operator" an operator's buildings on the world's
    average electricity; site("google", grid="france") joins the two. carbon counts the whole life cycle of a plant.
    """

    name: str
    title: str
    kind: str
    pue: Figure
    carbon: Figure
    wue: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Price:
    """What something cost on a date. per is "hour", "kWh" or "unit"; count says of how many devices."""

    name: str
    title: str
    per: str
    usd: Figure
    device: str | None = None
    count: int = 1

    @property
    def each(self):
        """USD a second, a joule or a piece, for one device."""
        return self.usd.value / self.count


def fabric(name):
    """The link called `name`, such as "nvlink-4"; a Fabric passes. Raises UnknownName with the nearest name."""
    return FABRICS.find(name)


def node(name):
    """The machine called `name`, such as "dgx-h100"; a Node passes. Raises UnknownName with the nearest name."""
    return NODES.find(name)


def cluster(of, *, gpus=None, nodes=None, topology="fat-tree", oversubscription=1.0):
    """A Cluster of `gpus` devices or of `nodes` nodes: cluster("dgx-h100", gpus=1024). `of` is a node or its name.

    Raises RangeError if gpus do not fill whole nodes or oversubscription is below 1, UnknownName for a topology.
    """
    of = node(of)
    if (gpus is None) == (nodes is None):
        raise RangeError(f"wanted either gpus or nodes; got {'both' if gpus is not None else 'neither'}")
    if topology not in TOPOLOGIES:
        raise unknown("topology", topology, list(TOPOLOGIES))
    if nodes is None:
        gpus = int(amount("gpus", gpus, "", least=1, whole=True))
        nodes, rest = divmod(gpus, of.count)
        if rest:
            near = f"{max(nodes, 1) * of.count} or {(nodes + 1) * of.count}" if nodes else f"{of.count}"
            raise RangeError(f"gpus: got {gpus}; {of.title} has {of.count}, so the nearest are {near}")
    nodes = int(amount("nodes", nodes, "", least=1, whole=True))
    oversubscription = float(amount("oversubscription", oversubscription, "", least=1.0))
    return Cluster(node=of, nodes=nodes, topology=topology, oversubscription=oversubscription)


def alone(of):
    """A machine with one device and nothing else known of it."""
    return Node(name=of.name, title=of.title, year=of.year, device=of, count=1, scale_up=fabric(of.link or "pcie-4-x16"),
                scale_out=fabric("ethernet-10g"), nics=1)  # fmt: skip


def find_cluster(on):
    """A Cluster as it is, or the cluster that a pair of a node's name and a number of devices means.

    The devices may be fewer than a node has: a part of one node, as if the rest were not there. A device is one of it.
    """
    if isinstance(on, Cluster):
        return on
    if isinstance(on, Device) or isinstance(on, str) and on in DEVICES.where:
        return cluster(alone(device(on)), nodes=1)
    if not isinstance(on, tuple | list) or len(on) != 2:
        raise SimError(f"on: got {clip(on)}; wanted a Cluster, a device, or a node's name and a number of devices: ('dgx-h100', 1024)")
    of, gpus = node(on[0]), int(amount("gpus", on[1], "", least=1, whole=True))
    return cluster(replace(of, count=min(gpus, of.count)), gpus=gpus)


def storage_tier(name):
    """The storage called `name`, such as "nvme-gen4"; a StorageTier passes. Raises UnknownName with the nearest name."""
    return STORAGE.find(name)


def site(name, *, grid=None):
    """The place called `name`, such as "sweden" or "google"; with grid, an operator's buildings on that electricity."""
    found = SITES.find(name)
    if grid is None:
        return found
    power = SITES.find(grid)
    if power.kind == "operator":
        raise SimError(f"grid: got {power.name!r}, an operator of buildings; wanted a country, such as 'france'")
    return replace(found, name=f"{found.name}-{power.name}", title=f"{found.title}, {power.title}", carbon=power.carbon)


def price(name):
    """The price called `name`, such as "aws-p5"; a Price passes. Raises UnknownName with the nearest name."""
    return PRICES.find(name)


def _of(key, known, got):
    if got.get(key) not in known:
        raise unknown(key, got.get(key), list(known))


def _finish_fabric(path, got):
    _of("kind", LINKS, got)
    return got


def _finish_node(path, got):
    found = {"device": device(got["device"])} | {key: fabric(got[key]) for key in ("scale_up", "scale_out")}
    if got.get("power") and not got.get("host_power"):
        rest = got["power"].value - got["count"] * found["device"].power.value
        note = f"the node's limit less {got['count']} x {found['device'].power.text}"
        found["host_power"] = replace(got["power"], value=rest, unit="kW", kind="estimate", uncertainty=0.3, note=note)
    return got | found


def _finish_site(path, got):
    _of("kind", ("grid", "operator", "average"), got)
    if got["kind"] == "average":
        return got
    fill = "pue" if got["kind"] == "grid" else "carbon"
    if fill in got:
        return got
    average = getattr(SITES["world"], fill)
    return got | {fill: replace(average, kind="estimate", uncertainty=0.3, note="the average: none is known here")}


def _finish_price(path, got):
    _of("per", _PER, got)
    if parse(got["usd"].text)[1] != _PER[got["per"]]:
        raise SimError(f"usd: {got['usd'].text} is not per {got['per']}")
    if "device" in got:
        device(got["device"])
    return got


_PER = {"hour": "USD/s", "kWh": "USD/J", "unit": "USD"}
_LINK = {"per_direction": "B/s", "bidirectional": "B/s", "latency": "s"}
_NODE = {"power": "W", "host_power": "W", "host_memory": "B", "cores": "", "price": "USD"}
_TIER = {"read": "B/s", "write": "B/s", "latency": "s", "iops": "Hz", "capacity": "B", "price": "USD/B/s"}
FABRICS = Registry("fabric", Fabric, _LINK, "fabrics.toml", finish=_finish_fabric)
NODES = Registry("node", Node, _NODE, "nodes.toml", finish=_finish_node)
STORAGE = Registry("storage tier", StorageTier, _TIER, "storage.toml")
SITES = Registry("site", Site, {"pue": "", "wue": "L/kWh", "carbon": "g/kWh"}, "sites.toml", finish=_finish_site)
PRICES = Registry("price", Price, {"usd": None}, "prices.toml", finish=_finish_price)
