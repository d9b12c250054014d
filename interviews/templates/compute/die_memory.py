"""A package of several dies, each with its own memory: pages spread over all of them, or placed where they are read."""
from mlsysim import bounds, devices, network
from staffml import Misconception, Part, Template


def placed(p):
    return bounds.roofline(0, p.weights, p.gpu).seconds


def remote(p):
    """Bytes that one die reads from the memories of the others when pages lie anywhere."""
    return p.weights / p.dies * (1 - 1 / p.dies)


template = Template(
    title="Near and far memory in a package", area="compute", topic="chiplet-architecture", track="cloud", level="L4", chapter="V2-02",
    minutes=12, requires=("compute/roofline",),
    space={"weights": tuple(g * 1e9 for g in (8, 12, 16, 24, 30, 36, 48, 60, 64, 72, 90, 96)),
           ("gpu", "dies"): (("mi250x", 2), ("mi300x", 8), ("mi325x", 8), ("b200", 2), ("mi355x", 8)),
           "link": tuple(g * 1e9 for g in (100, 150, 200, 250, 300, 400, 500, 600, 800))},
    derive={"title": lambda p: devices.device(p.gpu).title, "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value},
    where=lambda p: p.weights < devices.device(p.gpu).memory.value and remote(p) / p.link > placed(p) * (1 + 1 / 8),
    prompt="""
        The {title} ({gpu}) is a package of {dies} compute dies and reads its memory at {bandwidth:TB/s}. Suppose that each die
        had an equal part of this memory to itself, and a link into it that brings data from the parts of the others at
        {link:GB/s}; leave out latency. In a decoding step each die reads its equal share of {weights:GB} of weights, once.""",
    parts=(
        Part("placed", "How long does a step take when each die's weights lie in its own memory?", "s", placed, ("500 µs", "200 ms"), (
            Misconception("one die", lambda p: placed(p) * p.dies, 0.25, "All dies read at the same time."),
            Misconception("over the link", lambda p: network.transfer_seconds(p.weights / p.dies, p.link), 0.0, "Nothing is far here."))),
        Part("remote", "Pages are now spread evenly over all memories instead. How many bytes of a step come into a die over its link?",
             "B", remote, ("500 MB", "50 GB"), (
            Misconception("everything", lambda p: p.weights / p.dies, 0.5, "One of the memories is its own."),
            Misconception("all dies", lambda p: p.weights * (1 - 1 / p.dies), 0.25, "That comes over the links of all dies."))),
        Part("spread", "How long does a step take then, near and far reads at the same time?", "s",
             lambda p, placed, remote: max(placed, network.transfer_seconds(remote, p.link)), ("500 µs", "1 s"), (
            Misconception("in turn", lambda p, placed, remote: placed + network.transfer_seconds(remote, p.link), 0.25,
                          "Both go on at the same time; the slower one decides."),
            Misconception("memory only", lambda p, placed: placed, 0.0, "The package has one memory in name only: the links are slower."),
            Misconception("one link", lambda p, remote: p.dies * network.transfer_seconds(remote, p.link), 0.25,
                          "Each die has a link of its own."))),
        Part("factor", "By which factor does placing the weights shorten the step?", "", lambda p, placed, spread: spread / placed,
             ("1", "50"), (
            Misconception("dies", lambda p: p.dies, 0.0, "What counts is the link against the memory, not the number of dies."),
            Misconception("memory over link", lambda p: p.bandwidth / p.link, 0.25,
                          "That is the whole memory over one link, and a part of the reads is near.")), tol=0.03)))
