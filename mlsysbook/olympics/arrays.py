"""A model as bytes: a header in JSON and the arrays after it. Nothing is unpickled, unpacked or believed."""

import io
import json
import math
import re
import struct
import zipfile

import numpy as np

MOST = 1 << 20                          # bytes of one model
NAMES = 128                             # bytes of all names together; beyond them they are data
_ARRAYS, _HEADER = 64, 1 << 16
_DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32", "float64")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")


def pack(model):
    """Bytes of a model {name: array}. Raises ValueError for what is none."""
    if type(model) is not dict or not model:
        raise ValueError(f"a model is a dict of names and NumPy arrays, got a {type(model).__name__}")
    rows, parts = [], []
    for name, array in model.items():
        if type(name) is not str or not _NAME.fullmatch(name) or type(array) is not np.ndarray or array.dtype.name not in _DTYPES:
            raise ValueError(f"{str(name)[:40]!r} is not the name of a NumPy array of numbers")
        if not array.size:              # its shape would be data that weighs nothing
            raise ValueError(f"array {name} is empty; leave it out")
        rows.append([name, array.dtype.name, list(array.shape)])
        parts.append(np.ascontiguousarray(array).tobytes())
    head = json.dumps(rows).encode()
    return struct.pack("<I", len(head)) + head + b"".join(parts)


def unpack(data):
    """The model in some bytes, whoever wrote them. Raises ValueError."""
    if not 4 <= len(data) <= MOST + _HEADER:
        raise ValueError(f"{len(data)} bytes are no model")
    size, = struct.unpack("<I", data[:4])
    try:
        rows = json.loads(data[4:4 + size]) if size <= _HEADER else None
    except (ValueError, RecursionError):
        rows = None
    if type(rows) is not list or not 1 <= len(rows) <= _ARRAYS:
        raise ValueError(f"its header is not a list of 1 to {_ARRAYS} arrays")
    at, model = 4 + size, {}
    for row in rows:
        if not (type(row) is list and len(row) == 3 and type(row[0]) is str and _NAME.fullmatch(row[0]) and row[1] in _DTYPES
                and type(row[2]) is list and len(row[2]) <= 4 and all(type(n) is int and 0 <= n <= MOST for n in row[2])):
            raise ValueError("its header names something that is no array")
        name, dtype, shape = row
        n = math.prod(shape) * np.dtype(dtype).itemsize
        if name in model or not n or at + n > len(data):
            raise ValueError(f"array {name} comes twice, is empty or is cut off")
        model[name] = np.frombuffer(data, dtype, math.prod(shape), at).reshape(shape)
        at += n
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes belong to no array")
    return model


def read_npz(data):
    """The model in the bytes of an .npz file. Raises ValueError; an archive that would swell is not unpacked."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        files = archive.infolist()
        if len(files) > _ARRAYS or sum(f.file_size for f in files) > MOST:
            raise ValueError(f"it holds more than {_ARRAYS} arrays or {MOST:,} bytes")
        model = {}
        for f in files:
            with archive.open(f) as member:
                raw = member.read(MOST + 1)
            if len(raw) > MOST:
                raise ValueError(f"it holds more than {MOST:,} bytes")
            model[f.filename.removesuffix(".npy")] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except ValueError:
        raise
    except Exception as error:          # zipfile and zlib have a dozen ways to say that a file is broken
        raise ValueError(f"not a readable .npz ({type(error).__name__}: {error})") from None
    return unpack(pack(model))


def size(model):
    """Bytes of all arrays together, and of their names beyond the first 128."""
    return sum(a.nbytes for a in model.values()) + max(0, sum(map(len, model)) - NAMES)
