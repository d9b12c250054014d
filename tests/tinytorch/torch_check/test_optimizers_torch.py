"""Optimizers, schedules and clipping against PyTorch: the same gradients, the same numbers, step by step."""

import io
import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

import tinytorch as tt  # noqa: E402
import tinytorch.autograd  # noqa: E402, F401
from tinytorch import Tensor  # noqa: E402

SHAPES = [(3, 4), (5,), (), (0, 2), (2, 1, 3)]
STEPS = 50
RULES = {
    "plain": ("SGD", "SGD", {"lr": 0.05}),
    "decay": ("SGD", "SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "momentum": ("SGD", "SGD", {"lr": 0.05, "momentum": 0.9}),
    "dampening": ("SGD", "SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}),
    "nesterov": ("SGD", "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "rmsprop": ("RMSProp", "RMSprop", {"lr": 0.02}),
    "rmsprop-momentum": ("RMSProp", "RMSprop", {"lr": 0.02, "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.01}),
    "rmsprop-centered": ("RMSProp", "RMSprop", {"lr": 0.02, "alpha": 0.9, "centered": True, "eps": 1e-3}),
    "rmsprop-both": ("RMSProp", "RMSprop", {"lr": 0.02, "alpha": 0.8, "centered": True, "momentum": 0.5, "eps": 1e-2}),
    "adam": ("Adam", "Adam", {"lr": 0.02}),
    "adam-coupled": ("Adam", "Adam", {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1}),
    "adamw": ("AdamW", "AdamW", {"lr": 0.02}),
    "adamw-strong": ("AdamW", "AdamW", {"lr": 0.3, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.5}),
}
DEFAULTS = [("SGD", "SGD", {"lr": 0.05}), ("RMSProp", "RMSprop", {}), ("Adam", "Adam", {}), ("AdamW", "AdamW", {})]


def pairs(seed=0, dtype="float64", shapes=SHAPES):
    """Parameters with equal values, ours and theirs."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    ours = [Tensor(v, requires_grad=True) for v in values]
    return ours, [torch.tensor(v, requires_grad=True) for v in values]


def give(ours, theirs, rng, step):
    """The same random gradients to both, of sizes that differ a millionfold; one parameter has none every third step."""
    for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        grad = (rng.normal(size=p.shape) * 10.0 ** rng.integers(-3, 4)).astype(p.dtype)
        skip = k == 1 and step % 3 == 0
        p.grad, q.grad = (None, None) if skip else (Tensor(grad), torch.tensor(grad))


def train(mine, yours, ours, theirs, seed=1, steps=STEPS):
    """Steps of both, compared after each -> the largest relative difference."""
    rng, worst = np.random.default_rng(seed), 0.0
    for step in range(steps):
        give(ours, theirs, rng, step)
        mine.step()
        yours.step()
        for p, q in zip(ours, theirs, strict=True):
            want = q.detach().numpy()
            if want.size:
                worst = max(worst, np.abs(p.numpy() - want).max() / max(np.abs(want).max(), 1e-3))
    return worst


@pytest.mark.parametrize("name", RULES)
def test_fifty_steps_are_those_of_pytorch(name):
    mine, yours, options = RULES[name]
    ours, theirs = pairs()
    assert train(getattr(tt, mine)(ours, **options), getattr(torch.optim, yours)(theirs, **options), ours, theirs) < 1e-12


@pytest.mark.parametrize("mine, yours, options", DEFAULTS)
def test_defaults_are_those_of_pytorch(mine, yours, options):
    ours, theirs = pairs()
    assert train(getattr(tt, mine)(ours, **options), getattr(torch.optim, yours)(theirs, **options), ours, theirs) < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_float32_keeps_to_its_precision(name):
    mine, yours, options = RULES[name]
    ours, theirs = pairs(dtype="float32")
    worst = train(getattr(tt, mine)(ours, **options), getattr(torch.optim, yours)(theirs, **options), ours, theirs, steps=10)
    assert worst < 5e-5
    assert all(p.dtype == "float32" for p in ours)


def test_groups_differ_as_in_pytorch():
    ours, theirs = pairs()

    def groups(params):
        return [{"params": params[:2], "lr": 0.1, "weight_decay": 0.0}, {"params": params[2:], "betas": (0.5, 0.9)}]

    assert train(tt.AdamW(groups(ours), lr=0.01), torch.optim.AdamW(groups(theirs), lr=0.01), ours, theirs) < 1e-12


def test_options_that_change_between_steps_act_as_in_pytorch():
    ours, theirs = pairs()
    mine, yours = tt.SGD(ours, 0.1), torch.optim.SGD(theirs, 0.1)
    for options in ({"lr": 0.05}, {"momentum": 0.9}, {"momentum": 0.5, "dampening": 0.2}, {"weight_decay": 0.1}):
        mine.param_groups[0].update(options)
        yours.param_groups[0].update(options)
        assert train(mine, yours, ours, theirs, steps=4) < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_state_of_pytorch_can_be_loaded_and_the_run_goes_on(name):
    """The layout is the same: a state that PyTorch saved, as arrays, drives the next steps here."""
    mine, yours, options = RULES[name]
    ours, theirs = pairs()
    optimizer = getattr(torch.optim, yours)(theirs, **options)
    rng = np.random.default_rng(5)
    for step in range(7):
        give(ours, theirs, rng, step)
        optimizer.step()
    saved = optimizer.state_dict()
    state = {}
    for k, kept in saved["state"].items():
        arrays = {n: v.numpy() for n, v in kept.items() if torch.is_tensor(v) and n != "step"}
        state[k] = {"step": int(kept.get("step", 7)), **arrays}
    names = [*getattr(tt, mine)(ours, **options).param_groups[0]]
    groups = [{n: group[n] for n in names} for group in saved["param_groups"]]
    with tt.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            p.copy_(q.detach().numpy())
    resumed = getattr(tt, mine)(ours, **options)
    resumed.load_state_dict({"state": state, "param_groups": groups})
    assert train(resumed, optimizer, ours, theirs, steps=10) < 1e-12


def schedules():
    def warm_cosine(optimizer):
        warm, total, low = 7, 40, 0.003
        line = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - warm, eta_min=low)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [line, cosine], [warm])

    def one(optimizer, **more):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, cycle_momentum=False, **more)

    cycle = {"max_lr": 0.7, "total_steps": 40}
    odd = {"max_lr": [0.7, 0.2], "total_steps": 41, "pct_start": 0.37, "div_factor": 7.0, "final_div_factor": 90.0}
    return {
        "step": (lambda o: tt.StepLR(o, 7, 0.3), lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.3), 60),
        "cosine": (lambda o: tt.CosineWithWarmup(o, 7, 40, 0.003), warm_cosine, 40),
        "cosine-cold": (lambda o: tt.CosineWithWarmup(o, 0, 40),
                        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40), 40),
        "cycle": (lambda o: tt.OneCycleLR(o, **cycle), lambda o: one(o, **cycle), 39),
        "cycle-linear": (lambda o: tt.OneCycleLR(o, **odd, anneal="linear"), lambda o: one(o, **odd, anneal_strategy="linear"), 40),
    }


@pytest.mark.parametrize("name", schedules())
def test_schedules_are_those_of_pytorch(name):
    mine, yours, steps = schedules()[name]
    (a, b), (c, d) = pairs(shapes=[(2,), (3,)])
    ours = tt.SGD([{"params": a, "lr": 0.5}, {"params": b, "lr": 0.01}], 0.1)
    theirs = torch.optim.SGD([{"params": c, "lr": 0.5}, {"params": d, "lr": 0.01}], 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # about the order of calls and SequentialLR's own use of an old argument
        s, t = mine(ours), yours(theirs)
        for n in range(steps + 1):
            got, want = ([g["lr"] for g in o.param_groups] for o in (ours, theirs))
            assert got == pytest.approx(want, rel=1e-9, abs=1e-12)
            theirs.step()
            s.step()
            if n < steps:
                t.step()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
def test_clipping_by_norm_is_that_of_pytorch(scale, max_norm):
    ours, theirs = pairs()
    rng = np.random.default_rng(2)
    for p, q in zip(ours[1:], theirs[1:], strict=True):     # the first has no gradient
        grad = rng.normal(size=p.shape) * scale
        p.grad, q.grad = Tensor(grad), torch.tensor(grad)
    norm = tt.clip_grad_norm_(ours, max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item(), rel=1e-12)
    for p, q in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_norms_that_are_not_finite_do_what_they_do_in_pytorch(bad):
    (p,), (q,) = pairs(shapes=[(3,)])
    p.grad, q.grad = Tensor(np.array([1.0, bad, 2.0])), torch.tensor([1.0, bad, 2.0], dtype=torch.float64)
    norm, want = tt.clip_grad_norm_([p], 1.0), torch.nn.utils.clip_grad_norm_([q], 1.0).item()
    assert norm == want or (math.isnan(norm) and math.isnan(want))
    np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
    with pytest.raises(RuntimeError):
        torch.nn.utils.clip_grad_norm_([q], 1.0, error_if_nonfinite=True)
    with pytest.raises(RuntimeError, match="norm"):
        tt.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


def test_clipping_by_value_is_that_of_pytorch():
    ours, theirs = pairs()
    give(ours, theirs, np.random.default_rng(3), 1)
    tt.clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_training_through_autograd_is_that_of_pytorch():
    """The same regression, gradients by either engine: the weights stay together."""
    rng = np.random.default_rng(6)
    points, wanted = rng.normal(size=(64, 5)), rng.normal(size=64)
    (w,), (v,) = pairs(shapes=[(5,)])
    mine, yours = tt.AdamW([w], lr=0.05), torch.optim.AdamW([v], lr=0.05)
    for _ in range(30):
        mine.zero_grad()
        yours.zero_grad()
        ((Tensor(points) @ w - Tensor(wanted)) ** 2).mean().backward()
        ((torch.tensor(points) @ v - torch.tensor(wanted)) ** 2).mean().backward()
        mine.step()
        yours.step()
    np.testing.assert_allclose(w.numpy(), v.detach().numpy(), rtol=1e-10)


def test_a_state_saved_here_loads_in_pytorch():
    ours, theirs = pairs()
    mine = tt.Adam(ours, lr=0.02)
    rng = np.random.default_rng(7)
    for step in range(4):
        give(ours, theirs, rng, step)
        mine.step()
    yours = torch.optim.Adam(theirs, lr=0.02)
    saved = mine.state_dict()
    full = yours.state_dict()["param_groups"][0]
    state = {k: {n: torch.tensor(v, dtype=torch.float64 if n != "step" else torch.float32) for n, v in kept.items()}
             for k, kept in saved["state"].items()}
    yours.load_state_dict({"state": state, "param_groups": [full | saved["param_groups"][0]]})
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            q.copy_(torch.tensor(np.array(p)))
    torch.save(yours.state_dict(), io.BytesIO())
    assert train(mine, yours, ours, theirs, steps=10) < 1e-12
