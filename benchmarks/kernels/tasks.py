"""The milestones' networks in PyTorch, and tasks on which both are trained from the same weights, ten steps of each in turn."""

import gc
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import tinytorch as tt
from mlsysbook.milestones import load
from tinytorch import datasets

CHUNK = 10                              # steps of one before it is the other's turn
MILESTONES = Path(__file__).resolve().parents[2] / "milestones"
SCRIPTS = {name: load(MILESTONES / f"{name}.py") for name in ("03_mlp_digits", "04_cnn", "05_transformer")}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)})
        self.heads = heads

    def forward(self, x, turns):
        B, T, width = x.shape
        q, k, v = self.attention["qkv"](self.norm1(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if turns is not None:
            q, k = (torch.view_as_real(torch.view_as_complex(z.reshape(*z.shape[:-1], -1, 2)) * turns[:T]).flatten(-2) for z in (q, k))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention["out"](seen.transpose(1, 2).reshape(B, T, width))
        return x + self.mlp["down"](F.gelu(self.mlp["up"](self.norm2(x))))


class GPT(nn.Module):
    """The network of tinytorch.GPT with a tied head, its parameters under the same names."""

    def __init__(self, vocabulary, width, depth, heads, length, rotary):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = None if rotary else nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        half = width // heads // 2
        angles = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.turns = torch.polar(torch.ones_like(angles), angles) if rotary else None

    def forward(self, ids):
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions.weight[:ids.shape[1]]
        for block in self.blocks:
            x = block(x, self.turns)
        return self.norm(x) @ self.tokens.weight.T


def images(model, counterpart, batches, rate, score):
    """A task of images: (ours, theirs), one step of each from a batch (x, y), and what scores a function from arrays to logits."""
    ours, theirs = tt.Adam(model.parameters(), lr=rate), torch.optim.Adam(counterpart.parameters(), lr=rate, fused=True)

    def step(x, y):
        loss = tt.cross_entropy(model(tt.Tensor(x)), tt.Tensor(y))
        ours.zero_grad()
        loss.backward()
        ours.step()

    def torch_step(x, y):
        loss = F.cross_entropy(counterpart(torch.from_numpy(x)), torch.from_numpy(y))
        theirs.zero_grad()
        loss.backward()
        theirs.step()

    return Task(model, counterpart, step, torch_step, batches, score)


def language(model, counterpart, batches, steps, rate, scored, score):
    """A task of tokens, as images."""
    ours = tt.AdamW(model.parameters(), lr=rate, weight_decay=0.1)
    theirs = torch.optim.AdamW(counterpart.parameters(), lr=rate, weight_decay=0.1, fused=True)
    schedule = tt.CosineWithWarmup(ours, steps // 20, steps)
    weights = list(counterpart.parameters())
    planned = []
    for _ in range(steps):              # the rates, read off once, for both
        planned.append(ours.param_groups[0]["lr"])
        schedule.step()
    rates, their_rates = iter(planned), iter(planned)

    def step(rows):
        ours.param_groups[0]["lr"] = next(rates)
        loss = tt.cross_entropy(model(tt.Tensor(rows[:, :-1]))[:, scored - 1:].reshape(-1, model.vocabulary),
                                tt.Tensor(rows[:, scored:].reshape(-1)))
        ours.zero_grad()
        loss.backward()
        tt.clip_grad_norm_(model.parameters(), 1.0)
        ours.step()

    def torch_step(rows):
        theirs.param_groups[0]["lr"] = next(their_rates)
        rows = torch.from_numpy(rows)
        loss = F.cross_entropy(counterpart(rows[:, :-1])[:, scored - 1:].reshape(-1, model.vocabulary), rows[:, scored:].reshape(-1))
        theirs.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        theirs.step()

    return Task(model, counterpart, step, torch_step, batches, score)


class Task:
    """Two networks with the same weights, a step of each, the batches, and what scores them."""

    def __init__(self, model, counterpart, step, torch_step, batches, score):
        state = {name: torch.from_numpy(p.numpy().copy()) for name, p in model.named_parameters() if not name.startswith("head.")}
        counterpart.load_state_dict({name: state[name] for name in counterpart.state_dict()})
        self.steps, self.batches, self.score = (step, torch_step), batches, score
        self.models = model, Adapter(counterpart, model)

    def run(self):
        """-> seconds of ours and theirs, scores of ours and theirs."""
        with tt.no_grad():
            some = self.batches[0][0]
            some = some if some.ndim == 4 or some.dtype.kind == "f" else some[:, :-1]
            gap = abs(self.models[0](tt.Tensor(some)).numpy() - self.models[1](tt.Tensor(some)).numpy()).max()
        if not gap < 1e-4:
            raise SystemExit(f"benchmarks/milestones.py: before training the two networks differ by {gap:.2g}: they are not the same")
        spent = [0.0, 0.0]
        gc.collect()
        for begin in range(0, len(self.batches), CHUNK):
            for who, step in enumerate(self.steps):
                begun = time.thread_time()
                for batch in self.batches[begin:begin + CHUNK]:
                    step(*batch)
                spent[who] += time.thread_time() - begun
        return spent, [self.score(model) for model in self.models]


class Adapter:
    """A PyTorch network as the milestones' scoring code calls it: tensors of TinyTorch in and out."""

    def __init__(self, network, like):
        self.network, self.vocabulary = network, getattr(like, "vocabulary", None)

    def __call__(self, x):
        with torch.no_grad():
            return tt.Tensor(self.network(torch.from_numpy(np.ascontiguousarray(x.numpy()))).numpy())


def digits_mlp():
    s = SCRIPTS["03_mlp_digits"]
    ((x, y), test), _ = s["digits"]()
    rng = np.random.default_rng(0)
    batches = [(x[i], y[i]) for _ in range(s["EPOCHS"]) for i in np.array_split(rng.permutation(len(x)), len(x) // s["BATCH"])]
    counterpart = nn.Sequential(nn.Linear(64, s["HIDDEN"]), nn.ReLU(), nn.Linear(s["HIDDEN"], 10))
    return images(s["network"](rng, s["HIDDEN"]), counterpart, batches, s["RATE"], lambda m: s["evaluate"](m, *test)[1])


def digits_cnn():
    s = SCRIPTS["04_cnn"]
    (x, y), test = datasets.digits()
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(s["EPOCHS"]):
        fields = s["placed"](x, *rng.integers(0, s["PLACES"], (2, len(x))))
        batches += [(fields[i], y[i]) for i in np.array_split(rng.permutation(len(x)), len(x) // s["BATCH"])]
    counterpart = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                                nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10))
    order = np.arange(s["FIELD"]**2)
    return images(s["convolutional"](rng), counterpart, batches, s["RATE"], lambda m: float(s["everywhere"](m, *test, order).mean()))


def strings():
    s = SCRIPTS["05_transformer"]
    rng = np.random.default_rng(0)
    batches = [(s["strings"](rng, s["TASK_BATCH"]),) for _ in range(s["TASK_STEPS"])]
    test, vocabulary = s["strings"](rng, 600), s["DIGITS"] + len(s["TASKS"])
    model = tt.GPT(vocabulary, 64, 2, 4, length=2 * s["LONG"], rng=rng)
    return language(model, GPT(vocabulary, 64, 2, 4, 2 * s["LONG"], False), batches, s["TASK_STEPS"], s["TASK_RATE"], s["LONG"] + 1,
                    lambda m: min(s["solved"](m, test).values()))


def plays():
    s = SCRIPTS["05_transformer"]
    rng = np.random.default_rng(0)
    learn, test = s["plays"]()
    tokenizer = tt.BPETokenizer.train(learn, s["VOCABULARY"])
    known, new, window = np.array(tokenizer.encode(learn)), np.array(tokenizer.encode(test)), s["WINDOW"]
    batches = [(np.stack([known[i:i + window + 1] for i in rng.integers(0, len(known) - window, s["BATCH"])]),) for _ in range(s["STEPS"])]
    model = tt.GPT(s["VOCABULARY"], 96, 2, 4, length=window, positions="rotary", rng=rng)
    return language(model, GPT(s["VOCABULARY"], 96, 2, 4, window, True), batches, s["STEPS"], s["RATE"], 1,
                    lambda m: float(s["bits"](m, new).sum() / len(test.encode())))


TASKS = {"03 digits, dense": (digits_mlp, "accuracy"), "04 digits, convolutions": (digits_cnn, "accuracy"),
         "05 strings, transformer": (strings, "strings right, worst task"), "05 plays, transformer": (plays, "bits per byte")}
