"""What a class says about the items: how hard each is, how well it tells strong from weak, and which mistakes were made.

Responses come from the graded records and the gradebook of a class. Item parameters are re-estimated once ENOUGH students
have answered, by marginal maximum a posteriori: the class's abilities are integrated out on a grid, its mean and spread are
estimated along with the items, and the stand-in for the item's level is the prior mean, which also fixes the scale.
Sources: Bock, Aitkin 1981 (EM for marginal likelihood); Mislevy 1986 (priors on item parameters).
"""

import json
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .irt import DISCRIMINATION, ENOUGH, Item, from_level
from .template import FOLDER, TemplateError, load, names

ITEMS = FOLDER.parent / "items.json"    # what `staffml mock` reads
_SPREAD_A, _SPREAD_B = 0.4, 1.0         # of the priors: logarithm of the discrimination, difficulty in levels
_GRID = np.linspace(-9, 9, 121)
_ROUNDS = 500
_CLOSE = 1e-4                           # change of a parameter below which EM has converged


@dataclass(frozen=True)
class PartReport:
    """One part of a template over a class. share is the mean of its points, rest the correlation with a student's other drill
    answers (None where it means nothing), mistakes the feedback given and how often."""

    template: str
    part: str
    n: int
    share: float
    rest: float | None
    mistakes: tuple


@dataclass(frozen=True)
class ClassReport:
    """A class: its parts, hardest first within a template, the re-estimated items, and templates with too few answers."""

    parts: list
    items: dict
    few: dict
    students: int


def asked(variant):
    """The answers that a notebook with this variant asks -> {name of the answer: (template, part)}."""
    if "template" in variant:
        return {part: (variant["template"], part) for part in variant["parts"]}
    return {f"{short}_{part}": (one["template"], part) for short, one in variant.items() for part in one["parts"]}


def responses(classroom, course):
    """Answers of a class to its drills -> [(student, template, part, share of the points, mistake or None)].

    Points given by hand count; what still waits for a person does not. Raises TemplateError if the class has no graded drills.
    """
    from mlsysbook.grading.report import gather
    from mlsysbook.grading.submission import released_files

    drills = [a for a in course.assignments if a.name.startswith("drills/")]
    works = gather(classroom, drills)[0]
    found = []
    for a in drills:
        source, _ = released_files(classroom, a)
        if not works.get(a.id) or not (source / "assignment.json").is_file():
            continue
        where = asked(json.loads((source / "assignment.json").read_text(encoding="utf-8"))["variants"][0])
        for work in works[a.id]:
            found += [(work.student, *where[i["name"]], i["score"] / i["points"], i.get("mistake")) for i in work.items
                      if i["name"] in where and i["score"] is not None and i["points"]]
    if not found:
        raise TemplateError(f"{classroom.root} holds no graded drills; release one, collect, grade: mlsys class --help")
    return found


def summarize(found):
    """What [(student, template, part, share, mistake)] say -> ClassReport."""
    from mlsysbook.grading.statistics import ENOUGH as PAIRS
    from mlsysbook.grading.statistics import correlation, mean

    total, count = Counter(), Counter()
    for student, _, _, share, _ in found:
        total[student] += share
        count[student] += 1
    parts = []
    for key in dict.fromkeys(f[1:3] for f in found):
        mine = [f for f in found if f[1:3] == key]
        pairs = [(share, (total[x] - share) / (count[x] - 1)) for x, _, _, share, _ in mine if count[x] > 1]
        rest = correlation([a for a, _ in pairs], [b for _, b in pairs]) if len(pairs) >= PAIRS else None
        parts.append(PartReport(*key, len(mine), mean(f[3] for f in mine), rest,
                                tuple(Counter(f[4] for f in mine if f[4]).most_common())))
    per_template = {}
    for student, template, _, share, _ in found:
        per_template.setdefault(template, {}).setdefault(student, []).append(share)
    shares = {t: {x: sum(s) / len(s) for x, s in by.items()} for t, by in per_template.items()}
    few = {t: len(by) for t, by in shares.items() if len(by) < ENOUGH}
    return ClassReport(sorted(parts, key=lambda p: (p.template, p.share)), fit(shares), few, len(count))


