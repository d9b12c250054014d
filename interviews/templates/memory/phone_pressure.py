"""An assistant in an app that must not be killed: weights, what is left for its cache, the longest context, and a plan."""
from mlsysim import devices, llm
from staffml import Design, Misconception, Part, Template


def weights(p):
    return llm.weight_bytes(p.params, bytes_per=p.bits / 8)


def token(p):
    return llm.kv_cache_bytes(layers=p.layers, kv_heads=p.kv_heads, head_dim=p.head_dim, tokens=1)


template = Template(
    title="Before the system kills the app", area="memory", topic="memory-pressure-management", track="mobile", level="L6+",
    chapter="V2-11", minutes=30, requires=("memory/kv_cache", "precision/block_scale"),
    space={("params", "layers", "heads", "kv_heads", "head_dim"): ((1.5e9, 28, 12, 2, 128), (1.7e9, 28, 16, 8, 128), (3e9, 28, 24, 8, 128),
           (3e9, 36, 16, 2, 128), (4e9, 36, 32, 8, 128), (1e9, 16, 32, 8, 64)), "bits": (4, 5, 6, 8), "share": (0.4, 0.5, 0.6),
           "own": (0.3e9, 0.4e9, 0.5e9, 0.6e9, 0.8e9), "phone": ("iphone-15-pro", "snapdragon-8-gen-3", "tensor-g3", "dimensity-9300")},
    derive={"title": lambda p: devices.device(p.phone).title, "memory": lambda p: devices.device(p.phone).memory.value},
    where=lambda p: weights(p) + 2 * p.own < p.share * p.memory,
    figures={"read": weights, "context": lambda p: 2**10 * token(p)},
    prompt="""
        A phone has the {title} ({phone}) and {memory:GB} of memory. The system ends an app that holds more than {share:%} of that. Your app
        takes {own:MB} for itself and runs an assistant of {params:billion} parameters, stored in {bits} bits each, with {layers} layers
        of {heads} query heads and {kv_heads} key-value heads of dimension {head_dim}. Its cache is in fp16.""",
    parts=(
        Part("weights", "How much do the weights take?", "B", weights, ("200 MB", "10 GB"), (
            Misconception("bits as bytes", lambda p: 8 * weights(p), 0.25, "A byte has eight bits."),
            Misconception("fp16", lambda p: llm.weight_bytes(p.params), 0.0, "The weights are quantized; the cache is in fp16."))),
        Part("room", "How much is left for the cache?", "B", lambda p, weights: p.share * p.memory - p.own - weights, ("100 MB", "10 GB"), (
            Misconception("all memory", lambda p, weights: p.memory - p.own - weights, 0.25, "The system ends the app long before that."),
            Misconception("app left out", lambda p, weights: p.share * p.memory - weights, 0.5, "The app itself counts too."))),
        Part("tokens", "How many tokens of context fit in there?", "", lambda p, room: room / token(p), ("500", "1000000"), (
            Misconception("query heads", lambda p, room: room / token(p.but(kv_heads=p.heads)), 0.25, "Only the KV heads are stored."),
            Misconception("keys only", lambda p, room: 2 * room / token(p), 0.25, "Keys and values are both kept."),
            Misconception("one layer", lambda p, room: p.layers * room / token(p), 0.0, "Every layer has a cache.")), tol=0.03),
        Design("plan", "Another app wants memory, and the system warns yours. What do you give up, in which order, and what will the user "
               "notice?", (
            (0.3, "Orders by what it costs to get back: clean mapped pages of the {read:GB} of weights are read again from flash, while a "
                  "cache that is dropped is computed again from the prompt."),
            (0.3, "Bounds the context beforehand, with numbers: a thousand tokens take about {context:MB}; names a cache in "
                  "fewer bits or a window."),
            (0.2, "Says what happens in the background: what is written down so that a killed app resumes, and how long that takes."),
            (0.2, "Measures resident and dirty memory on the weakest phone that is supported, not the size of the file.")))))
