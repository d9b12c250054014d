"""Plain data to JSON and back, without pickle: the only form in which a result leaves the box.

encode never calls a method that a student could have overridden, except `.numpy()` of an object that is not plain data;
decode never trusts a length, a type or a name it reads.
"""

import base64
import math
import sys

MAX_ARRAY_BYTES = 1 << 26
MAX_TEXT = 1 << 20
_KINDS = "biuf"                          # bool, int, unsigned, float: dtypes that travel


class Opaque:
    """A result that is not plain data. Equal to nothing, itself included, so that it never counts as right."""

    def __init__(self, name):
        self.name = str(name)[:80]

    def __eq__(self, other):
        return False

    __hash__ = None

    def __repr__(self):
        return f"<{self.name}>"


class Wrapped:
    """An object of the student's that holds an array, such as a Tensor: its class name and the array."""

    def __init__(self, name, array):
        self.name, self.array = str(name)[:80], array

    def __repr__(self):
        return f"{self.name}({self.array!r})"


def encode(x, depth=0):
    """x -> JSON-able dict. What is not plain data becomes {"type": class name}."""
    t = type(x)
    if x is None or t is bool or t is float:
        return {"v": x}
    if t is int:
        return {"v": x} if -(1 << 4096) < x < 1 << 4096 else {"type": "int beyond 4096 bits"}
    if t is str:
        return {"v": x} if len(x) <= MAX_TEXT else {"type": f"str longer than {MAX_TEXT} characters"}
    if t is bytes:
        return {"b": base64.b64encode(x[:MAX_TEXT]).decode()}
    if depth > 20:
        return {"type": f"{t.__name__} nested deeper than 20"}
    if t is tuple or t is list:
        return {"t" if t is tuple else "l": [encode(v, depth + 1) for v in x]}
    if t is dict:
        if all(type(k) is str for k in x):
            return {"d": {k: encode(v, depth + 1) for k, v in x.items()}}
        return {"i": [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in x.items()]}
    if t is slice:
        return {"s": [encode(v, depth + 1) for v in (x.start, x.stop, x.step)]}
    if x is Ellipsis:
        return {"e": 1}
    np = sys.modules.get("numpy")
    if np is not None:
        if t is np.ndarray or issubclass(t, np.generic):
            return encode_array(np, x, scalar=t is not np.ndarray)
        if isinstance(x, np.dtype):
            return {"dtype": np.dtype.__str__(x)}
        if issubclass(t, np.ndarray):
            return {"type": f"{t.__name__}, a subclass of ndarray"}
        if callable(getattr(x, "numpy", None)):
            array = x.numpy()
            if type(array) is np.ndarray:
                return {"o": t.__name__, "a": encode_array(np, array)}
    return {"type": t.__name__}


def encode_array(np, x, scalar=False):
    x = np.asarray(x)
    if x.dtype.kind not in _KINDS:
        return {"type": f"ndarray of {x.dtype}"}
    if x.nbytes > MAX_ARRAY_BYTES:
        return {"type": f"ndarray of {x.nbytes} bytes (limit {MAX_ARRAY_BYTES})"}
    # .str carries the byte order, so that a file baked on one machine reads the same on another
    return {"nd": x.dtype.newbyteorder("<").str, "shape": list(x.shape), "scalar": scalar,
            "data": base64.b64encode(x.astype(x.dtype.newbyteorder("<")).tobytes()).decode()}


def decode(d):
    """What encode wrote -> the value. Raises ValueError on anything else."""
    if type(d) is not dict:
        raise ValueError("record is not an object")
    if "v" in d:
        if d["v"] is None or type(d["v"]) in (bool, int, float, str):
            return d["v"]
        raise ValueError("record holds a value that is not plain")
    if "t" in d:
        return tuple(decode(v) for v in d["t"])
    if "l" in d:
        return [decode(v) for v in d["l"]]
    if "d" in d:
        return {str(k): decode(v) for k, v in d["d"].items()}
    if "i" in d:
        return {_hashable(decode(k)): decode(v) for k, v in d["i"]}
    if "s" in d:
        return slice(*(decode(v) for v in d["s"]))
    if "e" in d:
        return Ellipsis
    if "b" in d:
        return base64.b64decode(d["b"])
    if "nd" in d:
        return _decode_array(d)
    if "dtype" in d:
        import numpy as np
        return np.dtype(str(d["dtype"])[:40])
    if "o" in d:
        return Wrapped(d["o"], _decode_array(d["a"]))
    if "type" in d:
        return Opaque(d["type"])
    raise ValueError("record of an unknown kind")


def _hashable(key):
    if isinstance(key, str | int | float | bool | tuple) or key is None:
        return key
    raise ValueError("record holds a key that is not plain")


def _decode_array(d):
    import numpy as np

    dtype = np.dtype(str(d["nd"])[:8])
    shape = tuple(d["shape"])
    if dtype.kind not in _KINDS or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("record holds an array that is not numeric")
    raw = base64.b64decode(d["data"])
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError("record holds an array whose size does not match its shape")
    array = np.frombuffer(raw, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return array[()] if d.get("scalar") else array


def describe(x, limit=300):
    """A short, one-paragraph text of a value, for a message."""
    np = sys.modules.get("numpy")
    if np is not None and type(x) is np.ndarray:
        values = np.array2string(x, threshold=24, edgeitems=3, precision=6, separator=", ")
        text = f"array of shape {x.shape}, {x.dtype}:\n{values}" if x.ndim > 1 else f"array({values}, {x.dtype})"
    elif np is not None and isinstance(x, np.generic):
        text = f"{x!s} ({x.dtype})"
    elif type(x) in (tuple, list) and any(np is not None and type(v) is np.ndarray for v in x):
        text = ", ".join(describe(v, limit) for v in x)
    else:
        text = repr(x)
    return text if len(text) <= limit else text[:limit] + " ..."
