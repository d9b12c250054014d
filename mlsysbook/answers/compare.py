"""Does a recorded result agree with the wanted one? Shared by the visible check and by the judge."""

import math

from .record import Opaque, Wrapped

# Relative tolerance by the coarser of the two dtypes: room for another order of summation, none for another formula.
RTOL = {"float16": 5e-3, "float32": 2e-5, "float64": 1e-9}


def difference(got, want, *, compare="close", rtol=None, atol=None):
    """None if got agrees with want, else one line that says where it differs.

    compare "close" wants the same structure, shape and dtype and close values; "value" ignores dtype and int versus float.
    """
    np = __import__("numpy") if _is_numpy(got) or _is_numpy(want) else None
    if isinstance(got, Opaque):
        return f"the result is of type {got.name}, not plain data"
    if isinstance(want, Wrapped) or isinstance(got, Wrapped):
        if not (isinstance(want, Wrapped) and isinstance(got, Wrapped)) or got.name != want.name:
            return f"wanted {_kind(want)}, got {_kind(got)}"
        return difference(got.array, want.array, compare=compare, rtol=rtol, atol=atol)
    if np is not None:
        strict = compare == "close"
        if strict and _kind(got) != _kind(want):
            return f"wanted {_kind(want)}, got {_kind(got)}"
        return _arrays(np, got, want, strict, rtol, atol)
    if type(want) in (tuple, list):
        if type(got) not in (tuple, list) or (compare == "close" and type(got) is not type(want)):
            return f"wanted {_kind(want)}, got {_kind(got)}"
        if len(got) != len(want):
            return f"wanted {len(want)} items, got {len(got)}"
        pairs = ((f"item {i}", g, w) for i, (g, w) in enumerate(zip(got, want, strict=True)))
    elif type(want) is dict:
        if type(got) is not dict or got.keys() != want.keys():
            return f"wanted the keys {sorted(map(str, want))}, got {sorted(map(str, got)) if type(got) is dict else _kind(got)}"
        pairs = ((f"key {k!r}", got[k], w) for k, w in want.items())
    else:
        return _scalars(got, want, compare, rtol, atol)
    for where, g, w in pairs:
        text = difference(g, w, compare=compare, rtol=rtol, atol=atol)
        if text:
            return f"{where}: {text}"
    return None


def _is_numpy(x):
    return type(x).__module__ == "numpy"


def _kind(x):
    if isinstance(x, Wrapped):
        return f"a {x.name}"
    if isinstance(x, Opaque):
        return f"a {x.name}"
    return "an ndarray" if type(x).__name__ == "ndarray" else f"a value of type {type(x).__name__}"


def _arrays(np, got, want, strict, rtol, atol):
    if type(want) in (tuple, list, dict, str) or type(got) in (tuple, list, dict, str) or got is None or want is None:
        return f"wanted {_kind(want)}, got {_kind(got)}"
    if isinstance(got, np.dtype) or isinstance(want, np.dtype):
        same = isinstance(got, np.dtype) and isinstance(want, np.dtype) and got == want
        return None if same else f"wanted {want}, got {got}"
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"wanted shape {want.shape}, got {got.shape}"
    if strict and got.dtype != want.dtype:
        return f"wanted dtype {want.dtype}, got {got.dtype}"
    if got.dtype.kind not in "biuf" or want.dtype.kind not in "biuf":
        return f"wanted {want.dtype}, got {got.dtype}"
    if got.dtype.kind != "f" and want.dtype.kind != "f":
        wrong = got != want
    else:
        names = [a.dtype.name for a in (got, want) if a.dtype.kind == "f"]
        r = max(RTOL.get(n, 1e-9) for n in names) if rtol is None else rtol
        finite = np.abs(want[np.isfinite(want)], dtype=np.float64)
        a = r * float(finite.max(initial=0.0)) * 1e-3 + 1e-300 if atol is None else atol
        wrong = ~np.isclose(got.astype(np.float64), want.astype(np.float64), rtol=r, atol=a, equal_nan=True)
    if not wrong.any():
        return None
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f" at {list(at)}" if at else ""
    return f"{int(wrong.sum())} of {wrong.size} values differ; first{place}: wanted {want[at]}, got {got[at]}"


def _scalars(got, want, compare, rtol, atol):
    numeric = (int, float) if compare == "close" else (int, float, bool)
    if compare == "close" and type(got) is not type(want):
        return f"wanted {want!r}, a value of type {type(want).__name__}, got {got!r}, of type {type(got).__name__}"[:200]
    if type(want) in numeric and type(got) in numeric and float in (type(want), type(got)):
        if math.isnan(want) or math.isnan(got):
            return None if math.isnan(want) and math.isnan(got) else f"wanted {want!r}, got {got!r}"
        r = RTOL["float64"] if rtol is None else rtol
        return None if math.isclose(got, want, rel_tol=r, abs_tol=atol or 0.0) else f"wanted {want!r}, got {got!r}"
    return None if type(got) in (type(want), *numeric) and got == want else f"wanted {want!r}, got {got!r}"[:200]
