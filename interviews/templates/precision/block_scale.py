"""Weights with a scale for every block: bits a weight, the size of the model, the time of a token on a phone."""
from mlsysim import devices, llm
from staffml import Misconception, Part, Template


def bits(p):
    return p.width + p.scale / p.block


def size(p, bits):
    return llm.weight_bytes(p.params, bytes_per=bits / 8)


template = Template(
    title="Quantized weights on phones and tablets", area="precision", topic="quantization-fundamentals", track="mobile", level="L3",
    chapter="V1-10", minutes=10,
    space={"params": (0.5e9, 1e9, 1.5e9, 1.7e9, 2e9, 2.6e9, 2.8e9, 3e9, 3.2e9, 3.8e9, 4e9, 7e9, 8e9),
           "width": (2, 3, 4), "scale": (8, 16, 32), "block": (16, 32, 64),
           "phone": ("iphone-15-pro", "snapdragon-8-gen-3", "tensor-g3", "dimensity-9300", "m4")},
    derive={"title": lambda p: devices.device(p.phone).title, "bandwidth": lambda p: devices.device(p.phone).bandwidth.value},
    where=lambda p: size(p, bits(p)) < devices.device(p.phone).memory.value,
    prompt="""
        A decoder of {params:billion} parameters runs on one {title} ({phone}), whose memory is read at {bandwidth:GB/s}. Weights are
        stored in {width} bits each, and every block of {block} weights has one scale of {scale} bits. Nothing else is read
        when it decodes for one user.""",
    parts=(
        Part("bits", "How many bits does a weight take, its part of the scale included?", "", bits, ("2", "6"), (
            Misconception("no scale", lambda p: p.width, 0.25, "The scale of a block is stored as well."),), tol=0.01),
        Part("size", "How large are the weights?", "B", size, ("100 MB", "8 GB"), (
            Misconception("no scale", lambda p: llm.weight_bytes(p.params, bytes_per=p.width / 8), 0.5, "You left out the scales."),
            Misconception("bits as bytes", lambda p, bits: 8 * size(p, bits), 0.25, "A byte has eight bits."),
            Misconception("GiB as GB", lambda p, bits: size(p, bits) / 2**30 * 1e9, 0.5, "You computed GiB and wrote GB."))),
        Part("token", "How long does a token take at least?", "s", lambda p, size: llm.decode_seconds(size, 0, p.bandwidth),
             ("1 ms", "1 s"), (
            Misconception("bandwidth in bits", lambda p, size: 8 * size / p.bandwidth, 0.25, "The bandwidth is in bytes already."),
            Misconception("written back", lambda p, size: 2 * size / p.bandwidth, 0.25, "Weights are read and not written back."),
            Misconception("unquantized", lambda p: llm.weight_bytes(p.params, bytes_per=2) / p.bandwidth, 0.0,
                          "That is the model before it was quantized.")), tol=0.03)))
