"""Light in glass: the round trip that no faster machine shortens. A choice, then a number."""
import math

from mlsysim import network
from staffml import Choice, Misconception, Part, Template


def trip(p):
    return 2 * network.propagation_seconds(p.distance, index=p.index)


template = Template(
    title="Round trip through fibre", area="networking", topic="network-bandwidth-bottlenecks", track="global", level="L1",
    chapter="V1-02", minutes=4,
    space={"distance": tuple(i * 1e5 for i in range(5, 160)), "budget": (0.05, 0.1, 0.2, 0.3, 0.5)},
    derive={"index": lambda p: float(network.FIBRE_INDEX.value), "light": lambda p: network.LIGHT},
    where=lambda p: trip(p) < p.budget,
    prompt="""
        A user is {distance:km} of fibre away from a server. Light in vacuum covers {light:plain} metres a second; glass of index
        {index:plain} slows it down by that factor.""",
    parts=(
        Choice("trip", "How long is the round trip at least?", "s", trip, ("1 ms", "1 s"), (
            Misconception("one way", lambda p: trip(p) / 2, 0.5, "That is one way."),
            Misconception("in vacuum", lambda p: 2 * network.propagation_seconds(p.distance, index=1), 0.25, "That is in vacuum."),
            Misconception("slower twice", lambda p: trip(p) * p.index, 0.0, "You slowed the light down twice."))),
        Part("turns", "How many round trips, one after the other, fit into {budget:ms}?", "", lambda p: p.budget / trip(p),
             ("1", "100"), (
            Misconception("one way", lambda p: 2 * p.budget / trip(p), 0.25, "You counted one-way trips."),
        ), rounding=math.floor)))
