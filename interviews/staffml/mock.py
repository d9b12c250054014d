"""The mock interview: timed, adaptive, without feedback until its end, and carried on where it stopped.

Every input is kept as it is typed, so a killed process loses no answer: the item is played again up to the question it stood at.
The clock counts up to the last thing typed, and stands still until somebody goes on.
"""

import math
import os
import time
from collections import Counter
from dataclasses import asdict, astuple, dataclass, replace

from . import irt
from .calibration import read
from .pools import draws, variant
from .practice import Practice, PracticeError
from .round import Say, Stopped, item
from .session import chapter, plural
from .template import FOLDER, load, names

MINUTES, ITEMS, ERROR = 60, 10, 0.5     # of a whole interview; the error is in levels
LIMIT = 1.5                             # times its expected minutes, then an item is closed
_TOLD = {"right", "partial", "wrong", "key"}
ENDS = {"error": "the ability is known as closely as was asked", "items": "all items of the plan were asked",
        "time": "no item fits into the time that is left", "templates": "every template was asked once", "stopped": "ended by hand"}


def plan(templates, *, minutes=MINUTES, items=ITEMS, error=ERROR, confidence=True, seed=None, known=None):
    """What a mock interview goes by, as data: limits, and the parameters of every template it may ask.

    known: {template: irt.Item} from a class, those that `staffml report --save` kept if not given; the level stands in for the
    others. Templates that only a person can mark are left out. Raises ValueError when nothing can be asked in the time.
    """
    templates = [t for t in templates if any(part.kind != "design" for part in t.parts)]
    if not templates:
        raise ValueError("these templates hold designs only, which a mock interview cannot judge; leave out --area, --level or --track")
    if min(t.minutes for t in templates) > minutes:
        raise ValueError(f"no item fits into {minutes} minutes; the shortest takes {min(t.minutes for t in templates)}")
    known = read() if known is None else known

    def parameters(template):
        return list(astuple(known.get(template.name) or irt.from_level(template.level)))

    return {"minutes": minutes, "items": items, "error": error, "confidence": confidence, "seed": seed or os.urandom(8).hex(),
            "templates": {t.name: {"area": t.area, "minutes": t.minutes, "item": parameters(t)} for t in templates}}


def interview(make, path=None, *, tell=True):
    """Steps of a whole mock interview: the one that runs, or a new one by the plan that make() gives; then its report if `tell`.

    Returns its number, or None when it was left before its end.
    """
    with Practice(path) as practice:
        running = practice.mock()
        its = None if running else make()
        number = running["id"] if running else practice.start_mock(its)
    if running:
        yield Say(f"the mock interview of {running['at'][:16]} UTC goes on, with the limits that it began with", "format")
    else:
        yield Say(f"at most {plural(its['items'], 'item')} from {plural(len(its['templates']), 'template')} in {its['minutes']} min; "
                  "feedback comes at the end")
    try:
        yield from mock(path)
    except Stopped:
        yield Say("stopped, and nothing is lost: the next mock interview goes on at this question", "format")
        return None
    if tell:
        with Practice(path) as practice:
            current = practice.mock(number)
        yield from said(report(current))
    return number


def mock(path=None, *, clock=time.monotonic):
    """Steps of the mock interview that runs, from where it stands; returns its number. Raises Stopped for "q".

    Ask.left holds the seconds left. What is typed after an item's time counts for nothing, and neither do its parts that follow.
    """
    while True:
        with Practice(path) as practice:
            current = practice.mock()
            if current is None:
                raise PracticeError("no mock interview runs; start one first")
            number, its, items = current["id"], current["plan"], current["items"]
            if not items or items[-1]["attempt"]:
                reason, name = _next(its, items)
                if reason:
                    practice.end_mock(number, reason)
                    return number
                pool = draws(name)
                practice.ask_mock(number, len(items) + 1, name, practice.fresh(name, pool["draws"]), pool["sha256"])
                continue
        before = sum(i["spent"] for i in items[:-1])
        yield Say(f"item {len(items)} of {its['items']} at most", "rule")
        yield from _item(path, its, items[-1], 60 * its["minutes"] - before, clock)


def _next(its, items):
    """Why it is over, or the template to ask next -> (reason or None, name or None)."""
    left = 60 * its["minutes"] - sum(i["spent"] for i in items)
    ability = irt.estimate(answered(its, items))
    if len(items) >= its["items"]:
        return "items", None
    if items and ability.error <= its["error"]:
        return "error", None
    asked = {i["template"] for i in items}
    unasked = {n: t for n, t in its["templates"].items() if n not in asked}
    fit = {n: (irt.Item(*t["item"]), t["area"]) for n, t in unasked.items() if 60 * t["minutes"] <= left}
    if not fit:
        return ("time" if unasked else "templates"), None
    return None, irt.pick(ability.mean, fit, [its["templates"][i["template"]]["area"] for i in items], its["seed"])


