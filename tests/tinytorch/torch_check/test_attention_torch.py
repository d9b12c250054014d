"""Attention against PyTorch: the function with its masks and shared heads, and the layer with PyTorch's weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from tinytorch import MultiHeadAttention, Tensor, backend, padding_mask  # noqa: E402
from tinytorch.attention import attend, causal_mask, scaled_dot_product_attention  # noqa: E402

both = pytest.mark.parametrize("which", backend.BACKENDS)


@both
@pytest.mark.parametrize("program", [attend, scaled_dot_product_attention])
@pytest.mark.parametrize("kv_heads, T, S, causal", [(4, 5, 5, True), (2, 5, 5, True), (1, 3, 7, True), (2, 3, 7, False), (4, 6, 4, False)])
def test_output_and_gradients(which, program, kv_heads, T, S, causal):
    rng = np.random.default_rng(T)
    arrays = [rng.normal(size=shape) for shape in ((2, 4, T, 6), (2, kv_heads, S, 6), (2, kv_heads, S, 6))]
    grad = rng.normal(size=(2, 4, T, 6))
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    mask = torch.tensor(causal_mask(T, S)) if causal else None
    wanted = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=mask, enable_gqa=True)
    wanted.backward(torch.tensor(grad))
    with backend.backend(which):
        ours = [Tensor(a, requires_grad=True) for a in arrays]
        y = program(*ours, causal=causal)
        y.backward(grad)
    np.testing.assert_allclose(y.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)


@both
@pytest.mark.parametrize("padded", [False, True])
def test_the_layer_has_the_output_of_nn_multihead_attention(which, padded):
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    ours = MultiHeadAttention(12, 3, dtype="float64")
    state = theirs.state_dict()
    ours.load_state_dict({"qkv.weight": state["in_proj_weight"].numpy(), "qkv.bias": state["in_proj_bias"].numpy(),
                          "out.weight": state["out_proj.weight"].numpy(), "out.bias": state["out_proj.bias"].numpy()})
    x, lengths = np.random.default_rng(0).normal(size=(2, 5, 12)), np.array([5, 3])
    mask = padding_mask(lengths, 5) if padded else None
    hidden = {"key_padding_mask": torch.tensor(~mask[:, 0, 0])} if padded else {}
    wanted, weights = theirs(*[torch.tensor(x)] * 3, attn_mask=torch.tensor(~causal_mask(5)), average_attn_weights=False, **hidden)
    with backend.backend(which):
        np.testing.assert_allclose(ours(Tensor(x), mask=mask).numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.weights(Tensor(x), mask=mask).numpy(), weights.detach().numpy(), rtol=1e-9, atol=1e-12)
