"""Decoders of the Llama kind: root-mean-square norms, rotary positions, gated feed-forward layers, few biases."""

from .transformer import Transformer

_META = "Meta model configuration (torchtune {})"
_CARD = "config.json of {} on Hugging Face"


def decoder(name, title, layers, width, heads, kv_heads, hidden, vocab, source, date, head_dim=None, **more):
    shape = layers, width, heads, kv_heads, head_dim or width // heads, hidden, vocab
    return Transformer(name, title, *shape, source, date, **more)


def all():
    paper = "Touvron et al. 2023, LLaMA, arXiv 2302.13971, table 2"
    yield decoder("llama-1-7b", "LLaMA 7B", 32, 4096, 32, 32, 11_008, 32_000, paper, "2023-02")
    yield decoder("llama-1-13b", "LLaMA 13B", 40, 5120, 40, 40, 13_824, 32_000, paper, "2023-02")
    yield decoder("llama-1-33b", "LLaMA 33B", 60, 6656, 52, 52, 17_920, 32_000, paper, "2023-02")
    yield decoder("llama-1-65b", "LLaMA 65B", 80, 8192, 64, 64, 22_016, 32_000, paper, "2023-02")
    paper = "Touvron et al. 2023, Llama 2, arXiv 2307.09288"
    yield decoder("llama-2-7b", "Llama 2 7B", 32, 4096, 32, 32, 11_008, 32_000, paper, "2023-07")
    yield decoder("llama-2-13b", "Llama 2 13B", 40, 5120, 40, 40, 13_824, 32_000, paper, "2023-07")
    yield decoder("llama-2-70b", "Llama 2 70B", 80, 8192, 64, 8, 28_672, 32_000, paper, "2023-07")
    for version, date, tune in (("3", "2024-04", "llama3"), ("3.1", "2024-07", "llama3_1")):
        for size, shape in {"8b": (32, 4096, 32, 8, 14_336), "70b": (80, 8192, 64, 8, 28_672)}.items():
            yield decoder(f"llama-{version}-{size}", f"Llama {version} {size.upper()}", *shape, 128_256,
                          _META.format(f"{tune}_{size}"), date)  # fmt: skip
    yield decoder("llama-3.1-405b", "Llama 3.1 405B", 126, 16_384, 128, 8, 53_248, 128_256, _META.format("llama3_1_405b"), "2024-07")
    yield decoder("llama-3.2-1b", "Llama 3.2 1B", 16, 2048, 32, 8, 8192, 128_256, _META.format("llama3_2_1b"), "2024-09", tied=True)
    yield decoder("llama-3.2-3b", "Llama 3.2 3B", 28, 3072, 24, 8, 8192, 128_256, _META.format("llama3_2_3b"), "2024-09", tied=True)
    yield decoder("mistral-7b", "Mistral 7B", 32, 4096, 32, 8, 14_336, 32_000,
                  "Jiang et al. 2023, arXiv 2310.06825, table 1; without the sliding window, as from version 0.2", "2023-10")  # fmt: skip
    for size, shape, tied in (("0.5b", (24, 896, 14, 2, 4864, 151_936), True), ("1.5b", (28, 1536, 12, 2, 8960, 151_936), True),
                              ("3b", (36, 2048, 16, 2, 11_008, 151_936), True), ("14b", (48, 5120, 40, 8, 13_824, 152_064), False),
                              ("7b", (28, 3584, 28, 4, 18_944, 152_064), False), ("32b", (64, 5120, 40, 8, 27_648, 152_064), False),
                              ("72b", (80, 8192, 64, 8, 29_568, 152_064), False)):  # fmt: skip
        yield decoder(f"qwen2.5-{size}", f"Qwen2.5 {size.upper()}", *shape, _CARD.format(f"Qwen/Qwen2.5-{size.upper()}"), "2024-09",
                      bias="qkv", tied=tied)  # fmt: skip
    for size, shape, tied in (("0.6b", (28, 1024, 16, 8, 3072), True), ("1.7b", (28, 2048, 16, 8, 6144), True),
                              ("4b", (36, 2560, 32, 8, 9728), True), ("14b", (40, 5120, 40, 8, 17_408), False),
                              ("8b", (36, 4096, 32, 8, 12_288), False), ("32b", (64, 5120, 64, 8, 25_600), False)):  # fmt: skip
        yield decoder(f"qwen3-{size}", f"Qwen3 {size.upper()}", *shape, 151_936, _CARD.format(f"Qwen/Qwen3-{size.upper()}"), "2025-04",
                      head_dim=128, head_norm=True, tied=tied)  # fmt: skip
    yield decoder("codellama-34b", "Code Llama 34B", 48, 8192, 64, 8, 22_016, 32_000,
                  _CARD.format("codellama/CodeLlama-34b-hf"), "2023-08")  # fmt: skip
    yield decoder("tinyllama-1.1b", "TinyLlama 1.1B", 22, 2048, 32, 4, 5632, 32_000,
                  "Zhang et al. 2024, TinyLlama, arXiv 2401.02385, table 1", "2024-01")  # fmt: skip
    paper = "Gemma Team 2024, Gemma, arXiv 2403.08295, table 1"
    yield decoder("gemma-2b", "Gemma 2B", 18, 2048, 8, 1, 16_384, 256_000, paper, "2024-03", head_dim=256, tied=True)
    yield decoder("gemma-7b", "Gemma 7B", 28, 3072, 16, 16, 24_576, 256_000, paper, "2024-03", head_dim=256, tied=True)
    yield decoder("phi-3-mini", "Phi-3 mini", 32, 3072, 32, 32, 8192, 32_064,
                  "config.json of microsoft/Phi-3-mini-4k-instruct on Hugging Face", "2024-04")  # fmt: skip
