"""Joules of arithmetic against joules of traffic: which of the two a network pays for, and the reuse that turns it round."""
from mlsysim import model
from staffml import Choice, Misconception, Part, Template


def arithmetic(p):
    return p.work / 2 * p.mac


def traffic(p):
    return p.weights * p.byte


template = Template(
    title="The energy of a moved byte", area="power", topic="energy-per-operation", track="edge", level="L2", chapter="V1-11", minutes=8,
    space={"net": ("alexnet", "vgg-16", "resnet-50", "mobilenet-v2", "efficientnet-b0", "densenet-121"),
           "mac": tuple(x * 1e-13 for x in (1, 2, 3, 4, 5)), "byte": tuple(x * 1e-12 for x in (30, 40, 60, 80, 120, 160)),
           "frames": (5, 10, 15, 30)},
    derive={"title": lambda p: model(p.net).title, "work": lambda p: round(model(p.net).flop, -7),
            "weights": lambda p: round(model(p.net).params, -5)},
    prompt="""
        For each image, {title} does {work:MMAC} in int8 and reads {weights:MB} of weights from DRAM, each once. A multiply-add takes
        {mac:pJ}, a byte from DRAM {byte:pJ}. The box sees {frames} images a second; leave out everything else.""",
    parts=(
        Part("arithmetic", "How much energy does the arithmetic of an image take?", "J", arithmetic, ("1 µJ", "1 J"), (
            Misconception("two operations", lambda p: 2 * arithmetic(p), 0.5, "The energy is given for a multiply-add, both halves of it."),
            Misconception("of the weights", lambda p: p.weights * p.mac, 0.25, "Each weight is used at many positions of the image."))),
        Part("traffic", "And reading the weights?", "J", traffic, ("1 µJ", "1 J"), (
            Misconception("by MAC", lambda p: p.work / 2 * p.byte, 0.0, "A weight is read once and then used at all its positions."),
            Misconception("a bit", lambda p: 8 * traffic(p), 0.25, "The energy is given for a byte."))),
        Part("power", "How much power is that, both together?", "W",
             lambda p, arithmetic, traffic: p.frames * (arithmetic + traffic), ("10 µW", "20 W"), (
            Misconception("one image", lambda p, arithmetic, traffic: arithmetic + traffic, 0.25, "That is the energy of one image."),
            Misconception("arithmetic only", lambda p, arithmetic: p.frames * arithmetic, 0.25, "Reading takes energy as well."))),
        Choice("uses", "How often must a byte from DRAM be used before its arithmetic takes as much energy as reading it?", "",
               lambda p: p.byte / p.mac, ("50", "2000"), (
            Misconception("as the network does", lambda p: p.work / 2 / p.weights, 0.25, "So often does this network use it on average."),
            Misconception("once", lambda p: 1, 0.0, "A byte from DRAM costs far more than a multiply-add."),
            Misconception("operations", lambda p: 2 * p.byte / p.mac, 0.5, "That counts operations; a multiply-add is two.")))))
