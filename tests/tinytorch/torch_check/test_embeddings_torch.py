"""Embeddings against PyTorch: rows, dense and sparse gradients, padding, tied weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

import tinytorch as tt  # noqa: E402
from tinytorch import Embedding, Tensor, backend, tie  # noqa: E402

both = pytest.mark.parametrize("which", backend.BACKENDS)
INDICES = np.array([[3, 0, 3], [6, 3, 2]])


@both
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_rows_and_gradients(which, dtype, tolerance, padding, sparse):
    with backend.backend(which):
        ours = Embedding(7, 4, padding=padding, sparse=sparse, rng=np.random.default_rng(0), dtype=dtype)
        weight = torch.tensor(ours.weight.numpy(), requires_grad=True)
        theirs = torch.nn.functional.embedding(torch.tensor(INDICES), weight, padding_idx=padding, sparse=sparse)
        grad = np.random.default_rng(1).normal(size=theirs.shape).astype(dtype)
        y = ours(INDICES)
        np.testing.assert_array_equal(y.numpy(), theirs.detach().numpy())
        y.backward(grad)
        theirs.backward(torch.tensor(grad))
        found = ours.row_gradient.dense() if sparse else ours.weight.grad.numpy()
        np.testing.assert_allclose(found, weight.grad.to_dense().numpy(), rtol=tolerance, atol=tolerance)
        if sparse and padding is None:
            assert ours.row_gradient.numbers.tolist() == weight.grad.coalesce().indices()[0].tolist()


@both
def test_a_tied_network(which):
    with backend.backend(which):
        table = Embedding(7, 4, rng=np.random.default_rng(2), dtype="float64")
        head = tie(table, tt.Linear(4, 7, bias=False, dtype="float64"))
        weight = torch.tensor(table.weight.numpy(), requires_grad=True)
        tokens, targets = INDICES.reshape(-1), np.array([0, 1, 2, 3, 4, 5])
        loss = tt.cross_entropy(head(table(tokens)), Tensor(targets))
        rows = torch.nn.functional.embedding(torch.tensor(tokens), weight)
        theirs = torch.nn.functional.cross_entropy(rows @ weight.T, torch.tensor(targets))
        loss.backward()
        theirs.backward()
        assert loss.item() == pytest.approx(theirs.item(), rel=1e-12)
        np.testing.assert_allclose(table.weight.grad.numpy(), weight.grad.numpy(), rtol=1e-10)
