"""A cluster in watts: its power to an order of magnitude, the power of a node, nodes in a rack, racks."""
import math

from mlsysim import devices, sustainability
from staffml import Fermi, Misconception, Part, Template


def node(p):
    return sustainability.machine_energy(p.count, 1, power=p.power) + p.host


def building(p):
    return sustainability.footprint(p.gpus / p.count * node(p), pue=p.pue).energy


template = Template(
    title="How many racks, how many megawatts?", area="power", topic="power-budgeting", track="cloud", level="L2", chapter="V2-02",
    minutes=10,
    space={"gpus": tuple(8 * n for n in (16, 32, 64, 128, 192, 256, 320, 512, 640, 1024, 1536, 2048, 3072)), "count": (8,),
           "pue": (1.1, 1.2, 1.3, 1.5), "host": (2000.0, 2500.0, 3000.0, 4000.0, 4600.0), "rack": (18000.0, 20000.0, 24000.0, 30000.0,
           36000.0, 40000.0), "gpu": ("a100", "h100", "h200", "mi300x", "b200")},
    derive={"card": lambda p: devices.device(p.gpu).title, "power": lambda p: devices.device(p.gpu).power.value},
    prompt="""
        A cluster has {gpus} devices of the type {card} ({gpu}), {count} to a node. Each draws up to {power:W}, and a node takes {host:kW}
        besides. A rack is supplied with {rack:kW}. The building takes {pue:plain} times the energy of its machines.""",
    parts=(
        Fermi("building", "Without a calculator: how much power does the building draw with everything busy?", "W", building,
              ("50 kW", "200 MW"), (
            Misconception("one node", lambda p: building(p) * p.count / p.gpus, 0.0, "That is one node and its share of the building."),
            Misconception("kilo twice", lambda p: building(p) * 1e3, 0.0, "A kilowatt has a thousand watts; you counted them twice."))),
        Part("node", "How much does a node draw at most?", "W", node, ("2 kW", "20 kW"), (
            Misconception("devices only", lambda p: p.count * p.power, 0.5, "Processors, memory, network and fans draw power as well."),
            Misconception("one device", lambda p: p.power + p.host, 0.25, "A node has several devices."))),
        Part("each", "How many whole nodes go into a rack?", "", lambda p, node: p.rack / node, ("1", "20"), (
            Misconception("rounded up", lambda p, node: p.rack / node + 1, 0.25, "The last one would trip the breaker."),
            Misconception("devices only", lambda p: p.rack / (p.count * p.power), 0.25,
                          "You left out what a node takes beside its devices."),
        ), rounding=math.floor),
        Part("racks", "How many racks does the cluster need?", "", lambda p, each: math.ceil(p.gpus / p.count / each), ("4", "2000"), (
            Misconception("by power", lambda p, node: math.ceil(p.gpus / p.count * node / p.rack), 0.5,
                          "What is left over in every rack is too little for a node."),
            Misconception("a device a place", lambda p, each: math.ceil(p.gpus / each), 0.0, "A place holds a node.")), tol=0.01)))
