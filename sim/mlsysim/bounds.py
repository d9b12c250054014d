"""The roofline: a kernel is never faster than its arithmetic or its memory traffic allows."""

from dataclasses import dataclass

import numpy as np

from ._check import amount, together
from .devices import device as find


@dataclass(frozen=True)
class Bound:
    """Time of one kernel on one device, and which roof it touches."""

    seconds: np.ndarray
    roof: np.ndarray  # "compute" | "memory"


def roofline(flop, traffic, device, *, precision="fp16"):
    """Lower bound on time: arithmetic and traffic fully overlapped, the slower one decides.

    flop (FLOP) and traffic (B) broadcast together -> Bound of that shape. device is a Device or its name.
    Raises RangeError, UnitError, or UnknownName with the device's list. Source: Williams, Waterman, Patterson 2009.
    """
    device = find(device)
    flop, traffic = amount("flop", flop, "FLOP"), amount("traffic", traffic, "B")
    together(flop=flop, traffic=traffic)
    compute, memory = flop / device.rate(precision), traffic / device.bandwidth.value
    return Bound(np.maximum(compute, memory)[()], np.where(compute >= memory, "compute", "memory")[()])


def ridge(device, *, precision="fp16"):
    """Arithmetic intensity (FLOP/B) at which both roofs meet: below it memory decides, above it arithmetic."""
    device = find(device)
    return device.rate(precision) / device.bandwidth.value
