"""The exported dataset tools against torch.utils.data: the same counts, batches, shapes and dtypes, and where they differ, how."""

import itertools

import numpy as np
import pytest

from tinytorch import BatchSampler, DataLoader, SequentialSampler, Subset, Tensor, TensorDataset, default_collate
from tinytorch.data import split_lengths

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")
data = torch.utils.data

sizes = pytest.mark.parametrize("n, size", [(10, 4), (8, 4), (3, 4), (0, 4), (7, 1), (1797, 64)])
drops = pytest.mark.parametrize("drop_last", [False, True])


def agree(ours, theirs):
    """The same structure, with equal arrays for tensors."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, Tensor) and ours.dtype == theirs.numpy().dtype
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            agree(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b)
    else:
        assert ours == theirs


@sizes
@drops
def test_a_loader_has_the_same_batches(n, size, drop_last):
    x, y = np.random.default_rng(n).random((n, 3, 2), "float32"), np.arange(n)
    ours = DataLoader(TensorDataset(Tensor(x), Tensor(y)), size, drop_last=drop_last)
    theirs = data.DataLoader(data.TensorDataset(torch.tensor(x), torch.tensor(y)), size, drop_last=drop_last)
    assert len(ours) == len(theirs)
    for a, b in itertools.zip_longest(ours, theirs):
        agree(a, b)


@sizes
@drops
def test_batch_samplers_agree(n, size, drop_last):
    ours = BatchSampler(SequentialSampler(range(n)), size, drop_last)
    theirs = data.BatchSampler(data.SequentialSampler(range(n)), size, drop_last)
    assert list(ours) == list(theirs) and len(ours) == len(theirs)


def test_worker_processes_bring_the_same_batches_as_pytorchs():
    x = np.random.default_rng(0).random((22, 4))
    ours = DataLoader(TensorDataset(Tensor(x)), 4, workers=2)
    theirs = data.DataLoader(data.TensorDataset(torch.tensor(x)), 4, num_workers=2)
    for a, b in itertools.zip_longest(ours, theirs):
        agree(a, b)


@pytest.mark.parametrize("samples", [
    [np.arange(3.0), np.arange(3.0) + 1],
    [(np.ones((2, 3), "float32"), 4), (np.zeros((2, 3), "float32"), 5)],
    [{"x": np.ones((0, 2), "int8"), "y": (1, True)}, {"x": np.ones((0, 2), "int8"), "y": (2, False)}],
    [("a.png", [1, 2]), ("b.png", [3, 4])],
    [np.float64(1.5), np.float64(2.5)],
    [np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T],
    [True, False],
], ids=str)
def test_collating_agrees(samples):
    agree(default_collate(samples), data.default_collate(samples))


def test_python_floats_become_the_default_dtype_here_and_float64_there():
    assert default_collate([1.0, 2.0]).dtype == "float32"
    assert data.default_collate([1.0, 2.0]).dtype == torch.float64


@pytest.mark.parametrize("n", [0, 1, 2, 10, 11, 57, 1797])
@pytest.mark.parametrize("parts", [(0.5, 0.5), (0.8, 0.2), (1 / 3,) * 3, (0.1,) * 10, (0.7, 0.2, 0.1), (1 / 7,) * 7], ids=str)
@pytest.mark.filterwarnings("ignore:Length of split")
def test_splits_have_the_same_lengths(n, parts):
    theirs = data.random_split(range(n), parts, generator=torch.Generator().manual_seed(0)) if n else [()] * len(parts)
    assert split_lengths(n, parts) == tuple(map(len, theirs))


def test_subsets_agree():
    x = np.arange(12.0).reshape(6, 2)
    ours, theirs = Subset(TensorDataset(Tensor(x)), [5, 0, 0]), data.Subset(data.TensorDataset(torch.tensor(x)), [5, 0, 0])
    agree([ours[i] for i in range(3)], [theirs[i] for i in range(3)])
