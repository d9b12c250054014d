"""Arguments at the edge: text, numbers, arrays and Figures become float64 in base units, checked against a range."""

import sys

import numpy as np

from .constants import Figure
from .errors import RangeError, UnitError, clip
from .units import format, to_si

_PLAIN = (int, float, np.float64)
_MOST = sys.float_info.max


def amount(name, value, unit, *, least=0.0, above=None, whole=False):
    """Argument `name` as float64, of any shape. It must be finite, and at least `least` or more than `above`."""
    if type(value) in _PLAIN and (value >= least if above is None else value > above) and value <= _MOST:
        if not whole or value % 1 == 0:  # a good plain number, the common case, in a tenth of the time
            return np.float64(value)
    if isinstance(value, Figure):
        value = value.value
    value = to_si(value, unit, name)
    try:
        if value is None or np.asarray(value).dtype.kind not in "iufO":  # no bool, bytes, dates or complex numbers
            raise TypeError
        x = np.asarray(value, dtype=np.float64)
    except OverflowError:  # an int beyond any float
        x = np.asarray(np.inf)
    except (TypeError, ValueError):
        raise UnitError(f"{name}: got {clip(value)}; wanted a number, an array or text in {unit or 'counts'}") from None
    bad = ~np.isfinite(x)
    bad |= x < least if above is None else x <= above
    if whole:
        bad |= x != np.floor(x)
    if bad.any():
        got = float(x[bad].flat[0]) if x.ndim else float(x)
        limit = f"at least {format(least, unit)}" if above is None else f"more than {format(above, unit)}"
        shown = f"{got:.12g}" if whole and got % 1 else _show(got, unit)  # 5219.7 is not to be told as 5,220
        raise RangeError(f"{name}: got {shown}; wanted a {'whole' if whole else 'finite'} number, {limit}")
    return x


def together(**given):
    """RangeError unless the shapes of all arguments broadcast; numbers cost next to nothing."""
    shapes = {name: _shape(x) for name, x in given.items() if type(x) not in _PLAIN}
    try:
        if len(shapes) > 1:
            np.broadcast_shapes(*shapes.values())
    except ValueError:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise RangeError(f"got arrays of shapes that do not go together: {got}; wanted equal sizes, or 1, on every axis") from None


def _shape(x):
    try:
        return np.shape(x)
    except ValueError:  # rows of several lengths, which amount refuses
        return ()


def plain(x):
    """One number as a Python float, whose arithmetic takes a third of the time of NumPy's; an array as it is."""
    return x if x.ndim else x.item()


def _show(x, unit):
    return format(x, unit) if np.isfinite(x) else f"{x} {unit}".rstrip()
