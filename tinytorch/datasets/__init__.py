"""Data that comes with the framework, and readers for well-known files that do not.

    train, test = digits()      1,797 handwritten digits of 8 x 8 pixels
    play = text("macbeth")      four tragedies: hamlet, othello, lear, macbeth
    train, test = mnist(folder), cifar10(folder)    files that you have downloaded: formats as their authors publish them
    train, test = images(folder, 3000, 500)         whichever of the two the folder holds, and so many of each half

Images are float32 from 0 to 1, shape (N, C, H, W), labels int64 (N,). Where each set comes from, and its licence, stands in the
*.source.txt files beside this one.
"""

import difflib
import gzip
import math
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PLAYS = ("hamlet", "othello", "lear", "macbeth")
IDX = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CIFAR_RECORD = 1 + 3 * 32 * 32          # a label, then the red, green and blue planes


def digits():
    """Handwritten digits, by a fixed split -> (images (1438, 1, 8, 8), labels), (images (359, 1, 8, 8), labels)."""
    with np.load(HERE / "digits.npz") as data:
        x, y, test = data["images"][:, None].astype(np.float32) / 16, data["labels"].astype(np.int64), data["test"]
    return (x[~test], y[~test]), (x[test], y[test])


def text(name):
    """A play as one text. Raises ValueError, with the nearest name, for one that is not here."""
    if name not in PLAYS:
        near = difflib.get_close_matches(str(name), PLAYS, 1, cutoff=0)[0]
        raise ValueError(f"no text is called {name!r}; the nearest is {near}, all are {', '.join(PLAYS)}")
    return (HERE / f"{name}.txt").read_text(encoding="utf-8")


def mnist(folder):
    """MNIST, or a set in its format such as Fashion-MNIST, from its four IDX files, gzipped or not -> train, test as in digits().

    Raises FileNotFoundError that names the file that is missing, ValueError for one that is no IDX file or of another shape.
    """
    sets = []
    for kind in ("train", "t10k"):
        x, y = (read_idx(find(folder, f"{kind}-{part}")) for part in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        if x.ndim != 3 or y.shape != x.shape[:1] or x.dtype != np.uint8:
            raise ValueError(f"{folder}: {kind} has {x.dtype} images of shape {x.shape} and labels of shape {y.shape}; "
                             "wants (N, H, W) and (N,)")
        sets.append((x[:, None].astype(np.float32) / 255, y.astype(np.int64)))
    return tuple(sets)


def cifar10(folder):
    """CIFAR-10 from its binary version, data_batch_1.bin to 5 and test_batch.bin -> train, test as in digits().

    Raises FileNotFoundError that names the file that is missing, ValueError for one that is cut off.
    """
    batches = []
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        raw = np.fromfile(find(folder, name), np.uint8)
        if raw.size == 0 or raw.size % CIFAR_RECORD:
            raise ValueError(f"{Path(folder) / name}: {raw.size} bytes are no whole number of records of {CIFAR_RECORD}")
        rows = raw.reshape(-1, CIFAR_RECORD)
        batches.append((rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255, rows[:, 0].astype(np.int64)))
    return tuple(map(np.concatenate, zip(*batches[:5], strict=True))), batches[5]


def images(folder, train, test, seed=0):
    """So many images of each half of the set in a folder, MNIST's files or CIFAR-10's, drawn by seed -> train, test as in digits().

    Sets that have fewer are taken whole. Raises FileNotFoundError where neither is there, and as mnist and cifar10.
    """
    first = {"train-images-idx3-ubyte": mnist, "data_batch_1.bin": cifar10}
    read = next((reader for name, reader in first.items() if present(folder, name)), None)
    if read is None:
        raise FileNotFoundError(f"{folder} has neither {' nor '.join(first)}; give the folder with MNIST's four files or CIFAR-10's six")
    rng = np.random.default_rng(seed)
    return tuple((x[chosen], y[chosen]) for (x, y), most in zip(read(folder), (train, test), strict=True)
                 for chosen in [np.sort(rng.permutation(len(x))[:most])])


def read_idx(path):
    """An array from a file in the IDX format of MNIST: a magic number, the lengths of the axes, the numbers, big-endian.

    Raises ValueError, with the path, for a file in another format or of another length than it says.
    """
    raw = (gzip.open if Path(path).suffix == ".gz" else open)(path, "rb").read()
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in IDX:
        raise ValueError(f"{path}: no IDX file; it starts with {raw[:4].hex() or 'nothing'}")
    axes, dtype = raw[3], np.dtype(IDX[raw[2]])
    begin = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(raw[4:begin], ">u4")) if len(raw) >= begin else None
    if shape is None or len(raw) - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{path}: cut off or too long; its header says shape {shape} of {dtype.itemsize} bytes each, "
                         f"{len(raw)} bytes are there")
    return np.frombuffer(raw, dtype, offset=begin).reshape(shape).astype(dtype.newbyteorder("="))


def find(folder, name):
    """The path of a file in a folder, gzipped or not."""
    for path in present(folder, name):
        return path
    raise FileNotFoundError(f"{Path(folder) / name} is missing; download the set from its authors and give the folder that holds it")


def present(folder, name):
    """The paths at which a file is in a folder: as it is, gzipped, and as its authors' servers once spelt it."""
    spelt = (name, f"{name}.gz", name.replace("-idx", ".idx", 1))
    return [Path(folder) / each for each in dict.fromkeys(spelt) if (Path(folder) / each).is_file()]
