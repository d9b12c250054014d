"""Mixtures of experts: every token goes through a few of many feed-forward layers."""

from .language import decoder
from .transformer import Transformer


def all():
    yield decoder("mixtral-8x7b", "Mixtral 8x7B", 32, 4096, 32, 8, 14_336, 32_000,
                  "Jiang et al. 2024, Mixtral of Experts, arXiv 2401.04088, table 1", "2024-01",
                  experts=8, active=2, expert_hidden=14_336)  # fmt: skip
    yield decoder("mixtral-8x22b", "Mixtral 8x22B", 56, 6144, 48, 8, 16_384, 32_768,
                  "config.json of mistralai/Mixtral-8x22B-Instruct-v0.1 on Hugging Face", "2024-04", experts=8, active=2,
                  expert_hidden=16_384)  # fmt: skip
    for size, shape, hidden in (("30b-a3b", (48, 2048, 32, 4, 6144), 768), ("235b-a22b", (94, 4096, 64, 4, 12_288), 1536)):
        yield decoder(f"qwen3-{size}", f"Qwen3 {size.upper()}", *shape, 151_936,
                      f"config.json of Qwen/Qwen3-{size.upper()} on Hugging Face", "2025-04", head_dim=128,
                      head_norm=True, experts=128, active=8, expert_hidden=hidden)  # fmt: skip
    yield Transformer("deepseek-v2-lite", "DeepSeek-V2-Lite", 27, 2048, 16, 16, 192, 10_944, 102_400,
                      "DeepSeek-AI 2024, DeepSeek-V2, arXiv 2405.04434, appendix B", "2024-05", experts=64, active=6, shared=2,
                      expert_hidden=1408, dense_layers=1, kv_rank=512, rope_dim=64, value_dim=128)  # fmt: skip
    yield Transformer("deepseek-v3", "DeepSeek-V3", 61, 7168, 128, 128, 192, 18_432, 129_280,
                      "DeepSeek-AI 2024, DeepSeek-V3, arXiv 2412.19437, section 4.2; without the layer that predicts a second token",
                      "2024-12", experts=256, active=8, shared=1, expert_hidden=2048, dense_layers=3, q_rank=1536, kv_rank=512,
                      rope_dim=64, value_dim=128)  # fmt: skip
