"""Norms, blocks and GPT against PyTorch: outputs and gradients with the same weights, and a course of training."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

import tinytorch as tt  # noqa: E402
from tinytorch import GPT, Block, LayerNorm, RMSNorm, Tensor, backend  # noqa: E402

both = pytest.mark.parametrize("which", backend.BACKENDS)


@both
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-11), ("float32", 1e-4)])
@pytest.mark.parametrize("ours, theirs", [(LayerNorm(6, dtype="float64"), torch.nn.LayerNorm(6)), (RMSNorm(6, 1e-3, "float64"), torch.nn.RMSNorm(6, 1e-3))])
def test_norms_and_their_gradients(which, dtype, tolerance, ours, theirs):
    rng = np.random.default_rng(0)
    layer = type(ours)(6, ours.eps, dtype)
    state = {name: rng.normal(size=6).astype(dtype) for name in layer.state_dict()}
    layer.load_state_dict(state)
    theirs = theirs.to(getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    theirs.zero_grad()
    x, grad = (rng.normal(size=(2, 3, 6)).astype(dtype) for _ in range(2))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with backend.backend(which):
        y, wanted = layer(a), theirs(b)
        y.backward(grad)
    wanted.backward(torch.tensor(grad))
    pairs = [(y, wanted.detach()), (a.grad, b.grad), *((p.grad, dict(theirs.named_parameters())[n].grad) for n, p in layer.named_parameters())]
    for mine, other in pairs:
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=tolerance, atol=tolerance)


def of_torch(state, prefix=""):
    """The state of nn.TransformerEncoderLayer under the names of Block."""
    names = {"self_attn.in_proj_weight": "attention.qkv.weight", "self_attn.in_proj_bias": "attention.qkv.bias",
             "self_attn.out_proj.weight": "attention.out.weight", "self_attn.out_proj.bias": "attention.out.bias",
             "linear1": "mlp.up", "linear2": "mlp.down"}
    renamed = {}
    for name, tensor in state.items():
        for old, new in names.items():
            name = name.replace(old, new)
        renamed[prefix + name] = tensor.detach().numpy()
    return renamed


@both
def test_a_block_is_an_encoder_layer_with_norms_first(which):
    theirs = torch.nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64)
    ours = Block(12, 3, dtype="float64")
    ours.load_state_dict(of_torch(theirs.state_dict()))
    x = np.random.default_rng(0).normal(size=(2, 5, 12))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    with backend.backend(which):
        y = ours(a)
        (y * y).sum().backward()
    wanted = theirs(b, src_mask=mask, is_causal=True)
    (wanted * wanted).sum().backward()
    np.testing.assert_allclose(y.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-8, atol=1e-10)


class TorchGPT(torch.nn.Module):
    """The same GPT of PyTorch's parts, with a tied head."""

    def __init__(self, vocabulary, width, depth, heads, length):
        super().__init__()
        self.tokens, self.positions = torch.nn.Embedding(vocabulary, width), torch.nn.Embedding(length, width)
        self.blocks = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(depth))
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        mask = torch.nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        return self.norm(x) @ self.tokens.weight.T


@both
def test_twenty_steps_of_training_have_pytorchs_losses(which):
    torch.manual_seed(0)
    theirs = TorchGPT(13, 16, 2, 4, 9)
    ours = GPT(13, 16, 2, 4, length=9)
    state = {"tokens.weight": theirs.tokens.weight.detach().numpy() * 0.1, "positions.weight": theirs.positions.weight.detach().numpy() * 0.1}
    with torch.no_grad():
        theirs.tokens.weight *= 0.1
        theirs.positions.weight *= 0.1
    state |= {"head.weight": state["tokens.weight"], "norm.weight": np.ones(16, "float32"), "norm.bias": np.zeros(16, "float32")}
    for k, block in enumerate(theirs.blocks):
        state |= of_torch(block.state_dict(), f"blocks.{k}.")
    ours.load_state_dict(state)
    x = np.random.default_rng(1).integers(0, 13, (4, 9))
    optimizer, mine = torch.optim.AdamW(theirs.parameters(), 3e-3, weight_decay=0.01), tt.AdamW(ours.parameters(), 3e-3, weight_decay=0.01)
    course = []
    with backend.backend(which):
        for _ in range(20):
            mine.zero_grad()
            optimizer.zero_grad()
            loss = tt.cross_entropy(ours(x[:, :-1]).reshape(-1, 13), Tensor(x[:, 1:].reshape(-1)))
            wanted = torch.nn.functional.cross_entropy(theirs(torch.tensor(x[:, :-1])).reshape(-1, 13), torch.tensor(x[:, 1:].reshape(-1)))
            loss.backward()
            wanted.backward()
            mine.step()
            optimizer.step()
            course.append((loss.item(), wanted.item()))
    a, b = np.array(course).T
    np.testing.assert_allclose(a, b, rtol=2e-3)
    assert a[-1] < 0.8 * a[0]
