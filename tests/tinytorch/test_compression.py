"""Compression: what stays, what it takes in memory, and that the smaller layers compute what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import Adam, Linear, Sequential, ShapeError, Tensor, cross_entropy, datasets, no_grad, relu
from tinytorch.autograd import gradcheck
from tinytorch.compression import (
    CSRLinear,
    LowRankLinear,
    Pruner,
    csr_product,
    distillation_loss,
    from_csr,
    global_masks,
    keep_inputs,
    keep_outputs,
    low_rank,
    magnitude_mask,
    pack_2_4,
    pattern_mask,
    rank_for,
    sparsity_at,
    to_csr,
    unpack_2_4,
)
from tinytorch.convolutions import Conv2d
from tinytorch.quantization import size_of

SEEDS = st.integers(0, 2**32 - 1)


def sparse(seed, rows, width, share):
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 10, (rows, width)) * (rng.random((rows, width)) < share) * 1.0


@given(SEEDS, st.floats(0, 1), st.booleans())
def test_a_mask_leaves_out_exactly_so_many_and_none_larger_than_what_stays(seed, sparsity, ties):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-3, 4, (7, 5)).astype(float) if ties else rng.normal(size=(7, 5))
    mask = magnitude_mask(weight, sparsity)
    assert (~mask).sum() == round(sparsity * 35)
    if mask.any() and not mask.all():
        assert np.abs(weight[~mask]).max() <= np.abs(weight[mask]).min()
    assert (global_masks([weight], sparsity)[0] == mask).all()


@given(SEEDS, st.floats(0, 1))
def test_global_masks_compare_layers_with_each_other(seed, sparsity):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, scale, shape) for scale, shape in ((0.1, (4, 3)), (2.0, (5,)))]
    masks = global_masks(weights, sparsity)
    gone = np.concatenate([np.abs(w[~m]) for w, m in zip(weights, masks, strict=True)])
    kept = np.concatenate([np.abs(w[m]) for w, m in zip(weights, masks, strict=True)])
    assert len(gone) == round(sparsity * 17) and (not len(gone) or not len(kept) or gone.max() <= kept.min())


@given(SEEDS, st.integers(1, 4), st.integers(1, 3))
def test_two_of_four_survive_the_round_trip_in_little_more_than_half_the_bytes(seed, rows, eights):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(rows, 8 * eights)).astype("float32")
    mask = pattern_mask(weight)
    assert (mask.reshape(-1, 4).sum(axis=1) == 2).all()
    values, places = pack_2_4(weight * mask)
    assert values.nbytes == weight.nbytes // 2 and places.nbytes == weight.size // 8
    assert (unpack_2_4(values, places) == weight * mask).all()


@given(SEEDS, st.integers(0, 6), st.integers(0, 6), st.floats(0, 1), st.integers(0, 3))
def test_sparse_rows_multiply_as_dense_ones_do(seed, rows, width, share, n):
    weight = sparse(seed, rows, width, share)
    data, columns, offsets = to_csr(weight)
    assert offsets[0] == 0 and offsets[-1] == len(data) == np.count_nonzero(weight) and columns.dtype == offsets.dtype == np.int32
    assert (from_csr(data, columns, offsets, width) == weight).all()
    x = np.random.default_rng(seed + 1).integers(-9, 10, (n, width)) * 1.0
    y = csr_product(x, data, columns, offsets)
    assert y.shape == (n, rows) and (y == x @ weight.T).all()


def test_csr_is_smaller_from_half_on(rng):
    weight = rng.normal(size=(64, 256)).astype("float32")

    def held(sparsity):
        return sum(a.nbytes for a in to_csr(weight * magnitude_mask(weight, sparsity)))

    assert held(0.45) > weight.nbytes > held(0.55)


@given(SEEDS, st.integers(1, 5))
def test_the_error_of_a_low_rank_is_what_was_left_out(seed, rank):
    weight = np.random.default_rng(seed).normal(size=(5, 8))
    a, b = low_rank(weight, rank)
    s = np.linalg.svd(weight, compute_uv=False)
    assert np.linalg.norm(weight - a @ b) == pytest.approx(np.sqrt((s[rank:] ** 2).sum()), abs=1e-9)
    share = np.sqrt((s[rank:] ** 2).sum()) / np.linalg.norm(s)
    assert rank_for(weight, share + 1e-9) == rank


def test_channels_leave_two_layers_at_once(rng):
    first, second = Linear(6, 8, rng=rng, dtype="float64"), Linear(8, 4, rng=rng, dtype="float64")
    with no_grad():
        first.weight.copy_(first.weight.numpy() * (np.arange(8) % 2)[:, None])
        first.bias.copy_(first.bias.numpy() * (np.arange(8) % 2))
    keep = [1, 3, 5, 7]
    x = Tensor(rng.normal(size=(5, 6)))
    small = Sequential(keep_outputs(first, keep), relu, keep_inputs(second, keep))
    np.testing.assert_allclose(small(x).numpy(), Sequential(first, relu, second)(x).numpy(), rtol=1e-12, atol=1e-12)
    assert size_of(small) < 0.6 * (size_of(first) + size_of(second))


def test_channels_of_a_convolution_that_is_flattened(rng):
    conv, dense = Conv2d(2, 6, 3, rng=rng, dtype="float64"), Linear(6 * 4, 3, rng=rng, dtype="float64")
    with no_grad():
        conv.weight.copy_(conv.weight.numpy() * (np.arange(6) < 4)[:, None, None, None])
        conv.bias.copy_(conv.bias.numpy() * (np.arange(6) < 4))
    keep = [0, 1, 2, 3]
    x = Tensor(rng.normal(size=(2, 2, 4, 4)))
    whole = dense(conv(x).reshape(2, -1))
    part = keep_inputs(dense, keep, span=4)(keep_outputs(conv, keep)(x).reshape(2, -1))
    np.testing.assert_allclose(part.numpy(), whole.numpy(), rtol=1e-12, atol=1e-12)


def test_smaller_layers_compute_what_the_pruned_ones_do(rng):
    layer = Linear(40, 30, rng=rng)
    with no_grad():
        layer.weight.copy_(layer.weight.numpy() * magnitude_mask(layer.weight.numpy(), 0.9))
    x = Tensor(rng.normal(size=(7, 40)), "float32")
    sparse_layer = CSRLinear(layer)
    np.testing.assert_allclose(sparse_layer(x).numpy(), layer(x).numpy(), rtol=1e-4, atol=1e-5)
    assert size_of(sparse_layer) < 0.3 * size_of(layer)
    thin = LowRankLinear(layer, 30)
    np.testing.assert_allclose(thin(x).numpy(), layer(x).numpy(), rtol=1e-3, atol=1e-4)
    assert len(list(LowRankLinear(layer, 4).parameters())) == 3


def test_a_pruner_holds_its_masks_through_training(rng):
    (x, y), _ = datasets.digits()
    model = Sequential(Linear(64, 32, rng=rng), relu, Linear(32, 10, rng=rng))
    optimizer, pruner = Adam(model.parameters(), lr=1e-2), Pruner(model)
    for step in range(40):
        optimizer.zero_grad()
        cross_entropy(model(Tensor(x[step * 32:step * 32 + 32].reshape(32, 64))), y[step * 32:step * 32 + 32]).backward()
        optimizer.step()
        pruner.prune(sparsity_at(step, 5, 25, 0.8))
    assert pruner.sparsity() == pytest.approx(0.8, abs=1e-3)
    with no_grad():
        assert (model(Tensor(x.reshape(-1, 64))).numpy().argmax(1) == y).mean() > 0.6


def test_the_gradient_of_distillation(rng):
    teacher, labels = rng.normal(0, 3, (4, 5)), rng.integers(0, 5, 4)
    logits = Tensor(rng.normal(0, 3, (4, 5)), requires_grad=True)
    gradcheck(lambda z: distillation_loss(z, teacher, labels, 3.0, 0.6), logits)


def test_the_teachers_weight_does_not_depend_on_the_temperature(rng):
    """For large T the gradient is (z_s - z_t) / C with both centred, whatever T is: Hinton et al., section 2.1."""
    z, teacher, labels = rng.normal(size=(3, 6)), rng.normal(size=(3, 6)), rng.integers(0, 6, 3)
    centred = (z - z.mean(1, keepdims=True) - teacher + teacher.mean(1, keepdims=True)) / 6 / 3
    for temperature in (50.0, 200.0):
        logits = Tensor(z, requires_grad=True)
        distillation_loss(logits, teacher, labels, temperature, 1.0).backward()
        np.testing.assert_allclose(logits.grad.numpy(), centred, atol=0.05 * np.abs(centred).max())


@pytest.mark.parametrize("call, error, message", [
    (lambda: magnitude_mask(np.ones(3), 1.5), ValueError, "sparsity is from 0 to 1, got 1.5"),
    (lambda: global_masks([np.ones(3)], -1), ValueError, "sparsity is from 0 to 1, got -1"),
    (lambda: pattern_mask(np.ones((2, 6))), ShapeError, "rows of 6 are no whole number of groups of 4"),
    (lambda: pack_2_4(np.ones((2, 12))), ShapeError, "rows of 12 are no whole number of groups of 8"),
    (lambda: pack_2_4(np.ones((2, 8))), ValueError, "three nonzero numbers or more: prune by pattern_mask first"),
    (lambda: low_rank(np.ones((3, 5)), 4), ValueError, r"rank is from 1 to 3 for shape \(3, 5\), got 4"),
    (lambda: distillation_loss(Tensor([[1.0]]), np.ones((1, 1)), np.array([0]), 0), ValueError, "temperature is positive, got 0"),
    (lambda: distillation_loss(Tensor([[1.0]]), np.ones((1, 1)), np.array([0]), alpha=2), ValueError, "alpha is from 0 to 1, got 2"),
    (lambda: CSRLinear(Linear(4, 2))(Tensor(np.ones((3, 5), "float32"))), ShapeError, r"CSRLinear takes rows \(N, 4\), got shape \(3, 5\)"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
