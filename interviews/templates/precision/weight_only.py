"""Four-bit weights against int8 for weights and activations: the prompt, a token, and the answer from which one wins."""
from mlsysim import bounds, devices, llm
from staffml import Misconception, Part, Template


def prefill(p, precision):
    return bounds.roofline(2 * p.params * p.prompt_tokens / p.reached, 0, p.gpu, precision=precision).seconds


def step(p, bits):
    return llm.decode_seconds(llm.weight_bytes(p.params, bytes_per=bits / 8), p.cache, p.bandwidth)


def even(p, first, token):
    return (first - prefill(p, "int8")) / (step(p, 8) - token)


template = Template(
    title="Weights alone, or activations too?", area="precision", topic="quantization-fundamentals", track="cloud", level="L5",
    chapter="V2-09", minutes=15, requires=("compute/roofline", "memory/kv_cache"),
    space={"params": (7e9, 8e9, 13e9, 14e9, 24e9, 32e9), "prompt_tokens": (2000, 4000, 6000, 8000, 12000, 16000, 24000), "bits": (4,),
           "reached": (0.5, 0.6, 0.7), "cache": (0.5e9, 1e9, 2e9, 3e9, 4e9), "gpu": ("a100", "h100", "h200", "l40s", "a10", "l4")},
    derive={"card": lambda p: devices.device(p.gpu).title, "bandwidth": lambda p: devices.device(p.gpu).bandwidth.value,
            "half": lambda p: devices.device(p.gpu).rate("fp16"), "whole": lambda p: devices.device(p.gpu).rate("int8")},
    where=lambda p: p.params + p.cache < devices.device(p.gpu).memory.value * (1 - 1 / 8),
    prompt="""
        A decoder of {params:billion} parameters answers one request at a time on the {card} ({gpu}, {half:TFLOP/s} in fp16, {whole:TOP/s}
        in int8, {bandwidth:TB/s}). The prompt has {prompt_tokens} tokens and is limited by arithmetic, at {reached:%} of the peak; leave
        out attention scores. A further token reads all weights and,
        under either plan, {cache:GB} of cache, and is limited by that. One plan stores
        weights in {bits} bits and widens them to fp16 before every product; the other keeps weights and activations in int8.""",
    parts=(
        Part("first", "How long does the prompt take with {bits}-bit weights?", "s", lambda p: prefill(p, "fp16"), ("10 ms", "2 min"), (
            Misconception("fewer bits", lambda p: prefill(p, "fp16") * p.bits / 2**4, 0.0,
                          "Widened weights are multiplied at the rate of fp16: fewer bits save traffic, not arithmetic."),
            Misconception("int8 rate", lambda p: prefill(p, "int8"), 0.25, "The products are in fp16; int8 is the other plan."))),
        Part("token", "And how long does each further token take?", "s", lambda p: step(p, p.bits), ("500 µs", "1 s"), (
            Misconception("no cache", lambda p: step(p.but(cache=0), p.bits), 0.5, "The cache is read as well, and is not smaller."),
            Misconception("all quantized", lambda p: step(p, 2**4) * p.bits / 2**4, 0.25, "Only the weights are in fewer bits."),
            Misconception("fp16", lambda p: step(p, 2**4), 0.0, "The weights are read as they are stored."))),
        Part("even", "From how many further tokens on is a request quicker with {bits}-bit weights than in int8?", "", even,
             ("2", "20000"), (
            Misconception("prompt in turn", lambda p, first, token: first / (step(p, 8) - token), 0.25,
                          "In int8 the prompt takes time as well; what counts is the difference."),
            Misconception("over the token", lambda p, first, token: (first - prefill(p, "int8")) / token, 0.25,
                          "In int8 a token takes time as well: each token makes up for the difference of the two."),
            Misconception("against fp16", lambda p, first: (first - prefill(p, "int8")) / (step(p, 2**4) - step(p, p.bits)), 0.25,
                          "The other plan reads its weights in int8, not in fp16.")), tol=0.04)))
