"""Prefill and decode on machines of their own: bytes of a cache that moves, time it takes, sizes of the pools, a plan."""
import math

from mlsysim import llm, network
from staffml import Design, Misconception, Part, Template


def cache(p):
    return llm.kv_cache_bytes(layers=p.layers, kv_heads=p.kv_heads, head_dim=p.head_dim, tokens=p.asked, bytes_per=p.bytes_per)


def move(p, cache):
    return network.transfer_seconds(cache, p.link)


template = Template(
    title="Two pools for one model", area="deployment", topic="disaggregated-serving", track="cloud", level="L6+", chapter="V2-10",
    minutes=30, requires=("memory/kv_cache", "deployment/capacity_plan"),
    space={("layers", "kv_heads", "head_dim"): ((32, 8, 128), (40, 8, 128), (48, 8, 128), (64, 8, 128), (80, 8, 128)), "bytes_per": (1, 2),
           "asked": (1024, 2048, 4096, 8192, 16384), "answered": (128, 256, 512), "demand": (20, 30, 50, 80), "link": (12.5e9, 25e9, 50e9),
           "prefill": (10000, 15000, 20000, 30000, 40000), "decode": (1200, 1500, 2000, 2500, 3000)},
    where=lambda p: p.demand * p.asked / p.prefill > 2,
    figures={"cache": cache, "move": lambda p: move(p, cache(p)), "first": lambda p: p.asked / p.prefill,
             "ratio": lambda p: p.asked / p.prefill / (p.answered / p.decode)},
    prompt="""
        A decoder with {layers} layers and {kv_heads} key-value heads of dimension {head_dim} answers {demand} requests a second; each
        has {asked} tokens of prompt and gets {answered} tokens of answer. Prompts are processed on machines of their own, {prefill}
        prompt tokens a second on each. The cache, {bytes_per:B} a number, then moves to a machine that decodes, over
        {link:Gbit/s} that nothing else uses; such a machine puts out {decode} tokens a second, all its requests together.""",
    parts=(
        Part("cache", "How large is the cache that a request moves?", "B", cache, ("1 MB", "100 GB"), (
            Misconception("keys only", lambda p: cache(p) / 2, 0.25, "Keys and values both move."),
            Misconception("answer too", lambda p: cache(p) * (p.asked + p.answered) / p.asked, 0.5,
                          "The answer's cache is made where it is decoded and never moves."),
            Misconception("one layer", lambda p: cache(p) / p.layers, 0.0, "Every layer has its own keys and values."))),
        Part("move", "How long does it take to move?", "s", move, ("100 µs", "10 s"), (
            Misconception("bits as bytes", lambda p, cache: move(p, cache) / 8, 0.25, "The link is in bits a second."),
            Misconception("there and back", lambda p, cache: 2 * move(p, cache), 0.25, "The cache moves once, to where it is needed."))),
        Part("wait", "By what share does moving lengthen the time from a prompt's start to the start of decoding?", "%",
             lambda p, move: move / (p.asked / p.prefill), ("0.01 %", "200 %"), (
            Misconception("whole pool", lambda p, move: move * p.demand, 0.25, "One machine processes a prompt, not all of them."),
            Misconception("of the answer", lambda p, move: move / (p.answered / p.decode), 0.25, "It comes on top of the prompt's time.")),
            tol=0.03),
        Part("pool", "How many machines for prompts are needed at least?", "", lambda p: p.demand * p.asked / p.prefill, ("2", "200"), (
            Misconception("answers", lambda p: p.demand * p.answered / p.decode, 0.0, "That is the pool that decodes."),
            Misconception("rounded down", lambda p: p.demand * p.asked / p.prefill - 1, 0.5, "Below that, prompts queue up without end."),
        ), rounding=math.ceil),
        Design("plan", "Should this service be split in two pools at all? Decide, and say how you would run and change the pools.", (
            (0.3, "Decides by interference: on shared machines a long prompt ({first:s} of work) holds up the tokens of everybody else; "
                  "names chunked prefill as the other way."),
            (0.25, "Counts what the split costs: {cache:B} and {move:s} for each request, over links that carry other traffic too."),
            (0.25, "Sizes pools by work and not by requests, {ratio:plain} to one here, and says what shifts it: longer prompts, cached "
                   "prefixes, longer answers."),
            (0.2, "Bounds time to the first token and time between tokens, and says what happens when either pool loses a machine.")))))
