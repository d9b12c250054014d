"""Datasets for test_data.py: in a module of their own, so that a spawned worker can import them without the tests."""

import os
import signal
import time

import numpy as np

from tinytorch import Dataset


class Numbers(Dataset):
    """Sample i is (an array of three i, i). seconds: how long loading each takes; more calls for what happens at one index."""

    def __init__(self, n, seconds=0.0, **happens):
        self.n, self.seconds, self.happens = n, seconds, happens

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        time.sleep(self.seconds[index] if isinstance(self.seconds, list) else self.seconds)
        for what, where in self.happens.items():
            if where == index:
                WHAT[what](index)
        return np.full(3, index, "float32"), index


class TwoArguments(Exception):
    """An exception that pickle can write and not read."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def fail(index):
    raise LookupError(f"sample {index} is broken")


def fail_oddly(index):
    raise TwoArguments("one", "two")


WHAT = {
    "fails": fail,
    "fails_oddly": fail_oddly,
    "exits": lambda index: exit(4),
    "killed": lambda index: os.kill(os.getpid(), signal.SIGKILL),
    "ends": lambda index: os._exit(7),
    "stops": lambda index: os.kill(os.getpid(), signal.SIGSTOP),
    "sleeps": lambda index: time.sleep(600),
}


class Big(Dataset):
    """Samples of 2 MiB, far more than a pipe holds."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return np.full(1 << 19, index, "float32")


class Odd(Dataset):
    """Samples of many dtypes, texts, empty and transposed arrays."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        square = np.arange(6, dtype="float64").reshape(2, 3).T + index
        return {"name": f"sample {index}", "empty": np.zeros((0, 2), "int8"), "flag": index % 2 == 0, "square": square,
                "scalar": np.float16(index), "pair": (index, [float(index)])}


def unpicklable(samples):
    """A batch that cannot travel."""
    return lambda: samples


def raw(samples):
    """The list of samples as it is."""
    return samples


def counting(samples, counter):
    """A batch that counts itself in a shared counter."""
    with counter.get_lock():
        counter.value += 1
    return samples
