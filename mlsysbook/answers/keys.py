"""What a number answer is held against. Authors build these in `key` cells; they never reach a student's notebook."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mistake:
    """A wrong value that a known misconception produces: value in SI units, share of the points, one sentence."""

    value: float
    credit: float
    why: str


@dataclass(frozen=True)
class Decision:
    """What binds, as the model of the lab says it; what else may be named; a sentence for each wrong name that has one.

    binding comes from `.why().binding` of a result, or from comparing terms of one: never typed.
    """

    binding: str
    options: tuple
    wrong: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """The right value in SI units, its unit, the relative tolerance, and the misconceptions with a name.

    tol=0 asks for an exact value, as for a count of devices. steps: names of the earlier answers that this one is computed
    from. Such a key comes from key(v, earlier), and a student's own {name: value} of the steps is then carried forward.
    """

    value: float
    unit: str
    tol: float = 0.02
    mistakes: tuple = ()
    steps: tuple = ()

    def grade(self, value):
        """Share of the points for a value in SI units, and the misconception it shows -> (0..1, sentence or None)."""
        if self._near(value, self.value):
            return 1.0, None
        for m in self.mistakes:
            if self._near(value, m.value):
                return min(max(float(m.credit), 0.0), 1.0), m.why
        return 0.0, None

    def _near(self, value, target):
        return abs(value - target) <= self.tol * abs(target)
