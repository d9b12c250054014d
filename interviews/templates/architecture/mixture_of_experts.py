"""A mixture of experts: what its experts take, how many of them a batch wakes up, and the time of reading those."""
from mlsysim import devices, llm
from mlsysim.models.language import decoder
from staffml import Misconception, Part, Template

MATRICES = 3    # gate, up and down: Shazeer 2020, GLU Variants Improve Transformer


def read(p, batch):
    """Bytes of experts that one decoding step of `batch` requests is expected to read."""
    model = decoder("mixture", "mixture", p.layers, p.width, 1, 1, 1, 1, "declared", "", experts=p.experts, active=p.active,
                    expert_hidden=p.hidden)
    products = [op for op in model.graph(batch=batch).ops if op.name in ("experts in", "experts out")]
    return llm.weight_bytes(sum(op.weights * op.count for op in products), bytes_per=p.bytes_per)


def total(p):
    return read(p, 1) * p.experts / p.active


def seconds(p, read):
    return llm.decode_seconds(read / p.devices, 0, p.bandwidth)


template = Template(
    title="Experts that a batch wakes up", area="architecture", topic="mixture-of-experts", track="cloud", level="L4",
    chapter="V2-10", minutes=15, requires=("memory/kv_cache",),
    space={"layers": (24, 32, 48, 60), "width": (2048, 4096, 5120, 7168), "hidden": (768, 1024, 1536, 2048),
           "experts": (64, 96, 128, 160, 256), "active": (2, 4, 6, 8), "batch": (4, 6, 8, 12, 16, 24, 32), "bytes_per": (1, 2),
           "devices": (4, 8), "gpu": ("h100", "h200", "mi300x")},
    derive={"card": lambda p: devices.device(p.gpu).title, "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value},
    where=lambda p: p.experts > p.active * p.batch > p.experts / 2 and total(p) < p.devices * devices.device(p.gpu).memory.value / 2,
    prompt="""
        A decoder has {layers} layers with {experts} experts each, and a router that sends every token to {active} of them. An expert is
        three matrices of {width} by {hidden}, {bytes_per:B} a weight. Take routing as even and independent from token to token. The
        experts are spread evenly over {devices} devices of the type {card} ({gpu}), each of which reads its memory at
        {bandwidth:TB/s}. {batch} requests decode together; leave out all that is not an expert.""",
    parts=(
        Part("whole", "How much memory do all experts take?", "B", total, ("1 GB", "2 TB"), (
            Misconception("active only", lambda p: read(p, 1), 0.25,
                          "A token uses few experts, and the next one uses others: all of them have to be at hand."),
            Misconception("one layer", lambda p: total(p) / p.layers, 0.25, "Each layer has experts of its own."),
            Misconception("two matrices", lambda p: total(p) * 2 / MATRICES, 0.5, "A gated expert has a third matrix."))),
        Part("read", "How much of that is one decoding step expected to read?", "B",
             lambda p, whole: whole * read(p, p.batch) / total(p), ("100 MB", "2 TB"), (
            Misconception("one token", lambda p, whole: whole * p.active / p.experts, 0.25,
                          "That is what one token reads; the others of the batch mostly go to other experts."),
            Misconception("all different", lambda p, whole: whole * p.active * p.batch / p.experts, 0.5,
                          "Tokens meet: an expert that two of them want is read once."),
            Misconception("everything", lambda p, whole: whole, 0.25, "At this batch some experts still get no token."))),
        Part("step", "How long does that take at least?", "s", seconds, ("10 µs", "1 s"), (
            Misconception("one device", lambda p, read: seconds(p.but(devices=1), read), 0.25, "All devices read at the same time."),
            Misconception("one token", lambda p, whole: seconds(p, whole * p.active / p.experts), 0.25,
                          "Only at a batch of one does a mixture read as little as its active parameters."),
            Misconception("everything", lambda p, whole: seconds(p, whole), 0.25, "It reads the experts that get a token."))),
    ))