def answered(its, items):
    """The items that were finished, as irt.estimate takes them. Parts that a person marks are left out of the credit."""
    return [(irt.Item(*its["templates"][i["template"]]["item"]), credit(i["attempt"])) for i in items if i["attempt"]]


def credit(attempt):
    """Mean share of the points over the parts that the machine judges."""
    shares = [a["share"] for a in attempt["answers"] if a["kind"] != "design"]
    return sum(shares) / len(shares)


def _item(path, its, it, left, clock):
    template, typed, late = load(it["template"]), it["typed"], False
    where = it["mock"], it["number"]
    pool = draws(template.name)["sha256"]
    if typed and pool != it["pool"]:
        yield Say(f"{template.name} has changed since, so this item begins anew", "format")
        with Practice(path) as practice:
            practice.type_mock(*where, typed, [], it["spent"], pool)
        typed = []
    limit = min(LIMIT * 60 * template.minutes, left)
    began, text, sent = clock() - it["spent"], None, 0
    steps = item(template, it["draw"], variant(template, it["draw"]), confidence=its["confidence"])
    try:
        while True:
            step = steps.send(text)
            text = None
            if isinstance(step, Say):
                if step.style not in _TOLD:
                    yield step
            elif late or (sent < len(typed) and typed[sent] is None):
                late, text = True, ""
            elif sent < len(typed):
                text, sent = typed[sent], sent + 1
                yield Say(f"{step.prompt}{text}")
            else:
                spent = clock() - began
                text = yield replace(step, left=(limit - spent, left - spent))
                spent = clock() - began
                stop = text.strip().lower() == "q"
                late = not stop and spent > limit
                new = typed if stop else [*typed, None if late else text]
                with Practice(path) as practice:
                    practice.type_mock(*where, typed, new, min(spent, limit), pool)
                if stop:
                    raise Stopped
                if late:
                    yield Say("the time for this item was over; this answer and what follows it do not count", "format")
                    text = ""
                typed, sent = new, len(new)
    except StopIteration as end:
        answers, _ = end.value
    with Practice(path) as practice:
        practice.record(template, it["draw"], answers, min(clock() - began, limit), mock=where)


@dataclass(frozen=True)
class Report:
    """What a mock interview says about somebody.

    ability on the scale of levels; class_items counts the items whose parameters come from a class. items: [{"template",
    "title", "area", "level", "share", "expected", "seconds", "minutes", "late", "chapter", "requires", "told"}], where expected is the
    share that an examinee of this ability earns on average. areas: {area: (items, mean share, mean expected share,
    a word where they differ by more than a standard deviation)}; reading: {chapter:
    [labs of it]} of items that were not all right, mistakes: {misconception: times}, sure: (answers, mean confidence, share right).
    """

    number: int
    at: str
    ended: str | None
    ability: irt.Ability
    class_items: int
    items: list
    areas: dict
    reading: dict
    mistakes: dict
    minutes: float
    sure: tuple | None

    @property
    def levels(self):
        """(level, the level at the low end, at the high end) of the ability."""
        return tuple(irt.level(x) for x in (self.ability.mean, self.ability.low, self.ability.high))


def report(current):
    """A mock interview, as Practice.mock() gives it -> Report."""
    its, done = current["plan"], [i for i in current["items"] if i["attempt"]]
    ability = irt.estimate(answered(its, done))
    items, areas, reading, mistakes, sure = [], {}, {}, Counter(), []
    for i in done:
        attempt, parameters = i["attempt"], irt.Item(*its["templates"][i["template"]]["item"])
        template = load(i["template"]) if i["template"] in names() else None
        row = {"template": i["template"], "area": attempt["area"], "level": attempt["level"], "share": credit(attempt),
               "expected": float(irt.chance(ability.mean, parameters)), "seconds": attempt["seconds"],
               "minutes": its["templates"][i["template"]]["minutes"], "late": None in i["typed"],
               "title": template.title if template else i["template"], "chapter": template.chapter if template else "",
               "requires": list(template.requires) if template else [], "told": _told(its, i, template)}
        items.append(row)
        areas.setdefault(row["area"], []).append(row)
        if row["share"] < 1 - 1e-9 and row["chapter"]:
            reading[row["chapter"]] = labs(row["chapter"])
        mistakes.update(a["mistake"] for a in attempt["answers"] if a["mistake"])
        sure += [(a["confidence"], a["share"] > 1 - 1e-9) for a in attempt["answers"] if a["confidence"] is not None]
    areas = {area: _area(rows) for area, rows in sorted(areas.items())}
    return Report(current["id"], current["at"], current["ended"], ability,
                  sum(its["templates"][i["template"]]["item"][2] > 0 for i in done), items, areas, dict(sorted(reading.items())),
                  dict(mistakes.most_common()), its["minutes"],
                  (len(sure), sum(c for c, _ in sure) / len(sure), sum(r for _, r in sure) / len(sure)) if sure else None)


