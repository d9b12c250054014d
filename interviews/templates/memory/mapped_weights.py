"""A model file that is mapped and larger than the memory left: a cyclic scan, least recently used, and pinning against it."""
from mlsysim import devices, llm, network
from staffml import Misconception, Part, Template


def size(p):
    return llm.weight_bytes(p.params, bytes_per=p.bits / 8)


def faults(p, size):
    return network.transfer_seconds(size, p.flash) + llm.decode_seconds(size, 0, p.bandwidth)


def pinned(p, size):
    return network.transfer_seconds(max(size - p.free, 0), p.flash) + llm.decode_seconds(size, 0, p.bandwidth)


template = Template(
    title="Mapped weights that do not fit", area="memory", topic="memory-mapped-inference", track="mobile", level="L4", chapter="V2-11",
    minutes=15, requires=("precision/block_scale",),
    space={"params": (3e9, 3.8e9, 4e9, 7e9, 8e9, 9e9, 12e9, 13e9, 14e9), "bits": (3, 4, 5, 6, 8), "free": tuple(g * 1e9 for g in (2, 2.5, 3,
           3.5, 4, 5, 6, 8)), "flash": (1.5e9, 2e9, 3e9, 4e9),
           "phone": ("iphone-15-pro", "snapdragon-8-gen-3", "tensor-g3", "dimensity-9300")},
    derive={"title": lambda p: devices.device(p.phone).title, "bandwidth": lambda p: devices.device(p.phone).bandwidth.value},
    where=lambda p: 0.5 * size(p) < p.free < size(p) * (1 - 1 / 8) and p.free < devices.device(p.phone).memory.value / 2,
    prompt="""
        An app on a phone with the {title} ({phone}) maps a model file of {params:billion} parameters at {bits} bits each into memory. The
        system leaves {free:GB} for its pages and drops the page that was used longest ago when it needs room. Every token reads the
        whole file once, from beginning to end. Pages that are missing come from flash at {flash:GB/s}; after that the weights are
        read from memory at {bandwidth:GB/s}, one after the other with the flash.""",
    parts=(
        Part("size", "How large is the file?", "B", size, ("500 MB", "20 GB"), (
            Misconception("bits as bytes", lambda p: 8 * size(p), 0.25, "A byte has eight bits."),
            Misconception("unquantized", lambda p: llm.weight_bytes(p.params), 0.0, "That is the file before it was quantized."))),
        Part("token", "How long does a token take once the app has run for a while?", "s", faults, ("100 ms", "60 s"), (
            Misconception("what is missing", pinned, 0.25,
                          "The page that is wanted next is the one used longest ago, so it has just been dropped: every page faults."),
            Misconception("in memory", lambda p, size: llm.decode_seconds(size, 0, p.bandwidth), 0.0, "The file does not fit."),
            Misconception("bits a second", lambda p, size: 8 * network.transfer_seconds(size, p.flash) + size / p.bandwidth, 0.25,
                          "The rate of the flash is in bytes already."))),
        Part("gain", "The app pins the first {free:GB} of the file. By which factor is a token faster?", "",
             lambda p, size, token: token / pinned(p, size), ("1", "10"), (
            Misconception("share that fits", lambda p, size: size / p.free, 0.0, "What counts is the share that is still missing."),
            Misconception("no memory", lambda p, size: size / (size - p.free), 0.5,
                          "Flash is read less, but memory is read as before: that time stays."),
            Misconception("all fits", lambda p, size, token: token / (size / p.bandwidth), 0.0, "The rest still comes from flash.")))))
