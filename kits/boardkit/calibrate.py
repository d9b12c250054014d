"""What the plain kernels cost a layer on an emulated processor, and the constants of MLSys·im's tiny tier that follow.

    python -m boardkit.calibrate simavr:atmega2560 qemu:cortex-m4 qemu:cortex-m55

    cycles = plain x multiply-adds + depthwise x theirs + (output + row x sqrt(places of the window)) x outputs

is fitted to the layers of CALIBRATION, each with the same relative weight, and compared with those of HELD_OUT, which no
constant has seen. Cycles are simulated on AVR; on QEMU they are instructions. mlsysim/data/kernels.toml keeps the result.
"""

import sys
from dataclasses import dataclass
from math import prod

import numpy as np

from . import quantize as q
from .export import header
from .protocol import Link
from .quantize import QuantModel, Scale


@dataclass(frozen=True)
class Case:
    """One layer: kind "dense", "conv2d" or "depthwise", shape (H, W, C), outputs, kernel, stride, pad (None: keeps the size)."""

    kind: str
    shape: tuple
    outputs: int = 0
    kernel: tuple = (1, 1)
    stride: int = 1
    pad: int | None = 0

    def model(self):
        """The layer in int8, weights drawn at random, as a QuantModel."""
        rng, c = np.random.default_rng(0), self.shape[2]
        sides = [(k - 1) // 2 for k in self.kernel] if self.pad is None else [self.pad] * 2
        if self.kind == "dense":
            layer = q.dense(rng.normal(size=(self.outputs, prod(self.shape))), rng.normal(size=self.outputs))
        elif self.kind == "conv2d":
            layer = q.conv2d(rng.normal(size=(self.outputs, c, *self.kernel)), rng.normal(size=self.outputs), self.stride, sides)
        else:
            layer = q.depthwise(rng.normal(size=(c, 1, *self.kernel)), rng.normal(size=c), self.stride, sides)
        inner = prod(self.shape) if self.kind == "dense" else prod(self.kernel) * (c if self.kind == "conv2d" else 1)
        made = q.quantize_layer(layer, self.shape, Scale(0.03, 3), Scale(0.03 * inner**0.5, -5))
        return QuantModel(name=f"{self.kind} {self.shape}", layers=(made,))

    def net(self):
        """The layer as MLSys·im knows it."""
        from mlsysim.models.nets import Net, Stack

        def build():
            h, w, c = self.shape
            stack = Stack((prod(self.shape),) if self.kind == "dense" else (c, h, w), norm=0, bias=True)
            if self.kind == "dense":
                return stack.linear(self.outputs).layers
            if self.kind == "conv2d":
                return stack.conv(self.outputs, self.kernel, self.stride, pad=self.pad).layers
            return stack.depthwise(self.kernel, self.stride, pad=self.pad).layers

        return Net(f"{self.kind} {self.shape}", "one layer", build, prod(self.shape), "boardkit.calibrate", "2026", "tiny")

    def counts(self):
        """(multiply-adds of products, of depthwise layers, outputs, outputs x sqrt(places of the window))."""
        layer = self.model().layers[0]
        outputs = prod(layer.out_shape)
        deep = self.kind == "depthwise"
        return (0 if deep else layer.macs), (layer.macs if deep else 0), outputs, outputs * prod(layer.kernel) ** 0.5


CALIBRATION = (
    Case("dense", (1, 1, 40), 32), Case("dense", (1, 1, 32), 16), Case("dense", (1, 1, 200), 4), Case("dense", (1, 1, 8), 30),
    Case("conv2d", (8, 8, 4), 8, (3, 3), 1, 1), Case("conv2d", (10, 10, 1), 6, (3, 3)), Case("conv2d", (6, 6, 8), 12),
    Case("conv2d", (1, 40, 3), 8, (1, 5)),
    Case("depthwise", (8, 8, 8), 0, (3, 3), 1, 1), Case("depthwise", (10, 10, 4), 0, (5, 3), 2),
)  # fmt: skip
HELD_OUT = (
    Case("dense", (1, 1, 63), 20), Case("dense", (1, 1, 120), 10), Case("dense", (1, 1, 16), 12),
    Case("conv2d", (12, 6, 2), 6, (3, 3), 2, 1), Case("conv2d", (6, 6, 6), 10, (3, 3), 1, 1),
    Case("conv2d", (1, 49, 10), 8, (1, 3), 1, None), Case("conv2d", (16, 8, 1), 4, (5, 4), 2),
    Case("depthwise", (12, 6, 6), 0, (3, 3), 1, 1), Case("depthwise", (7, 7, 12), 0, (3, 3), 2, 1),
)  # fmt: skip


def measure(cases, url, fast=False):
    """Cycles (or instructions) of each case on an emulated processor, kernels of MLK_FAST if fast -> int array."""
    from .targets import open_target
    from .toolchain import compile_sketch

    runs = "\n".join(f"    case {i}: c{i}_run(); break;" for i in range(len(cases)))
    text = "".join(header(case.model(), f"c{i}") for i, case in enumerate(cases))
    text += f"static void run_case(uint8_t i)\n{{\n    switch (i) {{\n{runs}\n    }}\n}}\n"
    report = compile_sketch("layers", url, files={"cases.h": text}, defines={"MLK_FAST": 1} if fast else None)
    with open_target(url, firmware=report) as target:
        link = Link(target.serial, timeout=30)
        return np.array([target.count(int.from_bytes(link.call("T", bytes([i])), "big")) for i in range(len(cases))])


def fit(cases, cycles):
    """Least squares on relative errors -> (plain, depthwise, output, row)."""
    rows = np.array([case.counts() for case in cases], dtype=float)
    return np.linalg.lstsq(rows / np.asarray(cycles)[:, None], np.ones(len(cases)), rcond=None)[0]


def main(urls):
    for url in urls:
        constants = fit(CALIBRATION, measure(CALIBRATION, url))
        names = ("plain", "plain_depthwise", "plain_output", "plain_row")
        print(url, "  ".join(f"{n} {c:.2f}" for n, c in zip(names, constants, strict=True)))
        for case, got in zip(HELD_OUT, measure(HELD_OUT, url), strict=True):
            print(f"  {case.kind:9} {str(case.shape):13} {got:9d}  predicted {np.dot(case.counts(), constants) / got - 1:+.1%}")
        if url.startswith("simavr:"):
            dense = [case for case in CALIBRATION if case.kind == "dense"]
            rows = np.array([case.counts() for case in dense], dtype=float)[:, [0, 2]]
            cycles = measure(dense, url, fast=True)
            fast = np.linalg.lstsq(rows / cycles[:, None], np.ones(len(dense)), rcond=None)[0]
            print(f"  fast {fast[0]:.2f}  fast_output {fast[1]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["simavr:atmega2560", "qemu:cortex-m4", "qemu:cortex-m7", "qemu:cortex-m55"])
