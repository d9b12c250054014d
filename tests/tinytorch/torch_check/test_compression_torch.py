"""Compression against PyTorch: masks of torch.nn.utils.prune, its CSR, and the usual way to write distillation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from torch.nn.utils import prune  # noqa: E402

from tinytorch import Tensor  # noqa: E402
from tinytorch.compression import distillation_loss, global_masks, magnitude_mask, to_csr  # noqa: E402


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_masks(rng, sparsity):
    layers = [torch.nn.Linear(12, 8), torch.nn.Linear(8, 5)]
    weights = [layer.weight.detach().numpy().copy() for layer in layers]
    ours = global_masks(weights, sparsity)
    one = prune.l1_unstructured(torch.nn.Linear(12, 8), "weight", sparsity)
    prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=sparsity)
    assert all((layer.weight_mask.numpy().astype(bool) == mask).all() for layer, mask in zip(layers, ours, strict=True))
    assert (one.weight_mask.numpy().astype(bool) == magnitude_mask(one.weight_orig.detach().numpy(), sparsity)).all()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_csr(rng):
    weight = rng.normal(size=(9, 7)) * (rng.random((9, 7)) < 0.3)
    theirs = torch.tensor(weight).to_sparse_csr()
    for ours, other in zip(to_csr(weight), (theirs.values(), theirs.col_indices(), theirs.crow_indices()), strict=True):
        np.testing.assert_array_equal(ours, other.numpy())


@pytest.mark.parametrize("temperature, alpha", [(1.0, 1.0), (4.0, 0.7), (10.0, 0.3)])
def test_distillation(rng, temperature, alpha):
    z, teacher, labels = rng.normal(0, 3, (6, 5)), rng.normal(0, 3, (6, 5)), rng.integers(0, 5, 6)
    a, b = Tensor(z, requires_grad=True), torch.tensor(z, requires_grad=True)
    ours = distillation_loss(a, teacher, labels, temperature, alpha)
    f, t = torch.nn.functional, torch.tensor(teacher)
    divergence = f.kl_div(f.log_softmax(b / temperature, 1), f.softmax(t / temperature, 1), reduction="batchmean")
    entropy = -(f.softmax(t / temperature, 1) * f.log_softmax(t / temperature, 1)).sum(1).mean()
    theirs = (1 - alpha) * f.cross_entropy(b, torch.tensor(labels)) + alpha * temperature**2 * divergence
    ours.backward(), theirs.backward()
    assert ours.item() == pytest.approx(theirs.item() + alpha * temperature**2 * entropy.item(), rel=1e-10)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)
