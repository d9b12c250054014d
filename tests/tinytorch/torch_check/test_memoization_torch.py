"""Memoization against PyTorch: attention step by step from a cache, whole; and the tail of chi-square."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from tinytorch import MultiHeadAttention, Tensor, no_grad  # noqa: E402
from tinytorch.attention import split_heads  # noqa: E402
from tinytorch.memoization import KVCache, chi_square_tail  # noqa: E402


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-5), ("float64", 1e-12)])
def test_steps_from_a_cache_are_causal_attention_over_the_whole(rng, heads, kv_heads, dtype, tolerance):
    layer = MultiHeadAttention(24, heads, kv_heads, rng=rng, dtype=dtype)
    x, cache, at, parts = rng.normal(size=(2, 11, 24)).astype(dtype), KVCache(3), 0, []
    with no_grad():
        for n in (4, 1, 1, 5):
            parts.append(layer(Tensor(x[:, at:at + n]), cache=cache).numpy())
            at += n
        q, k, v = (torch.tensor(part.numpy()) for part in split_heads(layer.qkv(Tensor(x)), heads, kv_heads))
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    weight, bias = (torch.tensor(p.numpy()) for p in (layer.out.weight, layer.out.bias))
    whole = torch.nn.functional.linear(mixed.transpose(1, 2).reshape(2, 11, 24), weight, bias)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole.numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(cache.keys[:, :, :11], k.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("cells", [3, 8, 40])
def test_the_tail_of_chi_square(rng, cells):
    p = np.full(cells, 1 / cells)
    for strain in (0, 0.05, 0.1, 0.2):
        counts = rng.multinomial(100 * cells, (p + strain * rng.dirichlet(np.ones(cells))) / (1 + strain))
        distance = ((counts - 100) ** 2 / 100).sum()
        theirs = torch.special.gammaincc(torch.tensor((cells - 1) / 2, dtype=torch.float64), torch.tensor(distance / 2)).item()
        assert chi_square_tail(counts, p) == pytest.approx(theirs, abs=5e-3)
        assert theirs < 1e-4 or chi_square_tail(counts, p) == pytest.approx(theirs, rel=0.1)
