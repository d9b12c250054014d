"""FLOP that a profile counts against PyTorch's counter, forward and backward."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from tinytorch import Linear, Profile, Sequential, Tensor, relu  # noqa: E402
from tinytorch.backend import backend as use_backend  # noqa: E402
from tinytorch.convolutions import Conv2d, Flatten  # noqa: E402
from tinytorch.profiling import PRODUCTS  # noqa: E402


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
