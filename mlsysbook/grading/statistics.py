"""What the scores of a class say: difficulty, discrimination, who needs help. Plain data in, plain data out."""

import math
from collections import Counter
from dataclasses import dataclass, field

ENOUGH = 10                     # submissions below which a correlation says nothing
LOW = 0.5                       # share of the points below which a student is said to be low
FALL = 0.2                      # share by which the latest work lies below the earlier, both against the class


@dataclass
class Work:
    """One student's work on one assignment, as graded. `items` are those of the graded record, with scores given by hand."""

    student: str
    assignment: str
    items: list = field(default_factory=list)
    score: float = 0.0              # after the late penalty
    points: float = 0.0
    penalty: float = 0.0
    seconds_late: float = 0.0
    extension: str = ""
    fate: str = "graded"
    ended: str = "finished"
    flags: list = field(default_factory=list)
    unsafe: bool = False
    submitted: str | None = None

    @property
    def share(self):
        """Share of the points that are graded already, before a late penalty; None if nothing is."""
        known = [i for i in self.items if i["score"] is not None]
        points = sum(i["points"] for i in known)
        return sum(i["score"] for i in known) / points if points else None

    @property
    def waiting(self):
        """Points still to be given by hand."""
        return sum(i["points"] for i in self.items if i["score"] is None)


@dataclass(frozen=True)
class Item:
    """One graded cell over all submissions."""

    id: str
    name: str
    kind: str
    points: float
    n: int                          # submissions in which it has a score
    share: float | None             # mean share of its points: its easiness
    full: int
    nothing: int
    discrimination: float | None
    failing: tuple                  # (behaviour, times failed, times run), the most often failed first
    mistakes: tuple                 # (sentence, times)


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values) if values else None


def median(values):
    values = sorted(values)
    n = len(values)
    return None if not n else values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2


def correlation(x, y):
    """Pearson's r, or None where one of the two does not vary."""
    mx, my = mean(x), mean(y)
    sxx, syy = math.fsum((a - mx) ** 2 for a in x), math.fsum((b - my) ** 2 for b in y)
    if sxx <= 1e-18 or syy <= 1e-18:
        return None
    return max(-1.0, min(1.0, math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / math.sqrt(sxx * syy)))


def items(works):
    """-> [Item], hardest first. Discrimination is the correlation of an item's score with that of the rest."""
    order, scored, behaviours, run, mistakes = {}, {}, {}, {}, {}
    for w in works:
        for i in w.items:
            order.setdefault(i["id"], i)
            if i["score"] is None:
                continue
            rest = sum(j["score"] or 0.0 for j in w.items if j["id"] != i["id"])
            scored.setdefault(i["id"], []).append((i["score"], rest))
            for name, passed in (i.get("behaviours") or {}).items():
                run.setdefault(i["id"], Counter())[name] += 1
                behaviours.setdefault(i["id"], Counter())[name] += not passed
            if i.get("mistake"):
                mistakes.setdefault(i["id"], Counter())[i["mistake"]] += 1
    found = []
    for grade_id, i in order.items():
        pairs, points = scored.get(grade_id, []), i["points"]
        failed = [(name, k, run[grade_id][name]) for name, k in behaviours.get(grade_id, Counter()).most_common() if k]
        found.append(Item(
            grade_id, i["name"], i["kind"], points, len(pairs), mean(s / points for s, _ in pairs) if points else None,
            sum(s >= points - 1e-9 for s, _ in pairs), sum(s <= 1e-9 for s, _ in pairs),
            correlation([s for s, _ in pairs], [r for _, r in pairs]) if len(pairs) >= ENOUGH else None,
            tuple(failed), tuple(mistakes.get(grade_id, Counter()).most_common())))
    return sorted(found, key=lambda i: (i.share is None, i.share, i.id))


def misconceptions(works):
    """-> [(sentence, item, [students])], the most frequent first: named mistakes of answers."""
    who = {}
    for w in works:
        for i in w.items:
            if i.get("mistake"):
                who.setdefault((i["mistake"], i["name"]), set()).add(w.student)
    return sorted(((text, item, sorted(students)) for (text, item), students in who.items()), key=lambda m: (-len(m[2]), m[1]))


def failures(works):
    """-> [(reason, [students])]: submissions that could not be graded whole, the most frequent reason first."""
    who = {}
    for w in works:
        if w.fate != "graded" or w.ended != "finished":
            reason = w.fate if w.fate != "graded" else w.ended
            who.setdefault(reason, []).append(w.student)
    return sorted(((reason, sorted(students)) for reason, students in who.items()), key=lambda f: (-len(f[1]), f[0]))


@dataclass(frozen=True)
class Concern:
    """A student who may need help, and why."""

    student: str
    reasons: tuple
    share: float | None             # mean share of what was handed in
    urgency: float


def needing_help(students, works, due, *, called=str):
    """-> [Concern], the most urgent first.

    students: all ids. works: of all assignments. due: ids of the assignments that should have been handed in, in order.
    called: assignment id -> what to call it. Urgency adds up the share of work that is missing, how far the rest lies below half
    of the points, and the fall, which is measured against the class's median, so that a hard assignment is nobody's fall.
    """
    by = {}
    for w in works:
        if w.share is not None:
            by.setdefault(w.student, {})[w.assignment] = w.share
    handed_in = {(w.student, w.assignment) for w in works}
    middle = {a: median(shares[a] for shares in by.values() if a in shares) for a in {w.assignment for w in works}}
    order = list(dict.fromkeys([w.assignment for w in works]))
    concerns = []
    for student in students:
        shares = by.get(student, {})
        reasons, urgency = [], 0.0
        missing = [a for a in due if (student, a) not in handed_in]
        if missing:
            reasons.append(f"handed in nothing for {_some([called(a) for a in missing])}")
            urgency += len(missing) / len(due)
        average = mean(shares.values())
        if average is not None and average < LOW:
            reasons.append("below half of the points")
            urgency += (LOW - average) / LOW
        against = [shares[a] - middle[a] for a in order if a in shares]
        fall = mean(against[:-1]) - against[-1] if len(against) >= 3 else 0.0
        if fall >= FALL:
            reasons.append(f"latest work {100 * fall:.0f} percentage points lower against the class than before")
            urgency += fall
        if reasons:
            concerns.append(Concern(student, tuple(reasons), average, urgency + (average is None)))
    return sorted(concerns, key=lambda c: (-c.urgency, c.student))


def _some(names, most=4):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
