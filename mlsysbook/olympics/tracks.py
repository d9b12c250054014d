"""Tracks with their budgets, each with its reason, and the events in which entries are ranked."""

from dataclasses import dataclass

from ..errors import CourseError

MIB = 1 << 20


@dataclass(frozen=True)
class Track:
    """Budgets of one track. bytes and flop are those of the capstone (module 20), which hands them to `build`.

    behind: by how much the share of right answers may be below the reference's on the same pictures. slower: most times the
    reference's latency. resident: most bytes of memory above the reference's process. flop is advice, since the work of a
    program cannot be counted from outside; its time can.
    """

    name: str
    bytes: int
    flop: int
    behind: float
    slower: float
    resident: int
    reason: str

    @property
    def budget(self):
        """What `build` is given. accuracy is 1, as many as you can: what counts is the reference's share on the same pictures."""
        return {"bytes": self.bytes, "flop": self.flop, "accuracy": 1.0}


# behind: over 20 tasks the reference was right in 86.4 to 94.4 % of pictures on cloud, 85.8 to 92.9 on edge, 81.4 to 89.2 on mobile
# and 74.4 to 81.0 on tiny; a network without a hidden layer was 7 to 14 points behind it on cloud and edge, and 3.4 to 8.2 on
# mobile (November 2026). An entry of the right kind is allowed what chance moves; one that saves its bytes there is not.
TRACKS = {t.name: t for t in (
    Track("cloud", 16_000, 30_000, 0.04, 4.0, 64 * MIB,
          "Many models wait in a shared cache. A slow one is bought off with more machines, up to four times as many."),
    Track("edge", 8_000, 15_000, 0.04, 3.0, 32 * MIB,
          "A camera shows 30 pictures a second; a model of three times the reference's time is still in step."),
    Track("mobile", 4_000, 8_000, 0.03, 2.0, 16 * MIB,
          "A keyboard waits for the answer, and shares memory with the program that is typed into."),
    Track("tiny", 735, 1_300, 0.03, 2.0, 8 * MIB, "A sensor with two kilobytes, most of them taken, on a battery that time empties."),
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
