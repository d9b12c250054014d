"""A pruned network in flash: scattered zeros as a bitmap or as gaps, and from which share of zeros on gaps are smaller."""
from mlsysim import llm
from staffml import Misconception, Part, Template


def kept(p):
    return llm.weight_bytes(p.weights * (1 - p.zeros), bytes_per=p.width)


def bitmap(p):
    return kept(p) + llm.weight_bytes(p.weights, bytes_per=1 / 8)


def gaps(p):
    return kept(p) + llm.weight_bytes(p.weights * (1 - p.zeros), bytes_per=p.gap / 8)


template = Template(
    title="A pruned network in flash", area="optimization", topic="pruning-sparsity", track="tiny", level="L2", chapter="V1-10",
    minutes=7,
    space={"weights": (40e3, 80e3, 120e3, 160e3, 200e3, 240e3, 320e3, 400e3), "zeros": (0.4, 0.5, 0.6, 0.7, 0.75), "width": (1, 2),
           "gap": (4, 5, 6, 8)},
    prompt="""
        A keyword network has {weights:thousand} weights of {width:B} each, and {zeros:%} of them, scattered, were pruned to zero. Flash
        holds the other weights and says where they belong in one of two ways: a bitmap with a bit for every weight of the network, or,
        with each kept weight, {gap} bits that count the zeros since the one before. No gap is too long for that.""",
    parts=(
        Part("bitmap", "How many bytes does the network take with a bitmap?", "B", bitmap, ("5 kB", "2 MB"), (
            Misconception("values only", kept, 0.25, "Without the bitmap nobody knows where the kept weights belong."),
            Misconception("a byte a flag", lambda p: kept(p) + p.weights, 0.5, "Kept or not is one bit, and eight of them fit a byte."),
            Misconception("dense", lambda p: p.weights * p.width, 0.0, "A zero that the bitmap marks is not stored.")), tol=0.01),
        Part("gaps", "And with gaps?", "B", gaps, ("5 kB", "2 MB"), (
            Misconception("a gap for all", lambda p: kept(p) + p.weights * p.gap / 8, 0.25, "Pruned weights have no entry, hence no gap."),
            Misconception("gaps in bytes", lambda p: kept(p) + p.weights * (1 - p.zeros) * p.gap, 0.25, "Gaps are counted in bits."),
            Misconception("values only", kept, 0.25, "The gaps are stored beside the weights.")), tol=0.01),
        Part("even", "From which share of zeros on are gaps smaller than a bitmap?", "%", lambda p: 1 - 1 / p.gap, ("50 %", "95 %"), (
            Misconception("share kept", lambda p: 1 / p.gap, 0.5, "That is the share of weights that are kept."),
            Misconception("against dense", lambda p: p.gap / (8 * p.width + p.gap), 0.25,
                          "From there on gaps beat the dense array; the bitmap does so much earlier.")))))
