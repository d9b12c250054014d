"""The tensor arena of a small network: what is alive at a time, what a residual connection adds, what the board has left."""
from mlsysim import devices
from mlsysim.models.nets import Net, Stack
from staffml import Misconception, Part, Template


def tensors(p):
    """Bytes of the input and of what the three layers put out."""
    return p.side**2 * p.inputs, *((p.side // 2) ** 2 * p.channels for _ in range(2 + 1))


def arena(p, residual):
    """Bytes of int8 tensors that are alive at a time."""
    net = Stack((p.inputs, p.side, p.side)).conv(p.channels, p.kernel, 2)
    net = net.keep().depthwise(p.kernel).conv(p.channels, 1).add() if residual else net.depthwise(p.kernel).conv(p.channels, 1)
    return Net("net", "net", lambda: net.layers, 0, "declared", "").working()


def plain(p):
    return arena(p, residual=False)


def kept(p):
    return arena(p, residual=True)


template = Template(
    title="A tensor arena", area="memory", topic="tensor-arena-planning", track="tiny", level="L3", chapter="V1-13", minutes=12,
    space={"side": (32, 40, 48, 56, 64, 80, 96, 112, 128), "inputs": (2, 3, 4, 6, 8), "channels": (8, 12, 16, 20, 24, 32, 40, 48),
           "kernel": (3, 5), "board": ("stm32f746", "stm32f407", "stm32h743", "stm32l4r5", "nrf52840", "nrf5340", "rp2350")},
    derive={"title": lambda p: devices.device(p.board).title, "memory": lambda p: devices.device(p.board).memory.value},
    where=lambda p: sum(tensors(p)) < p.memory < 8 * kept(p),
    prompt="""
        An int8 network runs on one {title} ({board}, {memory:KiB} of SRAM). Its input is {side} by {side} positions of {inputs}
        channels, a byte each. A convolution of {kernel} by {kernel} halves both sides and puts out {channels} channels;
        a depthwise convolution and then a pointwise one keep this shape. The interpreter holds the input and the output of the
        layer that runs and gives all other room back; it computes nothing in place. Weights stay in flash.""",
    parts=(
        Part("arena", "How large is the arena at least?", "B", plain, ("1 kB", "2 MB"), (
            Misconception("all of them", lambda p: sum(tensors(p)), 0.25, "A tensor that no later layer reads gives its room back."),
            Misconception("largest tensor", lambda p: max(tensors(p)), 0.25, "A layer needs its input and its output at the same time."),
            Misconception("in fp32", lambda p: 4 * plain(p), 0.25, "An int8 number takes one byte."))),
        Part("residual", "The output of the first layer is now added to that of the last one. How large is the arena then?", "B", kept,
             ("1 kB", "2 MB"), (
            Misconception("as before", plain, 0.0, "What is added later has to be kept until then, beside the layer that runs."),
            Misconception("all of them", lambda p: sum(tensors(p)), 0.25, "The input of the network is not needed any more by then."))),
        Part("left", "How much SRAM does that leave for everything else?", "B", lambda p, residual: p.memory - residual, ("1 kB", "2 MB"), (
            Misconception("as before", lambda p: p.memory - plain(p), 0.25, "That was before something had to be kept."),
            Misconception("all of them", lambda p: p.memory - sum(tensors(p)), 0.25, "Tensors that are done with give their room back.")))))
