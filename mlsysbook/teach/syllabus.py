"""Syllabi from course.yml: two terms, a quarter, a workshop and a seminar, with dates where a start is given.

A plan is a list of periods (weeks, or the days of a workshop) that hold things to read, do, build and hand in. `syllabus` puts periods
into the weeks of a calendar; formats.py writes what comes out.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from ..book.site import is_outline
from ..errors import CatalogueError
from . import calendar

PLANS = {"foundations": "Foundations, a term of 16 weeks", "scale": "Scale, a term of 16 weeks", "quarter": "A quarter of 10 weeks",
         "workshop": "A workshop of 3 days", "seminar": "A seminar of 14 weeks"}  # fmt: skip
TERMS = {"foundations": "F", "scale": "S"}
TERM_WEEKS = 16
KINDS = ("read", "paper", "lab", "build", "deploy", "practise")


@dataclass(frozen=True)
class Item:
    """One thing to do. state: "" where it is there, "outline" of a chapter or "planned"; spans: numbers of the periods it takes.

    minutes are of the whole of it, and are spread evenly over its periods. It is due at the end of the last one, if it is graded.
    """

    kind: str
    key: str                        # V1-13, tinytorch/01_tensor, dean2013tail
    title: str
    minutes: int
    spans: tuple[int, ...]
    assignment: str | None = None
    state: str = ""
    note: str = ""

    @property
    def graded(self):
        return self.assignment is not None

    @property
    def label(self):
        """With its state, so that nobody plans on what is not written."""
        said = "; ".join(filter(None, (self.state, self.note)))
        return f"{self.title} ({said})" if said else self.title


@dataclass(frozen=True)
class Session:
    """A week or a day as it is taught. `date` fields are None in a plan without dates."""

    number: int
    periods: tuple[int, ...]
    begins: tuple[Item, ...]        # what is read, and what is set
    due: tuple[Item, ...]
    minutes: int                    # of work, outside class in a term and inside in a workshop
    meetings: tuple[date, ...] = ()
    lost: tuple[tuple[date, str], ...] = ()
    due_on: date | None = None
    heavy: bool = False


@dataclass(frozen=True)
class Syllabus:
    """A plan with its sessions. unit: "week" or "day"; notes: what a reader has to know, a sentence each."""

    name: str
    title: str
    unit: str
    sessions: tuple[Session, ...]
    load: int
    start: date | None = None
    notes: tuple[str, ...] = ()
    weights: dict = field(default_factory=dict)

    @property
    def items(self):
        return tuple(i for s in self.sessions for i in s.begins)

    @property
    def minutes(self):
        return sum(s.minutes for s in self.sessions)


def syllabus(course, name, *, start=None, days=(0, 2), holidays=None, lost="shift", end=None):
    """The plan `name` of a course -> Syllabus. Raises SyllabusError where a term does not fit, CatalogueError where course.yml is wrong."""
    if name not in PLANS:
        raise calendar.SyllabusError(f"no syllabus {name!r}; there are {', '.join(PLANS)}")
    count, items = plan(course, name)
    unit, limit = ("day", _number(course, "day", 420)) if name == "workshop" else ("week", _number(course, "load", 480))
    if start is None:
        if holidays or end:
            raise calendar.SyllabusError("holidays and --end want a --start, such as 2027-01-25")
        weeks = [None] * count
    elif unit == "day":
        weeks = _days(count, start, holidays or {}, end)
    else:
        weeks = calendar.weeks(count, start, days=days, off=holidays, lost=lost, end=end)
    sessions = tuple(_session(n, week, items, limit, holidays, unit) for n, week in enumerate(weeks))
    weights = course.schedule.get("weights", {}).get(name, {})
    notes = tuple(_notes(sessions, unit, limit, lost))
    return Syllabus(name, f"{course.title}: {PLANS[name]}", unit, sessions, limit, start, notes, weights)


def _days(count, start, off, end):
    found, day = [], start
    while len(found) < count:
        if day.weekday() < 5 and day not in off:
            found.append(calendar.Week(day, (len(found),), (day,)))
        day += timedelta(days=1)
        if (day - start).days > 60:
            raise calendar.SyllabusError(f"no {count} working days in 60 days from {start}; look at the holidays")
    if end and found[-1].monday > end:
        raise calendar.SyllabusError(f"{count} working days from {start} end on {found[-1].monday}, after --end {end}; start earlier")
    return found


def _session(n, week, items, limit, off, unit):
    periods = week.periods if week else (n,)
    begins = tuple(i for i in items if i.spans[0] in periods)
    ends = tuple(i for i in items if i.graded and i.spans[-1] in periods)
    minutes = round(sum(i.minutes * len(set(i.spans) & set(periods)) / len(i.spans) for i in items))
    if not week:
        return Session(n + 1, periods, begins, ends, minutes, heavy=minutes > limit)
    due = week.monday if unit == "day" else calendar.due(week, off)
    return Session(n + 1, periods, begins, ends, minutes, week.meetings, week.lost, due, minutes > limit)


def _notes(sessions, unit, limit, lost):
    """What a reader has to know, each in a sentence."""
    notes, items = [], [i for s in sessions for i in s.begins]
    heavy = [s for s in sessions if s.heavy]
    if heavy:
        said = ", ".join(f"{s.number} ({s.minutes / 60:.1f} h)" for s in heavy)
        notes.append(f"Above {hours(limit)} a {unit}: {unit}{'s' * (len(heavy) > 1)} {said}.")
    written = [i for i in items if i.kind == "read" and not i.state]
    plans = {i.key for i in items if i.kind == "read" and i.state}
    if plans:
        are = "chapters are outlines" if len(plans) > 1 else "chapter is an outline"
        ready = len({i.key for i in written})
        notes.append(f"{len(plans)} {are}: question, models and plan stand, the text does not. {ready} can be read as they are; for "
                     "the others bring a text of your own.")
    planned = [i.title for i in items if i.state == "planned"]
    if planned:
        notes.append(f"{len(planned)} lab{'s are' if len(planned) > 1 else ' is'} planned and cannot be released yet.")
    if merged := [s for s in sessions if len(s.periods) > 1]:
        notes.append(f"A week without class is taught with its neighbour: week{'s' * (len(merged) > 1)} "
                     f"{', '.join(str(s.number) for s in merged)}.")
    if sessions[-1].due_on and unit == "week":
        skipped = (sessions[-1].meetings[0] - sessions[0].meetings[0]).days // 7 + 1 - len(sessions)
        if skipped > 0 and lost == "shift":
            notes.append(f"{skipped} week{'s' * (skipped > 1)} without class moved what follows; the last class is on "
                         f"{sessions[-1].meetings[-1]}.")
    return notes


def hours(minutes):
    """ "5 h", "5.5 h" """
    return f"{round(minutes / 30) / 2:g} h"


# Plans

def plan(course, name):
    """Periods of a plan and what is in them -> (how many, [Item]). Raises CatalogueError."""
    if name in TERMS:
        return TERM_WEEKS, _term(course, name)
    if name == "quarter":
        section = _section(course, "quarter")
        read = {n: chapters for n, chapters in enumerate(section.get("read", ()))}
        return len(read), _items(course, read, section, "", len(read))
    if name == "seminar":
        pairs = _section(course, "seminar")
        found = _items(course, {n: [c] for n, (c, _) in enumerate(pairs)}, {}, "", len(pairs))
        times = Counter(c for c, _ in pairs)                # a chapter of two weeks is read once
        found = [replace(i, minutes=i.minutes // times[i.key]) if i.kind == "read" else i for i in found]
        return len(pairs), [*found, *_papers(course, pairs)]
    found = []
    for n, day in enumerate(_section(course, "workshop")):
        found += [replace(_chapter(course, c, (n,)), minutes=_minutes(course, "talk")) for c in day.get("read", ())]
        found += [_lab(course, x, (n,)) for x in day.get("labs", ())]
        found += [_module(course, m, (n,)) for m in day.get("build", ())]
        found += [_drill(course, d, (n,)) for d in day.get("practise", ())]
    return len(_section(course, "workshop")), found


def _term(course, name):
    letter, section = TERMS[name], course.schedule
    modules = {m.number for m in course.modules}
    if set(_section(course, "build")) != modules:
        odd = sorted(set(section["build"]) ^ modules)
        said = ", ".join(map(str, odd))
        raise CatalogueError(f"course.yml: schedule.build and modules differ in {said}; each module goes once over both terms")
    read = {}
    for c in course.chapters:
        if c.week[0] == letter:
            read.setdefault(int(c.week[1:]) - 1, []).append(c.number)
    return _items(course, read, section, letter, TERM_WEEKS)


def _items(course, read, section, letter, count):
    """Items of weeks: chapters, then their labs a week later, then what `section` sets."""
    chapters, found = {c.number: c for c in course.chapters}, []
    for n, numbers in sorted(read.items()):
        found += [_chapter(course, c, (n,)) for c in numbers]
    seen = set()
    for n, numbers in sorted(read.items()):
        for c in numbers:
            labs = _known(chapters, c, "chapter").labs
            fresh = [x for x in labs if x not in seen]
            seen.update(fresh)
            # The portal opens a course; the last week has none after it.
            found += [_lab(course, x, (n if x.endswith("-00") else min(n + 1, count - 1),)) for x in fresh]
    for kind, make in (("build", _module), ("deploy", _kit), ("practise", _drill)):
        for key, said in section.get(kind, {}).items():
            spans = _spans(f"schedule.{kind}, {key}", said, letter, count)
            if spans:
                found.append(make(course, key, spans))
    set_in = {i.key: i.spans for i in found if i.kind == "build"}
    for i in found:
        for r in course.find(i.key).requires if i.kind == "build" else ():
            if r in set_in and not set_in[r][0] < i.spans[0] or r in set_in and set_in[r][-1] > i.spans[-1]:
                raise CatalogueError(f"course.yml: schedule.build sets {i.key} in week {i.spans[0] + 1}, before {r}, which it builds on")
    return sorted(found, key=lambda i: (i.spans[0], KINDS.index(i.kind), i.key))


def _spans(where, said, letter, count):
    """`F1-F2` -> (0, 1); () where it is of another term."""
    match = re.fullmatch(r"([FS]?)(\d{1,2})(?:-\1(\d{1,2}))?", str(said))
    if not match or (match[1] == "") != (letter == ""):
        raise CatalogueError(f"course.yml: {where} is {said!r}; wants a week or weeks such as {letter or ''}3-{letter or ''}4")
    first, last = int(match[2]), int(match[3] or match[2])
    if not 1 <= first <= last <= (count if match[1] == letter else TERM_WEEKS):
        raise CatalogueError(f"course.yml: {where} is {said!r}; weeks go from 1 to {count}, the first before the last")
    return tuple(range(first - 1, last)) if match[1] == letter else ()


def _section(course, name):
    if not course.schedule.get(name):
        raise CatalogueError(f"course.yml: schedule.{name} is missing")
    return course.schedule[name]


def _number(course, name, otherwise):
    value = course.schedule.get(name, otherwise)
    if not isinstance(value, int) or value <= 0:
        raise CatalogueError(f"course.yml: schedule.{name} is {value!r}; wants minutes")
    return value


def _minutes(course, kind):
    return _section(course, "minutes")[kind]


def _known(things, key, what):
    if key not in things:
        raise CatalogueError(f"course.yml: schedule names {what} {key!r}, which is in no list above")
    return things[key]


def _chapter(course, number, spans):
    c = _known({c.number: c for c in course.chapters}, number, "chapter")
    outline = is_outline(course, c)
    return Item("read", number, f"{number} {c.title}", _minutes(course, "outline" if outline else "chapter"), spans,
                state="outline" if outline else "")


def _lab(course, number, spans):
    lab = _known({x.number: x for x in course.labs}, number, "lab")
    minutes = course.find(lab.assignment).minutes if lab.assignment else _minutes(course, "lab")
    return Item("lab", number, f"Lab {number} {lab.title}", minutes, spans, lab.assignment, "" if lab.assignment else "planned")


def _module(course, number, spans):
    m = _known({m.number: m for m in course.modules}, number, "module")
    if not m.assignment:
        raise CatalogueError(f"course.yml: schedule.build has module {number}, which is planned")
    return Item("build", m.assignment, f"TinyTorch {m.number:02} {m.title}", course.find(m.assignment).minutes, spans, m.assignment)


def _kit(course, name, spans):
    k = _known({k.name: k for k in course.kits}, name, "kit")
    minutes = course.find(k.assignment).minutes if k.assignment else _minutes(course, "lab")
    return Item("deploy", name, f"Kit {k.title}", minutes, spans, k.assignment, "" if k.assignment else "planned")


def _drill(course, name, spans):
    a = course.find(name)
    return Item("practise", name, a.title, a.minutes, spans, a.name)


def _papers(course, pairs):
    known = references(course)
    return [Item("paper", key, _known(known, key, "paper"), _minutes(course, "paper"), (n,)) for n, (_, key) in enumerate(pairs)]


def references(course):
    """What book/references.bib lists -> {key: "First Author (year), Title"}."""
    text = (course.root / "book" / "references.bib").read_text(encoding="utf-8")
    found = {}
    for entry in re.finditer(r"^@\w+\{([^,\s]+),(.*?)^\}", text, re.M | re.S):
        fields = dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*?)\},?\s*$", entry[2], re.M))
        family = fields.get("author", "").split(" and ")[0].partition(",")[0]
        others = " and others" if " and " in fields.get("author", "") else ""
        found[entry[1]] = f"{_plain(family)}{others} ({fields.get('year', '?')}), {_plain(fields.get('title', ''))}"
    return found


def _plain(text):
    for accent, mark in (("'", "\u0301"), ("`", "\u0300"), ('"', "\u0308"), ("c", "\u0327"), ("~", "\u0303")):
        text = re.sub(r"\{?\\" + accent + r"\{(\w)\}\}?", lambda m, mark=mark: unicodedata.normalize("NFC", m[1] + mark), text)
    return text.replace("{", "").replace("}", "")
