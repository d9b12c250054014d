"""Architecture search: how many candidates there are, the energy of training some, and where a shared supernet wins."""
import math

from mlsysim import sustainability
from staffml import Fermi, Misconception, Part, Template


def energy(p, seconds):
    return sustainability.machine_energy(p.devices, seconds, power=p.power)


def shared(p):
    """Candidates from which on one supernet takes less energy than training each."""
    return energy(p, p.supernet) / (energy(p, p.scratch) - energy(p, p.test))


template = Template(
    title="What an architecture search takes", area="architecture", topic="neural-architecture-search", track="global", level="L3",
    chapter="V1-10", minutes=10,
    space={"options": (3, 4, 5, 6, 7, 8, 9), "layers": (8, 10, 12, 14, 16), "devices": (4, 8, 16), "power": (400.0, 700.0, 1000.0),
           "scratch": tuple(3600.0 * h for h in (6, 8, 10, 12, 18, 24)), "test": tuple(60.0 * m for m in (15, 20, 30, 45, 60, 90)),
           "supernet": tuple(86400.0 * d for d in (3, 5, 8, 10, 14, 20)), "candidates": (50, 100, 200, 500)},
    where=lambda p: 2**5 * p.layers**p.options < p.options**p.layers < 1e15 and shared(p) < p.candidates,
    prompt="""
        A search chooses one of {options} blocks for each of {layers} layers, independently. Training one candidate from scratch keeps
        {devices} devices busy for {scratch:h}. The other way is a supernet, which holds all blocks at once: it is trained once
        for {supernet:days} on the same devices, and each candidate is then a path through it that takes {test:min} to
        test on them. With its share of the host a device draws {power:W}.""",
    parts=(
        Fermi("space", "Without a calculator: how many candidates are there?", "", lambda p: p.options**p.layers, ("1000", "1e15"), (
            Misconception("added", lambda p: p.options * p.layers, 0.0,
                          "Every choice of one layer goes with every choice of the others: choices multiply."),
            Misconception("the other way round", lambda p: p.layers**p.options, 0.0,
                          "Each layer multiplies the count by the number of blocks, not the reverse.")), within=3, beyond=30),
        Part("scratch", "How much energy does it take to train {candidates} candidates from scratch?", "J",
             lambda p: p.candidates * energy(p, p.scratch), ("1 MJ", "1 PJ"), (
            Misconception("one device", lambda p: p.candidates * energy(p, p.scratch) / p.devices, 0.25, "Each keeps all devices busy."),
            Misconception("one candidate", lambda p: energy(p, p.scratch), 0.0, "That is one candidate."))),
        Part("break", "From how many candidates on does the supernet take less?", "", shared, ("3", "1000"), (
            Misconception("tests are free", lambda p: energy(p, p.supernet) / energy(p, p.scratch), 0.5,
                          "Testing a path takes energy as well, so each candidate saves less than its training."),
            Misconception("over the test", lambda p: energy(p, p.supernet) / energy(p, p.test), 0.0,
                          "That says when tests have cost as much as the supernet. Compare with what training would have cost.")),
             rounding=math.ceil)))
