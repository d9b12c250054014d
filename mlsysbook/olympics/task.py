"""The task of an event: handwritten digits, moved and noisy, with pixels and classes in an order that only the event knows.

1,000 of the 1,797 digits are open, each shown as one distorted picture with its label. The pictures that entries are judged
by are made of the other 797, each time anew, so that no picture comes twice and no answer can be kept from the last time.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np

OPEN = 1000                             # labelled rows that everybody gets
SHIFT, NOISE = 0.35, 0.05               # pixels, and of the full scale
ROWS = 1024                             # in one request
CLASSES, PIXELS = 10, 64


@dataclass(frozen=True)
class Task:
    """x (1000, 64) uint8 and y (1000,) are open; the originals behind `request` stay with the organiser."""

    x: np.ndarray
    y: np.ndarray
    _held: np.ndarray
    _labels: np.ndarray
    _order: np.ndarray
    _secret: bytes
    _made: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def originals(self):
        """How many digits the requests are made of."""
        return len(self._labels)

    def request(self, start, number):
        """Rows (1024, 64) uint8, as bytes, of request `number` of a start, their labels, and the digit each was made of.

        All entries of an event are asked the same. Each in its own box, so none can hear of it from another.
        """
        if (start, number) not in self._made:
            rng = _rng(self._secret, "request", start, number)
            which = rng.integers(0, self.originals, ROWS)
            rows = np.ascontiguousarray(distorted(self._held[which], rng)[:, self._order])
            self._made[start, number] = rows.tobytes(), self._labels[which], which
        return self._made[start, number]


def make(secret):
    """The Task of an event with these secret bytes."""
    from tinytorch import datasets

    (a, b), (c, d) = datasets.digits()
    images, labels = np.concatenate([a, c])[:, 0], np.concatenate([b, d])
    rng = _rng(secret, "task")
    order, names, rows = rng.permutation(PIXELS), rng.permutation(CLASSES), rng.permutation(len(labels))
    labels = names[labels]
    shown, held = rows[:OPEN], rows[OPEN:]
    return Task(distorted(images[shown], rng)[:, order], labels[shown], images[held], labels[held], order, secret)


def practice():
    """The task that `mlsys olympics check` uses: the same kind, with a secret that is none."""
    return make(b"practice")


def distorted(images, rng):
    """Images (N, 8, 8) from 0 to 1, each moved by up to 0.35 pixels each way, with noise -> rows (N, 64) uint8."""
    n, side = len(images), images.shape[1]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    dy, dx = rng.uniform(-SHIFT, SHIFT, (2, n, 1, 1)).astype(np.float32)
    out = np.zeros_like(images)
    for sy in (-1, 0, 1):
        for sx in (-1, 0, 1):
            weight = np.maximum(0, 1 - np.abs(dy - sy)) * np.maximum(0, 1 - np.abs(dx - sx))
            out += weight * padded[:, 1 - sy:1 - sy + side, 1 - sx:1 - sx + side]
    out += rng.normal(0, NOISE, out.shape).astype(np.float32)
    return np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8).reshape(n, -1)


def _rng(secret, *parts):
    text = secret + b"\0" + "\0".join(map(str, parts)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:16], "little"))
