"""Binary weights and activations on a core without a bit counter: flash, cycles of either kernel, and the gain that is left."""
from mlsysim import bounds, devices, llm
from staffml import Choice, Misconception, Part, Template


def whole(p):
    """Seconds of the int8 kernel, loads included in the share of the peak that it reaches."""
    return bounds.roofline(2 * p.outputs * p.inputs / p.reached, 0, p.board, precision="int8").seconds


def binary(p):
    return p.outputs * p.inputs / p.word * p.steps / devices.device(p.board).clock.value


def size(p, bits):
    return llm.weight_bytes(p.outputs * p.inputs, bytes_per=bits / 8)


template = Template(
    title="One bit, and how much faster?", area="precision", topic="extreme-quantization", track="tiny", level="L4", chapter="V1-10",
    minutes=12, requires=("compute/mcu_peak", "precision/int8_flash"),
    space={"inputs": (256, 384, 512, 640, 768, 1024, 1152, 1536, 2048), "outputs": (64, 96, 128, 192, 256, 384), "word": (32,),
           "steps": (10, 12, 14, 16, 18, 20), "reached": (0.4, 0.5, 0.6), "high": (8,),
           "board": ("stm32f407", "stm32l4r5", "nrf52840", "nrf5340")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8"),
            "clock": lambda p: devices.device(p.board).clock.value},
    where=lambda p: size(p, p.high) < devices.device(p.board).storage / 2,
    prompt="""
        A fully connected layer has {inputs} inputs, {outputs} outputs, and weights of {high} bits. On one {title} ({board}) at
        {clock:MHz} its int8 kernel reaches {reached:%} of {peak:MOP/s}; a multiply-add is two operations. A binary network would have
        weights and activations of one bit: {word} of them lie in a word, and one exclusive-or compares those of two words. The core
        has no instruction that counts bits, so loads, comparison and counting take {steps} cycles a word.""",
    parts=(
        Part("saved", "How much flash do binary weights save?", "B", lambda p: size(p, p.high) - size(p, 1),
             ("1 kB", "10 MB"), (
            Misconception("what is left", lambda p: size(p, 1), 0.25, "That is what the binary weights take."),
            Misconception("bits as bytes", lambda p: 8 * (size(p, p.high) - size(p, 1)), 0.25, "A byte has eight bits."))),
        Part("whole", "How long does the layer take in int8?", "s", whole, ("10 µs", "1 s"), (
            Misconception("MAC as OP", lambda p: whole(p) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("at the peak", lambda p: whole(p) * p.reached, 0.25, "The kernel does not reach the peak."))),
        Part("binary", "And with binary weights and activations?", "s", binary, ("1 µs", "1 s"), (
            Misconception("one cycle a word", lambda p: binary(p) / p.steps, 0.25, "Loads and counting take most of the cycles of a word."),
            Misconception("bit by bit", lambda p: binary(p) * p.word, 0.0, "One exclusive-or compares all bits of a word."))),
        Choice("gain", "By which factor is the layer faster in binary?", "", lambda p, whole, binary: whole / binary, ("1", "8"), (
            Misconception("bits", lambda p: p.high, 0.25, "That is how much smaller the weights are; cycles do not follow."),
            Misconception("bits of a word", lambda p: p.word, 0.0,
                          "An int8 multiply-add takes a cycle or so, and a word of bits takes many."),
            Misconception("upside down", lambda p, whole, binary: binary / whole, 0.0, "The binary layer is the faster one here.")))))
