"""Tracks with their budgets, each with its reason, and the events in which entries are ranked."""

from dataclasses import dataclass

from ..errors import CourseError

MIB = 1 << 20


@dataclass(frozen=True)
class Track:
    """Budgets of one track. bytes and flop are those of the capstone (module 20), which hands them to `build`.

    accuracy: least share of right answers. slower: most times the reference's latency. resident: most bytes of memory above
    the reference's process. flop is advice, since the work of a program cannot be counted from outside; its time can.
    """

    name: str
    bytes: int
    flop: int
    accuracy: float
    slower: float
    resident: int
    reason: str

    @property
    def budget(self):
        """What `build` is given."""
        return {"bytes": self.bytes, "flop": self.flop, "accuracy": self.accuracy}


# Accuracy: the capstone's floor less four points, since these pictures are moved and noisy. Over 20 tasks the reference reached
# 92.7 to 95.4 % on cloud, 92.5 to 95.0 on edge, 91.2 to 94.7 on mobile and 91.6 to 94.3 on tiny (November 2026).
TRACKS = {t.name: t for t in (
    Track("cloud", 16_000, 30_000, 0.91, 4.0, 64 * MIB,
          "Many models wait in a shared cache. A slow one is bought off with more machines, up to four times as many."),
    Track("edge", 8_000, 15_000, 0.905, 3.0, 32 * MIB,
          "A camera shows 30 pictures a second; a model of three times the reference's time is still in step."),
    Track("mobile", 4_000, 8_000, 0.90, 2.0, 16 * MIB,
          "A keyboard waits for the answer, and shares memory with the program that is typed into."),
    Track("tiny", 735, 1_300, 0.895, 2.0, 8 * MIB, "A sensor with two kilobytes, most of them taken, on a battery that time empties."),
)}

EVENTS = {
    "latency": "How many times as fast as the reference: its seconds a request over the entry's.",
    "memory": "How many times as small: the reference's bytes over the entry's.",
    "accuracy": "How many times fewer errors: the reference's share of wrong answers over the entry's, both within the budgets.",
    "all-round": "The geometric mean of the three.",
}


def find(name):
    """The track called `name`. Raises CourseError with those that there are."""
    if name not in TRACKS:
        raise CourseError(f"unknown track {name!r}; there are {', '.join(TRACKS)}")
    return TRACKS[name]
