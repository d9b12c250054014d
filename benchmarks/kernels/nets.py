"""Three networks, in TinyTorch and in PyTorch, with the same initial weights: what a training step costs, all of it.

Each builder returns {contender: step}, where step() does one step of training and returns the loss.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import tinytorch.autograd  # noqa: F401 -- gives tensors their backward
from tinytorch import layers, optimizers
from tinytorch.activations import relu
from tinytorch.backend import backend
from tinytorch.fused import Conv2d, Linear, MaxPool2d
from tinytorch.losses import cross_entropy
from tinytorch.tensor import Tensor
from tinytorch.transformers import GPT

RNG = 20260801


class Dense(layers.Linear):
    """A linear layer whose bias and activation are part of the product."""

    def __init__(self, features, out_features, activation=None):
        super().__init__(features, out_features)
        self.activation = activation

    def forward(self, x):
        return Linear.apply(x, self.weight, self.bias, activation=self.activation)


class Conv(layers.Module):
    """A 3 x 3 convolution that keeps the size of its images."""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.weight = layers.Parameter(np.zeros((out_channels, channels, 3, 3), np.float32))
        self.bias = layers.Parameter(np.zeros(out_channels, np.float32))

    def forward(self, x):
        return Conv2d.apply(x, self.weight, self.bias, padding=1)


class TorchBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (z.view(batch, length, self.heads, -1).transpose(1, 2) for z in self.qkv(self.norm1(x)).split(width, 2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    def __init__(self, vocabulary, positions, width, heads, depth):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.blocks = nn.Sequential(*(TorchBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, indices):
        x = self.tokens(indices) + self.places(torch.arange(indices.shape[1]))
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)


def our_step(model, x, labels):
    optimizer = optimizers.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_step(model, x, labels, **options):
    optimizer = torch.optim.Adam(model.parameters(), **options)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def contenders(ours, theirs, x, labels):
    """ours(), theirs(): new models with the same parameters in the same order -> {contender: step}."""
    torch.manual_seed(RNG)
    start = theirs().state_dict()
    arrays = [value.numpy() for value in start.values()]

    def mine():
        model = ours()
        for parameter, array in zip(model.parameters(), arrays, strict=True):
            if parameter.shape != array.shape:
                raise ValueError(f"shapes differ: {parameter.shape} here, {array.shape} in PyTorch")
            layers.overwrite(parameter, array)
        return model

    def its():
        model = theirs()
        model.load_state_dict(start)
        return model

    def in_numpy(step):
        def run():
            with backend("reference"):
                return step()
        return run

    at, to = Tensor(x), Tensor(labels)
    given = torch.from_numpy(x), torch.from_numpy(labels)
    return {
        "ours": our_step(mine(), at, to), "torch": torch_step(its(), *given), "torch, fused Adam": torch_step(its(), *given, fused=True),
        "numpy": in_numpy(our_step(mine(), at, to)),
    }


def mlp(fused=True):
    """784-256-10, ReLU, 64 images. Without fused, of the Linear and the ReLU of modules 03 and 02."""
    rng = np.random.default_rng(RNG)
    x, labels = rng.standard_normal((64, 784), np.float32), rng.integers(0, 10, 64)

    def ours():
        hidden = (Dense(784, 256, "relu"),) if fused else (layers.Linear(784, 256), relu)
        return layers.Sequential(*hidden, (Dense if fused else layers.Linear)(256, 10))

    return contenders(ours, lambda: nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)), x, labels)


def cnn():
    """Two convolutions to 16 and 32 channels, each with ReLU and a pool of 2 x 2, and a linear layer; 64 images of 32 x 32."""
    rng = np.random.default_rng(RNG)
    x, labels = rng.standard_normal((64, 3, 32, 32), np.float32), rng.integers(0, 10, 64)

    def pool(x):
        return MaxPool2d.apply(x, kernel=2)

    def ours():
        head = (lambda x: x.reshape(64, 2048)), Dense(2048, 10)
        return layers.Sequential(Conv(3, 16), relu, pool, Conv(16, 32), relu, pool, *head)

    def theirs():
        first = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        second = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(2048, 10))

    return contenders(ours, theirs, x, labels)


def gpt():
    """The GPT of module 13: 4 layers of width 128 and 4 heads, 8 sequences of 128 tokens of 256."""
    rng = np.random.default_rng(RNG)
    x, labels = rng.integers(0, 256, (8, 128)), rng.integers(0, 256, 8 * 128)

    def ours():
        model = GPT(256, 128, 4, 4, length=128, activation="gelu_tanh", tied=False)
        return layers.Sequential(model, lambda logits: logits.reshape(-1, 256))

    return contenders(ours, lambda: TorchGPT(vocabulary=256, positions=128, width=128, heads=4, depth=4), x, labels)


def agree(steps, count=5, rel=1e-3):
    """Raise AssertionError unless all contenders have the same losses in their first steps."""
    losses = {name: [step() for _ in range(count)] for name, step in steps.items()}
    for name, values in losses.items():
        np.testing.assert_allclose(values, losses["torch"], rtol=rel, err_msg=f"{name}: another loss than PyTorch's")