def _area(rows):
    n, share, expected = len(rows), sum(r["share"] for r in rows), sum(r["expected"] for r in rows)
    chance = math.sqrt(sum(r["expected"] * (1 - r["expected"]) for r in rows))
    word = "stronger than elsewhere" if share - expected > chance else "weaker than elsewhere" if expected - share > chance else ""
    return n, share / n, expected / n, word


def labs(code):
    """Labs of a chapter in the course's catalogue -> [title]."""
    from mlsysbook import catalogue

    start = "labs/" + code.lower().replace("-", "_") + "_"
    return [a.title for a in catalogue.load(FOLDER.parents[1]).assignments if a.name.startswith(start)]


def _told(its, it, template):
    """The verdicts on one finished item, by playing it again -> [Say]; none if the template has changed since."""
    if template is None or draws(template.name)["sha256"] != it["pool"]:
        return []
    steps = item(template, it["draw"], variant(template, it["draw"]), confidence=its["confidence"])
    text, typed, found = None, iter(it["typed"]), []
    try:
        while True:
            step = steps.send(text)
            text = None
            if isinstance(step, Say):
                found += [step] if step.style in _TOLD else []
            else:
                text = next(typed, "") or ""
    except StopIteration:
        return found


def headline(found):
    """ "L4, between L3 and L5" """
    level, low, high = found.levels
    return f"{level}, between {low} and {high}" if low != high else f"{level}"


def said(found):
    """A Report as text -> [Say]."""
    lines = [Say(f"mock interview {found.number} of {found.at[:10]}: "
                 f"{ENDS[found.ended] if found.ended else 'not over yet'}", "bold")]
    if not found.items:
        return [*lines, Say("no item was finished, so there is nothing to say about you")]
    n = len(found.items)
    lines.append(Say(f"ability: {headline(found)} (nine in ten), standard error {found.ability.error:.1f} levels, from {plural(n, 'item')}",
                     "bold"))
    basis = (f"{found.class_items} of {n} items have parameters from a class" if found.class_items else
             "uncalibrated: no class has answered these items, so difficulties are their levels and every item separates alike")
    lines.append(Say(f"{basis}. At one's level half of the points are to be expected, one level below "
                     f"{100 * irt.chance(1, irt.Item(irt.DISCRIMINATION, 0)):.0f} %."))
    used, wanted = sum(i["seconds"] for i in found.items), sum(i["minutes"] for i in found.items)
    lines.append(Say(f"time: {used / 60:.0f} of {found.minutes} min; these items are expected to take {wanted}"))
    for i, row in enumerate(found.items, 1):
        late = ", time over" if row["late"] else ""
        lines.append(Say(f"{i}. {row['title']} ({row['template']}, {row['level']}): {100 * row['share']:.0f} % in "
                         f"{row['seconds'] / 60:.1f} of {row['minutes']} min{late}", "question"))
        lines += [replace(say, text=f"   {say.text}") for say in row["told"]]
    lines.append(Say("by area: points, and what somebody of this ability earns on average on the same items", "question"))
    for area, (count, share, expected, word) in found.areas.items():
        text = f"   {area:<13} {plural(count, 'item'):>8}  {100 * share:3.0f} %, {100 * expected:3.0f} % expected  {word}"
        lines.append(Say(text.rstrip()))
    if found.mistakes:
        lines.append(Say("misconceptions met: " + ", ".join(m if c == 1 else f"{m} ({c} times)" for m, c in found.mistakes.items())))
    if found.sure:
        count, sure, right = found.sure
        lines.append(Say(f"how sure: {100 * sure:.0f} % on average over {plural(count, 'answer')}, right {100 * right:.0f} %"))
    for code, its_labs in found.reading.items():
        lines.append(Say(f"to read: {chapter(code)}" + (f"; to do: {', '.join(its_labs)}" if its_labs else "")))
    weak = [row for row in found.items if row["share"] < 1 - 1e-9]
    if weak:
        drill = dict.fromkeys(name for row in weak for name in (*row["requires"], row["template"]))
        lines.append(Say("to drill: " + ", ".join(drill)))
    return lines


def clock(left):
    """The seconds left for an item and for the whole interview, as text."""
    item, whole = (f"{'-' if s < 0 else ''}{int(abs(s)) // 60}:{int(abs(s)) % 60:02}" for s in left)
    return f"{item} left for this item, {whole} in all"


def line(found):
    """A Report in one line."""
    ended = "" if found.ended else ", not over yet"
    ability = headline(found) if found.items else "nothing finished"
    return f"mock interview {found.number} of {found.at[:10]}: {ability}, {plural(len(found.items), 'item')}{ended}"


def data(found):
    """A Report as JSON data."""
    level, low, high = found.levels
    return asdict(found) | {"level": level, "low": low, "high": high, "calibrated": found.class_items == len(found.items) > 0}
