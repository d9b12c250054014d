"""Decoders with layer norms and biases: GPT, OPT, BLOOM, the scaling series of Megatron; PaLM and Falcon without biases."""

from .transformer import Transformer

# layers, width, heads: Narayanan et al. 2021, table 1; 22B and 175B in table 3 of Korthikanti et al. 2022
MEGATRON = {"1.7b": (24, 2304, 24), "3.6b": (30, 3072, 32), "7.5b": (36, 4096, 32), "18.4b": (40, 6144, 48),
            "22b": (48, 6144, 64), "39.1b": (48, 8192, 64), "76.1b": (60, 10_240, 80), "145.6b": (80, 12_288, 96),
            "175b": (96, 12_288, 96), "310.1b": (96, 16_384, 128),
            "529.6b": (105, 20_480, 128), "1008b": (128, 25_600, 160)}  # fmt: skip


def gpt(name, title, layers, width, heads, vocab, source, date, positions=1024, **more):
    """A decoder of the GPT-2 kind: learned positions, layer norms, biases everywhere, GELU, embeddings shared."""
    shape = layers, width, heads, heads, width // heads, 4 * width, vocab
    options = dict(tied=True, gated=False, norm="layer", bias="all", positions=positions) | more
    return Transformer(name, title, *shape, source, date, **options)


def megatron(layers, width, heads, vocab=51_200, positions=2048, name="megatron", title=None):
    """The GPT that Megatron-LM trains, with a vocabulary padded to a multiple of what divides over tensor parallelism.

    megatron(96, 12288, 96) is GPT-3 as it was timed there. Sources: Narayanan et al. 2021; Korthikanti et al. 2022.
    """
    source = "Narayanan et al. 2021, arXiv 2104.04473, table 1; Korthikanti et al. 2022, arXiv 2205.05198, table 3"
    title = title or f"Megatron GPT, {layers} layers of width {width}"
    return gpt(name, title, layers, width, heads, vocab, source, "2021-04", positions)


def all():
    gpt2 = "Radford et al. 2019, Language models are unsupervised multitask learners, table 2"
    for name, title, *shape in (("gpt-2", "GPT-2", 12, 768, 12), ("gpt-2-medium", "GPT-2 medium", 24, 1024, 16),
                                ("gpt-2-large", "GPT-2 large", 36, 1280, 20), ("gpt-2-xl", "GPT-2 XL", 48, 1600, 25)):  # fmt: skip
        yield gpt(name, title, *shape, 50_257, gpt2, "2019-02")
    gpt3 = "Brown et al. 2020, arXiv 2005.14165, table 2.1"
    yield gpt("gpt-3-6.7b", "GPT-3 6.7B", 32, 4096, 32, 50_257, gpt3, "2020-05", 2048)
    yield gpt("gpt-3-175b", "GPT-3 175B", 96, 12_288, 96, 50_257, gpt3, "2020-05", 2048)
    for name, shape in MEGATRON.items():
        yield megatron(*shape, name=f"megatron-{name}", title=f"Megatron GPT {name.upper()}")
    opt = "Zhang et al. 2022, OPT, arXiv 2205.01068, table 1; two of the 2,050 position vectors serve padding"
    for name, *shape in (("6.7b", 32, 4096, 32), ("13b", 40, 5120, 40), ("30b", 48, 7168, 56), ("66b", 64, 9216, 72),
                         ("175b", 96, 12_288, 96)):  # fmt: skip
        yield gpt(f"opt-{name}", f"OPT {name.upper()}", *shape, 50_272, opt, "2022-05", 2050)
    yield gpt("bloom-176b", "BLOOM 176B", 70, 14_336, 112, 250_880, "BigScience 2022, BLOOM, arXiv 2211.05100",
              "2022-11", 0, alibi=True, embedding_norm=True)  # fmt: skip
    rotary = dict(tied=False, parallel=True, positions=0)
    yield gpt("gpt-j-6b", "GPT-J 6B", 28, 4096, 16, 50_400, "Wang and Komatsuzaki 2021; config.json of EleutherAI/gpt-j-6b on Hugging Face",
              "2021-06", norms=1, head_bias=True, **rotary | dict(bias="feed-forward"))  # fmt: skip
    yield gpt("gpt-neox-20b", "GPT-NeoX 20B", 44, 6144, 64, 50_432, "Black et al. 2022, arXiv 2204.06745, table 1", "2022-04", **rotary)
    yield gpt("phi-2", "Phi-2", 32, 2560, 32, 51_200, "config.json of microsoft/phi-2 on Hugging Face", "2023-12", norms=1,
              head_bias=True, **rotary)  # fmt: skip
    yield Transformer("palm-540b", "PaLM 540B", 118, 18_432, 48, 1, 256, 73_728, 256_000,
                      "Chowdhery et al. 2022, PaLM, arXiv 2204.02311, table 1 and section 2", "2022-04", tied=True, parallel=True,
                      norms=1)  # fmt: skip
    falcon = dict(tied=True, gated=False, norm="layer", parallel=True)
    paper = "Almazrouei et al. 2023, Falcon, arXiv 2311.16867; configuration of the published weights"
    yield Transformer("falcon-7b", "Falcon 7B", 32, 4544, 71, 1, 64, 4 * 4544, 65_024, paper, "2023-11", norms=1, **falcon)
    yield Transformer("falcon-40b", "Falcon 40B", 60, 8192, 128, 8, 64, 4 * 8192, 65_024, paper, "2023-11", **falcon)
