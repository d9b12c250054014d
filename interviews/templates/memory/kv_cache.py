"""The KV cache under grouped-query attention: its size, the batch it allows, the time a token takes."""
import math

from mlsysim import devices, llm
from staffml import Misconception, Part, Template

MLP = 3 * 3.5       # gate, up and down, each 3.5 wide, as in Llama 3 (arXiv:2407.21783, table 3)


def params(p):      # query and output, key and value, MLP
    return round(p.layers * (p.heads * p.head_dim) ** 2 * (2 + 2 * p.kv_heads / p.heads + MLP), -8)


def cache(p):
    shape = {"layers": p.layers, "kv_heads": p.kv_heads, "head_dim": p.head_dim, "tokens": p.tokens}
    return llm.kv_cache_bytes(**shape, batch=p.batch, bytes_per=p.bytes_per)


def weights(p):
    return llm.weight_bytes(p.params, bytes_per=p.bytes_per)


def fits(p):
    return (p.memory - weights(p)) / cache(p.but(batch=1))


def step(p):
    return llm.decode_seconds(weights(p), cache(p), p.bandwidth)


template = Template(
    title="KV cache and time per token", area="memory", topic="kv-cache-management", track="cloud", level="L3",
    chapter="V1-13", minutes=20,
    space={"layers": (24, 32, 40, 48, 64, 80), "heads": (24, 32, 40, 48, 64), "kv_heads": (4, 6, 8, 10),
           "head_dim": (128,), "tokens": (4096, 8192, 16384, 32768), "batch": (3, 4, 6, 8, 12, 16, 24, 32), "bytes_per": (1, 2),
           "gpu": ("a100", "h100", "l4")},
    derive={"params": params, "card": lambda p: devices.device(p.gpu).title, "memory": lambda p: devices.device(p.gpu).memory.value,
            "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value},
    where=lambda p: p.heads % p.kv_heads == 0 and p.batch <= fits(p),
    prompt="""
        A decoder has {layers} layers, each with {heads} query heads that share {kv_heads} key-value heads of dimension {head_dim}.
        It has {params:billion} parameters; weights and KV cache both take {bytes_per:B} a number. It runs on one {card} with
        {memory:B} of memory, read at {bandwidth:B/s}, and nothing else needs room in it. {batch} requests decode together, and
        each holds {tokens} tokens of context.""",
    parts=(
        Part("cache", "How large is the KV cache of the whole batch?", "B", cache, ("1 GB", "80 GB"), (
            Misconception("query heads", lambda p: cache(p.but(kv_heads=p.heads)), 0.25, "Only the KV heads are stored."),
            Misconception("keys only", lambda p: cache(p) / 2, 0.25, "You counted keys or values, not both."),
            Misconception("one request", lambda p: cache(p.but(batch=1)), 0.5, "You counted one request only."),
            Misconception("GiB as GB", lambda p: cache(p) * 1e9 / 2**30, 0.5, "You computed GiB and wrote GB."))),
        Part("fits", "How many such requests fit in memory at most?", "", fits, ("3", "100"), (
            Misconception("no weights", lambda p: p.memory / cache(p.but(batch=1)), 0.25, "The weights need room too."),
            Misconception("query heads", lambda p: fits(p.but(kv_heads=p.heads)), 0.25, "Only KV heads are stored."),
            Misconception("rounded up", lambda p: fits(p) + 1, 0.5, "The last request does not fit; round down.")
        ), rounding=math.floor),
        Part("step", "How long is a decoding step that only memory bandwidth limits?", "s", step, ("1 ms", "1 s"), (
            Misconception("no cache", lambda p: weights(p) / p.bandwidth, 0.5, "You read the weights, not the cache."),
            Misconception("one request", lambda p: step(p.but(batch=1)), 0.5, "You read the cache of one request."),
            Misconception("shared out", lambda p: step(p) / p.batch, 0.25, "Every request waits for the whole step.")
        ), tol=0.03)))
