"""Whole training runs against PyTorch: the same weights, batches and optimizer give the same losses, step by step."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

import tinytorch as tt  # noqa: E402
from tinytorch.training import Callback, Half, LossScaler, Trainer, shares  # noqa: E402

STEPS, RTOL = 50, 1e-5


def points(n=100, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return x, (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=n) > 0).astype("int64")


def networks(dtype="float64"):
    """The same network in both, with our weights."""
    rng = np.random.default_rng(1)
    ours = tt.Sequential(tt.Linear(4, 16, rng=rng, dtype=dtype), tt.tanh, tt.Linear(16, 16, rng=rng, dtype=dtype), tt.relu,
                         tt.Linear(16, 2, rng=rng, dtype=dtype))
    nn = torch.nn
    theirs = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)).to(getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(np.array(t)) for name, t in ours.state_dict().items()})
    return ours, theirs


class Steps(Callback):
    def __init__(self):
        self.losses, self.norms = [], []

    def on_step_end(self, trainer, record):
        self.losses.append(record["loss"])
        self.norms.append(record["norm"])


OPTIMIZERS = {
    "sgd": (lambda p: tt.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)),
    "rmsprop": (lambda p: tt.RMSProp(p, 0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    "adam": (lambda p: tt.Adam(p, 0.02), lambda p: torch.optim.Adam(p, 0.02)),
    "adamw": (lambda p: tt.AdamW(p, 0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1)),
}


def batches_of(loader, accumulate, epochs):
    """What the trainer sees: groups of batches, epoch by epoch, as torch tensors."""
    for epoch in range(epochs):
        loader.epoch = epoch
        batches = [tuple(torch.tensor(np.array(t)) for t in batch) for batch in loader]
        for start in range(0, len(batches), accumulate):
            yield batches[start:start + accumulate]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("accumulate", "max_norm"), [(1, None), (1, 0.5), (3, 0.5)])
def test_losses_norms_and_weights_are_those_of_pytorch_over_50_steps(name, accumulate, max_norm):
    ours, theirs = networks()
    x, y = points()
    loader = tt.DataLoader(tt.TensorDataset(tt.Tensor(x), tt.Tensor(y)), batch_size=16, shuffle=True, seed=3)  # 6 of 16, one of 4
    epochs = math.ceil(STEPS / math.ceil(len(loader) / accumulate))
    mine, yours = (make(list(model.parameters())) for make, model in zip(OPTIMIZERS[name], (ours, theirs), strict=True))
    total = epochs * math.ceil(len(loader) / accumulate)
    schedule = tt.OneCycleLR(mine, 0.03, total)
    theirs_schedule = torch.optim.lr_scheduler.OneCycleLR(yours, 0.03, total_steps=total, cycle_momentum=False)
    seen = Steps()
    Trainer(ours, tt.cross_entropy, mine, scheduler=schedule, accumulate=accumulate, max_norm=max_norm, callbacks=[seen],
            progress=False).fit(loader, epochs)

    losses, norms = [], []
    for group in batches_of(loader, accumulate, epochs):
        yours.zero_grad()
        n = sum(len(labels) for _, labels in group)
        loss = 0.0
        for inputs, labels in group:
            part = torch.nn.functional.cross_entropy(theirs(inputs), labels, reduction="sum") / n
            part.backward()
            loss += part.item()
        losses.append(loss)
        norms.append(torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm or math.inf).item())
        yours.step()
        if len(losses) < total:
            theirs_schedule.step()
    assert len(losses) == len(seen.losses) >= STEPS
    np.testing.assert_allclose(seen.losses, losses, rtol=RTOL)
    np.testing.assert_allclose(seen.norms, norms, rtol=RTOL)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(np.array(p), q.detach().numpy(), rtol=1e-5, atol=1e-9)


def test_float32_losses_stay_close_to_pytorch_over_50_steps():
    ours, theirs = networks("float32")
    x, y = points()
    loader = tt.DataLoader(tt.TensorDataset(tt.Tensor(x, "float32"), tt.Tensor(y)), batch_size=20, shuffle=True, seed=0)
    seen, optimizer = Steps(), torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9)
    Trainer(ours, tt.cross_entropy, tt.SGD(ours.parameters(), 0.1, momentum=0.9), callbacks=[seen], progress=False).fit(loader, 10)
    losses = []
    for [(inputs, labels)] in batches_of(loader, 1, 10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == STEPS
    np.testing.assert_allclose(seen.losses, losses, rtol=RTOL)


def test_accumulated_gradients_are_those_of_one_large_batch_in_pytorch():
    ours, theirs = networks()
    x, y = points(37)
    cuts = [0, 5, 6, 20, 37]
    parts = [(tt.Tensor(x[a:b]), tt.Tensor(y[a:b])) for a, b in zip(cuts, cuts[1:], strict=False)]
    for (inputs, labels), share in zip(parts, shares([len(labels) for _, labels in parts]), strict=True):
        (tt.cross_entropy(ours(inputs), labels) * share).backward()
    torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y)).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(np.array(p.grad), q.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_the_loss_scale_moves_as_in_grad_scaler():
    rng, interval = np.random.default_rng(0), 3
    theirs = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=interval)
    ours = LossScaler(1024.0, interval)
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([p], 0.1)
    for overflow in rng.random(60) < 0.15:
        theirs.scale((p * (math.inf if overflow else 1.0)).sum()).backward()
        theirs.step(optimizer)
        theirs.update()
        optimizer.zero_grad()
        ours.update(bool(overflow))
        assert ours.scale == theirs.get_scale()


def test_half_computes_forward_and_gradients_as_a_float16_copy_in_pytorch():
    ours, theirs = networks("float32")
    x, y = points(32)
    half = Half(ours)
    half_theirs = torch.nn.Sequential(*theirs).half()
    logits = half(tt.Tensor(x, "float32"))
    (tt.cross_entropy(logits, tt.Tensor(y)) * 1024).backward()
    wanted = half_theirs(torch.tensor(x, dtype=torch.float16)).float()
    (torch.nn.functional.cross_entropy(wanted, torch.tensor(y)) * 1024).backward()
    np.testing.assert_allclose(logits.numpy(), wanted.detach().numpy(), rtol=0.01, atol=0.005)
    for p, q in zip(ours.parameters(), half_theirs.parameters(), strict=True):
        assert p.dtype == p.grad.dtype == np.float32
        np.testing.assert_allclose(np.array(p.grad), q.grad.float().numpy(), rtol=0.05, atol=0.3)


def test_the_mean_of_an_evaluation_is_that_over_the_whole_set():
    ours, theirs = networks()
    x, y = points(50)
    loader = tt.DataLoader(tt.TensorDataset(tt.Tensor(x), tt.Tensor(y)), batch_size=16)
    trainer = Trainer(ours, tt.cross_entropy, tt.SGD(ours.parameters(), 0.1), metrics={"accuracy": tt.accuracy}, progress=False)
    got = trainer.evaluate(loader)
    logits = theirs(torch.tensor(x))
    assert got["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor(y)).item(), rel=1e-12)
    assert got["accuracy"] == pytest.approx((logits.argmax(1).numpy() == y).mean(), rel=1e-12)
