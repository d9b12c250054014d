"""A network on targets: compile, run, compare with the reference to the bit, count.

    rows = [measure(model, xs, url) for url in ("simavr:atmega328p", "qemu:cortex-m4", "/dev/ttyACM0")]
    print(table(rows))
"""

from dataclasses import dataclass

import numpy as np

from .export import header
from .protocol import Link
from .reference import run
from .targets import open_target
from .toolchain import compile_sketch


@dataclass(frozen=True)
class Measurement:
    """One network on one target. counts (N,): what each inference took, in `kind`: "simulated cycles", "instructions" ...

    exact: whether all outputs (N, outputs) are those of the reference. flash, ram: bytes, of the CompileReport `report`.
    """

    target: str
    kind: str
    exact: bool
    outputs: np.ndarray
    counts: np.ndarray
    macs: int
    report: object

    @property
    def count(self):
        return float(self.counts.mean())

    @property
    def per_mac(self):
        return self.count / self.macs if self.macs else float("nan")

    def __str__(self):
        same = "exact" if self.exact else "NOT what the reference gives"
        return (f"{self.target}: {self.count:,.0f} {self.kind}, {self.per_mac:.1f} a multiply-add; flash {self.report.flash:,} B, "
                f"RAM {self.report.ram:,} B; outputs {same}")  # fmt: skip


def measure(model, xs, target, *, fast=False, board=None, text=None, defines=None):
    """Serve a QuantModel on a target and stream int8 samples (N, ...) -> Measurement.

    fast: kernels of MLK_FAST. board: what to compile for, where target is a port and does not say. text: another header in the
    place of header(model), such as one with a kernel of one's own in front. Raises KitError.
    """
    chosen = {**({"MLK_FAST": 1} if fast else {}), **(defines or {})}
    report = compile_sketch("serve", board or target, files={"model.h": text or header(model)}, defines=chosen)
    with open_target(target, firmware=report) as line:
        link = Link(line.serial)
        link.check(model)
        outputs, ticks = link.stream(xs)
        counts, kind = np.array([line.count(int(t)) for t in ticks]), line.kind
    return Measurement(target, kind, bool(np.array_equal(outputs, run(model, xs))), outputs, counts, model.macs, report)


def table(measurements):
    """Measurements as lines of text. Counts of different kinds do not compare: each line says what its are."""
    lines = [f"{'target':<20} {'count':>12} {'per MAC':>8}  {'of':<17} {'flash B':>9} {'RAM B':>8}  outputs"]
    for m in measurements:
        lines.append(f"{m.target:<20} {m.count:>12,.0f} {m.per_mac:>8.1f}  {m.kind:<17} {m.report.flash:>9,} {m.report.ram:>8,}  "
                     f"{'exact' if m.exact else 'differ'}")  # fmt: skip
    return "\n".join(lines)
