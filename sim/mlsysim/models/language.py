"""Language models by their published configurations."""

from .transformer import Transformer

_META = "Meta model configuration (torchtune {})"


def all():
    llama = dict(bias="", norm="rms", gated=True)
    yield Transformer("llama-3.2-1b", "Llama 3.2 1B", 16, 2048, 32, 8, 64, 8192, 128_256,
                      _META.format("llama3_2_1b"), "2024-09", tied=True, **llama)  # fmt: skip
    yield Transformer("llama-3.2-3b", "Llama 3.2 3B", 28, 3072, 24, 8, 128, 8192, 128_256,
                      _META.format("llama3_2_3b"), "2024-09", tied=True, **llama)  # fmt: skip
    yield Transformer("llama-2-7b", "Llama 2 7B", 32, 4096, 32, 32, 128, 11_008, 32_000,
                      "Touvron et al. 2023, Llama 2, arXiv 2307.09288", "2023-07", **llama)  # fmt: skip
    yield Transformer("llama-3.1-8b", "Llama 3.1 8B", 32, 4096, 32, 8, 128, 14_336, 128_256,
                      _META.format("llama3_1_8b"), "2024-07", **llama)  # fmt: skip
    yield Transformer("llama-3.1-70b", "Llama 3.1 70B", 80, 8192, 64, 8, 128, 28_672, 128_256,
                      _META.format("llama3_1_70b"), "2024-07", **llama)  # fmt: skip
    yield Transformer("gpt-3-175b", "GPT-3 175B", 96, 12_288, 96, 96, 128, 49_152, 50_257,
                      "Brown et al. 2020, arXiv 2005.14165, table 2.1", "2020-05", tied=True, gated=False, norm="layer",
                      bias="all", positions=2048)  # fmt: skip
