"""A fleet for a given traffic: a decoding step, what one replica puts out, how many replicas, and the plan around them."""
import math

from mlsysim import devices, llm
from staffml import Design, Misconception, Part, Template


def step(p):
    cache = llm.kv_cache_bytes(layers=p.layers, kv_heads=p.kv_heads, head_dim=p.head_dim, tokens=p.context, batch=p.batch)
    return llm.decode_seconds(llm.weight_bytes(p.params), cache, p.bandwidth)


template = Template(
    title="Replicas for a chat service", area="deployment", topic="model-serving-infrastructure", track="cloud", level="L6+",
    chapter="V2-10", minutes=30, requires=("memory/kv_cache",),
    space={("params", "layers", "kv_heads", "head_dim"): ((8e9, 32, 8, 128), (7e9, 32, 8, 128), (14e9, 40, 8, 128)),
           "context": (2048, 4096, 8192), "batch": (8, 16, 24, 32), "demand": (20000, 35000, 50000, 80000, 120000, 200000),
           "load": (0.5, 0.6, 0.7, 0.8), "gpu": ("a100", "h100", "h200", "mi300x")},
    derive={"card": lambda p: devices.device(p.gpu).title, "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value},
    figures={"step": step, "fleet": lambda p: math.ceil(p.demand / (p.batch / step(p)) / p.load),
             "alone": lambda p: llm.decode_seconds(llm.weight_bytes(p.params), 0, p.bandwidth)},
    prompt="""
        A chat service must put out {demand} tokens a second at its busiest. Its model has {params:billion} parameters and {layers}
        layers with {kv_heads} key-value heads of dimension {head_dim}; weights and cache are in fp16. A replica is one {card}
        ({gpu}, {bandwidth:TB/s}) that decodes {batch} requests together, each with {context} tokens of context on average. Memory
        bandwidth limits decoding. Replicas are planned for {load:%} of what they can do.""",
    parts=(
        Part("step", "How long does a decoding step of a replica take?", "s", step, ("1 ms", "100 ms"), (
            Misconception("no cache", lambda p: llm.weight_bytes(p.params) / p.bandwidth, 0.5, "The cache is read in every step."),
            Misconception("one byte", lambda p: step(p) / 2, 0.25, "An fp16 number takes two bytes.")), tol=0.03),
        Part("rate", "How many tokens a second does a replica put out at most?", "", lambda p, step: p.batch / step, ("50", "50000"), (
            Misconception("one request", lambda p, step: 1 / step, 0.25, "Each request of the batch gets a token from a step."),),
            tol=0.03),
        Part("replicas", "How many replicas are needed?", "", lambda p, rate: p.demand / rate / p.load, ("2", "2000"), (
            Misconception("full load", lambda p, rate: p.demand / rate, 0.5, "They are planned below what they can do."),
            Misconception("load the wrong way", lambda p, rate: p.demand * p.load / rate, 0.0, "Room to spare takes more replicas."),
        ), rounding=math.ceil),
        Design("plan", "The budget allows half of these replicas. What do you change, in which order, and what do you measure first?", (
            (0.3, "Measures before it changes: the distribution of contexts and outputs, time to the first token and between tokens."),
            (0.3, "Names a larger batch or smaller numbers for weights or cache, with what it does to a step: {step:s} now, of which "
                  "{alone:s} is reading the weights."),
            (0.2, "Says what users would feel, and sets a bound on it in time, not in utilization."),
            (0.2, "Plans for failure and peaks: what {fleet} replicas do when one is lost, and what is shed first.")))))
