"""Tensor parallelism inside a node and across two: bytes of an all-reduce, time of a step's, and what leaving the node costs."""
from mlsysim import collectives, llm, systems
from staffml import Misconception, Part, Template


def size(p):
    return llm.weight_bytes(p.tokens * p.width, bytes_per=p.bytes_per)


def inside(p, size):
    return p.reduces * p.layers * collectives.all_reduce(size, p.ranks, p.near)


def across(p, size):
    return p.reduces * p.layers * collectives.all_reduce(size, 2 * p.ranks, p.far)


template = Template(
    title="Tensor parallelism leaves the node", area="parallelism", topic="model-tensor-parallelism", track="cloud", level="L4",
    chapter="V2-05", minutes=12, requires=("networking/ring_all_reduce",),
    space={"tokens": (2048, 4096, 8192, 16384), ("width", "layers"): ((4096, 32), (5120, 40), (6144, 48), (8192, 64), (8192, 80),
           (12288, 96)), "ranks": (4, 8), "link": ("nvlink-3", "nvlink-4", "nvlink-5"), "far": (12.5e9, 25e9, 50e9)},
    derive={"near": lambda p: systems.fabric(p.link).per_direction.value, "bytes_per": lambda p: 2, "reduces": lambda p: 4},
    prompt="""
        A decoder of {layers} layers, {width} wide, is trained with tensor parallelism over the {ranks} devices of a node, on a
        micro-batch of {tokens} tokens. In each layer the activations, {bytes_per:B} a number, are all-reduced {reduces} times: after
        attention and after the feed-forward part, in the forward pass and in the backward pass. A device sends and receives {near:GB/s}
        each way on the links of the node ({link}). All-reduces are rings, nothing overlaps them, and starting one takes no time.""",
    parts=(
        Part("size", "How many bytes does one all-reduce reduce?", "B", size, ("1 MB", "10 GB"), (
            Misconception("a device's part", lambda p: size(p) / p.ranks, 0.25,
                          "Each device holds a partial sum of the whole activations, not a slice of them."),
            Misconception("weights", lambda p: p.width**2 * p.bytes_per, 0.0, "Weights stay where they are; activations are reduced."),
            Misconception("a byte a number", lambda p: size(p) / p.bytes_per, 0.5, "A number takes more than a byte."))),
        Part("inside", "How long do all of them take for one micro-batch?", "s", inside, ("1 ms", "10 s"), (
            Misconception("once round", lambda p, size: inside(p, size) / 2, 0.25,
                          "A ring goes round twice, reduce-scatter and all-gather, in the backward pass too."),
            Misconception("size over rate", lambda p, size: p.reduces * p.layers * size / p.near, 0.25,
                          "A ring moves nearly twice the tensor through each device."),
            Misconception("one layer", lambda p, size: inside(p, size) / p.layers, 0.0, "Every layer has its own."))),
        Part("slower", "Now the layers are spread over two nodes of {ranks} devices each, and between nodes a device has {far:GB/s} each "
             "way, the pace of the whole ring. How many times as long do the all-reduces take?", "",
             lambda p, inside, size: across(p, size) / inside, ("4", "200"), (
            Misconception("rates only", lambda p: p.near / p.far, 0.5, "With twice the ranks a ring moves a little more as well."),
            Misconception("twice", lambda p: 2, 0.0, "The slowest link sets the pace of a ring."),
            Misconception("half as long", lambda p: p.near / p.far / 2, 0.25,
                          "More ranks do not shorten a ring: each moves nearly twice the whole tensor.")), tol=0.01)))
