"""Weeks of a term: on which days there is class, and what a holiday does to them."""

import re
from dataclasses import dataclass
from datetime import date, timedelta

from ..errors import CourseError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOST = ("shift", "merge")
_LINE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\s*(?:\.\.|/)\s*(\d{4}-\d{2}-\d{2}))?(?:[\s,;]+(.*))?")
_MOST_LOST = 26                             # weeks; more is a mistake in the file
_LONGEST = 366                              # days of one entry


class SyllabusError(CourseError):
    """A term that cannot be planned. One line."""


@dataclass(frozen=True)
class Week:
    """A week of teaching. periods: numbers from 0 of what it covers; meetings: days with class; lost: days that holidays took."""

    monday: date
    periods: tuple[int, ...]
    meetings: tuple[date, ...]
    lost: tuple[tuple[date, str], ...] = ()

    @property
    def last(self):
        return self.monday + timedelta(days=6)


def day(text, what):
    """A day as 2027-01-25, between 2000 and 2199. Raises SyllabusError."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(text).strip()):
            raise ValueError
        found = date.fromisoformat(str(text).strip())
    except ValueError:
        raise SyllabusError(f"{what}: got {str(text)[:40]!r}; wants a day such as 2027-01-25") from None
    if not 2000 <= found.year < 2200:
        raise SyllabusError(f"{what}: got {found}; wants a year from 2000 to 2199")
    return found


def weekdays(text):
    """`mon,wed` -> (0, 2), in the order of a week."""
    names = [name.strip().lower()[:3] for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in DAYS]
    if unknown or not names:
        raise SyllabusError(f"--days: got {text!r}; wants names of days with commas, such as mon,wed")
    return tuple(sorted({DAYS.index(name) for name in names}))


def holidays(text, name="holidays"):
    """A day or a range a line, `2027-03-15..2027-03-19 Spring break`; `#` begins a comment -> {day: what it is called}."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip().lstrip("\ufeff")
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise SyllabusError(f"{name}:{number}: got {line[:60]!r}; wants 2027-03-15 NAME, or 2027-03-15..2027-03-19 NAME")
        first = day(match[1], f"{name}:{number}")
        last = day(match[2], f"{name}:{number}") if match[2] else first
        if not 0 <= (last - first).days < _LONGEST:
            raise SyllabusError(f"{name}:{number}: from {first} to {last} is no holiday; wants a first day and a later last one")
        for n in range((last - first).days + 1):
            found.setdefault(first + timedelta(days=n), (match[3] or "").strip() or "holiday")
    return found


def weeks(count, start, *, days=(0, 2), off=None, lost="shift", end=None):
    """`count` weeks of teaching from the week of `start` -> [Week], a week without class left out.

    A week that holidays leave some class days keeps its place. One that loses all is lost: "shift" moves what follows by a week, "merge"
    teaches it together with the week after (the last one with the week before), so that the term keeps its length. No later than `end`.
    """
    if lost not in LOST:
        raise SyllabusError(f"--lost: got {lost!r}; wants {' or '.join(LOST)}")
    off, monday, found, waiting, n = off or {}, start - timedelta(days=start.weekday()), [], [], 0
    passed = 0
    while n < count:
        here = [monday + timedelta(days=d) for d in days]
        here = [d for d in here if passed or d >= start]
        meetings = tuple(d for d in here if d not in off)
        gone = tuple((d, off[d]) for d in here if d in off)
        if meetings:
            found.append(Week(monday, (*waiting, n), meetings, gone))
            waiting, n = [], n + 1
        elif lost == "merge" and here:
            waiting, n = [*waiting, n], n + 1
        passed, monday = passed + 1, monday + timedelta(days=7)
        if passed - n > _MOST_LOST:
            raise SyllabusError(f"{passed - n} weeks from {start} have no day of class; look at the holidays")
    if not found:
        raise SyllabusError(f"no day of class is left in {count} weeks from {start}; look at the holidays, or use --lost shift")
    if waiting:
        found[-1] = Week(found[-1].monday, (*found[-1].periods, *waiting), found[-1].meetings, found[-1].lost)
    if end and found[-1].meetings[-1] > end:
        over = sum(1 for w in found if w.meetings[-1] > end)
        hint = ("start earlier, or free class days" if lost == "merge" or len(found) == 1 + (found[-1].monday - found[0].monday).days // 7
                else "use --lost merge, start earlier, or free class days")
        raise SyllabusError(f"{count} weeks from {start} have their last class on {found[-1].meetings[-1]}, {over} "
                            f"week{'s' * (over != 1)} after --end {end}; {hint}")
    return found


def due(week, off=None):
    """The day at whose end work of a week is due: its Sunday, or the next day that is no holiday."""
    found = week.last
    while found in (off or {}):
        found += timedelta(days=1)
    return found
