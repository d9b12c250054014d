"""FLOP that a profile counts against PyTorch's counter, forward and backward."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from tinytorch import Linear, Profile, Sequential, Tensor, relu  # noqa: E402
from tinytorch.attention import TiledAttention  # noqa: E402
from tinytorch.backend import backend as use_backend  # noqa: E402
from tinytorch.convolutions import Conv2d, Flatten  # noqa: E402
from tinytorch.profiling import PRODUCTS, cost  # noqa: E402


@pytest.mark.parametrize("backend", ["reference", "cython"])
@pytest.mark.parametrize("wanted", [False, True])
def test_flop_of_products(backend, wanted):
    rng = np.random.default_rng(0)
    ours = Sequential(Conv2d(3, 8, 3, 2, 1, rng=rng), relu, Conv2d(8, 6, 3, rng=rng), Flatten(), Linear(6 * 4, 10, rng=rng))
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3), torch.nn.Flatten(), torch.nn.Linear(24, 10))
    x = rng.normal(size=(4, 3, 8, 8)).astype("float32")
    with use_backend(backend), Profile() as profile:
        ours(Tensor(x, requires_grad=wanted)).sum().backward()
    with FlopCounterMode(display=False) as counter:
        theirs(torch.tensor(x, requires_grad=wanted)).sum().backward()
    assert sum(e.flop for e in profile.operations() if e.name in PRODUCTS) == counter.get_total_flops()


@pytest.mark.parametrize("backend", ["reference", "cython"])
def test_flop_of_attention(backend):
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(2, 4, length, 16)).astype("float32") for length in (24, 40, 40))
    with use_backend(backend), Profile() as profile:
        TiledAttention.apply(*(Tensor(a, requires_grad=True) for a in (q, k, v))).sum().backward()
    math = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)       # the one whose products the counter sees
    with math, FlopCounterMode(display=False) as counter:
        theirs = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
        out = torch.nn.functional.scaled_dot_product_attention(*theirs)
        forward = counter.get_total_flops()
        out.sum().backward()
        backward = counter.get_total_flops() - forward
    ours = {e.kind: e.flop for e in profile.operations() if e.name == "TiledAttention"}
    assert forward == ours["forward"] and backward + forward / 2 == ours["backward"], "and the scores once more"


def test_flop_under_the_causal_mask_are_those_of_the_pairs_that_it_leaves():
    batch, heads, shared, length, depth = 2, 4, 2, 9, 8
    pairs = np.tril(np.ones((length, length))).sum()
    counted = cost("CausalAttention", [(batch, length, (heads + 2 * shared) * depth)], (batch, length, heads * depth))
    assert counted[0] == 2 * 2 * batch * heads * pairs * depth
