"""The token embedding of a small decoder: its bytes, and its share of the parameters."""
from mlsysim import llm
from staffml import Choice, Misconception, Part, Template


def size(p):
    return llm.weight_bytes(p.vocab * p.width, bytes_per=p.bytes_per)


template = Template(
    title="How large is the vocabulary?", area="architecture", topic="model-size-estimation", track="mobile", level="L1",
    chapter="V1-06", minutes=3,
    space={"vocab": (32000, 32768, 49152, 50304, 64000, 100352, 128256, 151936, 256000),
           "width": (768, 896, 1024, 1152, 1536, 2048, 2304, 2560), "bytes_per": (2, 4),
           "params": (0.4e9, 0.5e9, 0.6e9, 0.8e9, 1e9, 1.2e9, 1.5e9, 2e9, 2.6e9, 3e9)},
    where=lambda p: p.vocab * p.width < p.params / 2 and 2**8 < p.params / p.width**2 < 2**10,
    prompt="""
        A decoder for phones has {params:billion} parameters. Its vocabulary has {vocab} tokens, each with a vector of {width} numbers of
        {bytes_per:B}. The same matrix serves as its head, so there is one copy.""",
    parts=(
        Choice("size", "How large is this matrix?", "B", size, ("10 MB", "2 GB"), (
            Misconception("two copies", lambda p: 2 * size(p), 0.5, "Embedding and head share one matrix here; it is stored once."),
            Misconception("bits as bytes", lambda p: 8 * size(p), 0.25, "The numbers are given in bytes already."),
            Misconception("width squared", lambda p: llm.weight_bytes(p.width**2, bytes_per=p.bytes_per), 0.0,
                          "That is a square matrix inside a layer; this one has a row for every token of the vocabulary."))),
        Part("share", "What share of the parameters is it?", "%", lambda p: p.vocab * p.width / p.params, ("0.5 %", "60 %"), (
            Misconception("bytes over parameters", lambda p: size(p) / p.params, 0.25,
                          "You divided bytes by parameters; how many bytes each takes cancels."),
            Misconception("over the rest", lambda p: p.vocab * p.width / (p.params - p.vocab * p.width), 0.5,
                          "That is the ratio to the other parameters; a share is of all of them.")))))
