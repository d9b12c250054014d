"""The task of an event: ten signs that nobody has seen, drawn by an unsteady hand, eight pixels high and wide.

Signs, drawings and the order of the classes follow from the event's secret. 1,000 drawings are open, each shown as one distorted
picture with its label. The pictures that entries are judged by are made of 800 others, each time anew, so that no picture comes
twice, no answer can be kept from the last time, and no data set in the world holds them.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np

OPEN, HELD = 1000, 800                  # drawings that everybody gets, and that requests are made of
SHIFT, NOISE = 0.35, 0.05               # of a picture: pixels, and of the full scale
STROKES, APART = 3, 2.2                 # of a sign; least Euclidean distance between two signs
SHAKE, TURN, MOVE, SIZE = 0.022, 0.14, 0.09, 0.06    # of a drawing: of each point, radians, of the whole, log scale (deviations)
PEN = 0.6                               # pixels, deviation of a stroke's profile
ROWS = 1024                             # in one request
CLASSES, SIDE = 10, 8


@dataclass(frozen=True)
class Task:
    """x (1000, 64) uint8 and y (1000,) are open; the originals behind `request` stay with the organiser."""

    x: np.ndarray
    y: np.ndarray
    _held: np.ndarray
    _labels: np.ndarray
    _secret: bytes
    _made: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def originals(self):
        """How many drawings the requests are made of."""
        return len(self._labels)

    def request(self, start, number):
        """Rows (1024, 64) uint8, as bytes, of request `number` of a start, their labels, and the drawing each was made of.

        All entries of an event are asked the same. Each in its own box, so none can hear of it from another.
        """
        if (start, number) not in self._made:
            rng = _rng(self._secret, "request", start, number)
            which = rng.integers(0, self.originals, ROWS)
            rows = distorted(self._held[which], rng)
            self._made[start, number] = rows.tobytes(), self._labels[which], which
        return self._made[start, number]


def make(secret):
    """The Task of an event with these secret bytes."""
    rng = _rng(secret, "task")
    images, labels = drawings(signs(rng), OPEN + HELD, rng)
    return Task(distorted(images[:OPEN], rng), labels[:OPEN], images[OPEN:], labels[OPEN:], secret)


def signs(rng):
    """Ten signs of three strokes (10, 3, 3, 2): each stroke a quadratic curve by its three points in the unit square."""
    found, seen = [], []
    while len(found) < CLASSES:
        points = rng.uniform(0.12, 0.88, (STROKES, 3, 2))
        image = inked(points[None])[0]
        if all(np.linalg.norm(image - other) > APART for other in seen):
            found.append(points)
            seen.append(image)
    return np.stack(found)


def drawings(kinds, number, rng):
    """Signs drawn by hand: shaken, turned, resized and moved -> images (number, 8, 8) from 0 to 1, labels (number,)."""
    labels = rng.integers(0, CLASSES, number)
    points = kinds[labels] + rng.normal(0, SHAKE, (number, STROKES, 3, 2))
    turn, size = rng.normal(0, TURN, number), np.exp(rng.normal(0, SIZE, number))
    matrix = size[:, None, None] * np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    return inked((points - 0.5) @ matrix[:, None] + 0.5 + rng.normal(0, MOVE, (number, 1, 1, 2))), labels


def inked(points):
    """Strokes (N, S, 3, 2) in the unit square -> images (N, 8, 8) from 0 to 1."""
    t = np.linspace(0, 1, 12)[:, None]
    along = (1 - t) ** 2 * points[..., 0:1, :] + 2 * t * (1 - t) * points[..., 1:2, :] + t**2 * points[..., 2:3, :]
    along = along.reshape(len(points), -1, 2) * SIDE - 0.5
    down, across = (np.exp(-((np.arange(SIDE) - along[..., k:k + 1]) ** 2) / (2 * PEN**2)) for k in (0, 1))
    return np.clip(down.transpose(0, 2, 1) @ across / 1.5, 0, 1).astype(np.float32)


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