def fit(shares):
    """{template: {student: share of its points}} -> {template: Item}, those with ENOUGH responses.

    All responses tell about abilities; templates with too few keep the stand-in of their level.
    """
    order = sorted(shares)
    free = [t for t in order if len(shares[t]) >= ENOUGH]
    if not free:
        return {}
    students = sorted({x for by in shares.values() for x in by})
    c = np.array([[shares[t].get(x, math.nan) for t in order] for x in students])
    seen = ~np.isnan(c)
    c = np.where(seen, c, 0.0)
    prior = [from_level(load(t).level) for t in order]
    a, b = (np.array([getattr(item, f) for item in prior]) for f in ("discrimination", "difficulty"))
    start, middle, spread = b.copy(), 0.0, 1.0
    moving = np.array([t in free for t in order])
    for _ in range(_ROUNDS):
        z = a * (_GRID[:, None] - b)
        right, wrong = -np.logaddexp(0, -z), -np.logaddexp(0, z)
        log = c @ right.T + (seen - c) @ wrong.T - 0.5 * ((_GRID - middle) / spread) ** 2
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        middle = float((weight @ _GRID).mean())
        spread = math.sqrt(float((weight @ (_GRID - middle) ** 2).mean()))
        got, n = weight.T @ c, weight.T @ seen                      # expected points and answers at each ability
        steps = [_newton(got[:, j], n[:, j], a[j], b[j], start[j]) if moving[j] else (a[j], b[j]) for j in range(len(order))]
        new = np.array(steps).T
        change = np.abs(new - (a, b)).max()
        a, b = new
        if change < _CLOSE:
            break
    return {t: Item(round(float(a[j]), 4), round(float(b[j]), 4), len(shares[t])) for j, t in enumerate(order) if moving[j]}


def _newton(got, n, a, b, level):
    """Discrimination and difficulty that maximize the expected likelihood of one item with its priors."""
    u = math.log(a)
    for _ in range(20):
        a, x = math.exp(u), _GRID - b
        p = 1 / (1 + np.exp(-a * x))
        off, sure = got - n * p, n * p * (1 - p)
        gradient = np.array([a * (off @ x) - (u - math.log(DISCRIMINATION)) / _SPREAD_A**2,
                             -a * off.sum() - (b - level) / _SPREAD_B**2])
        cross = -a * a * (sure @ x)
        fisher = np.array([[a * a * (sure @ x**2) + 1 / _SPREAD_A**2, cross], [cross, a * a * sure.sum() + 1 / _SPREAD_B**2]])
        step = np.clip(np.linalg.solve(fisher, gradient), -0.5, 0.5)
        u, b = u + step[0], b + step[1]
        if np.abs(step).max() < _CLOSE / 10:
            break
    return math.exp(u), b


def write(items, path=ITEMS):
    """Keep re-estimated items for `staffml mock` -> path. They hold counts and parameters, and nothing of a student."""
    from mlsysbook import atomic

    data = {"format": "staffml-items", "version": 1, "items": {
        t: {"discrimination": i.discrimination, "difficulty": i.difficulty, "responses": i.responses} for t, i in sorted(items.items())}}
    atomic.write(path, (json.dumps(data, indent=1) + "\n").encode())
    return path


def read(path=ITEMS):
    """Items that a class has calibrated -> {template: Item}; none where there is no such file. Raises TemplateError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        data = json.loads(text)
        if data.get("format") != "staffml-items" or data.get("version") != 1:
            raise ValueError("it is no items file of version 1")
        items = {t: Item(float(i["discrimination"]), float(i["difficulty"]), int(i["responses"])) for t, i in data["items"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TemplateError(f"{path}: {error}; make it anew: staffml report CLASS --save") from None
    wrong = [t for t, i in items.items() if not (0 < i.discrimination < 20 and abs(i.difficulty) < 20)]
    if wrong:
        raise TemplateError(f"{path}: the parameters of {wrong[0]} are out of range; make it anew: staffml report CLASS --save")
    known = set(names())
    return {t: i for t, i in items.items() if t in known}
