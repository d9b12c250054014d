"""When work is due, as instructors write it, and what lateness costs. Times inside are UTC and say so."""

import difflib
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

from ..errors import ClassError

_DAY_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{1,2}:\d{2}(?::\d{2})?))?\s*(.*)")
_STAMP = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(\.\d{1,6})? ?(UTC|GMT|Z|[+-]\d{2}:?\d{2})", re.ASCII)
_OFFSET = re.compile(r"(?:UTC)?([+-])(\d{2}):?(\d{2})")
_PART = re.compile(r"(\d+(?:\.\d+)?)([wdhm])")
_UNIT = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
_LONGEST = timedelta(days=400)


@dataclass(frozen=True)
class Due:
    """A moment, and the words in which the instructor gave it."""

    at: datetime                    # aware, UTC
    text: str

    @property
    def naive(self):
        """For nbgrader, which keeps UTC without saying so."""
        return self.at.replace(tzinfo=None)

    def __str__(self):
        utc = show(self.at)
        return utc if self.text == utc else f"{self.text} = {utc}"


def show(moment):
    """A moment in UTC, with its zone. A moment without zone is taken as UTC, as nbgrader keeps it."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def due(value):
    """`2026-12-01 23:59 Europe/Berlin` (or an offset, or nothing, which means UTC; a day alone means its 23:59) -> Due.

    A time that a change of clocks repeats is its later one; a time that it skips is an error. Raises ClassError.
    """
    if isinstance(value, datetime):                     # what YAML makes of an unquoted time
        value = value.isoformat(sep=" ")
    elif isinstance(value, date):
        value = value.isoformat()
    text = " ".join(str(value).split())
    match = _DAY_TIME.fullmatch(text)
    if not match:
        raise ClassError(f"due date {text!r}: wants a day, a time and a zone, such as 2026-12-01 23:59 Europe/Berlin")
    day, time, zone = match[1], match[2] or "23:59", match[3].strip()
    try:
        naive = datetime.fromisoformat(f"{day} {time.zfill(5) if len(time) < 6 else time.zfill(8)}")
    except ValueError as error:
        raise ClassError(f"due date {text!r}: {error}; wants something like 2026-12-01 23:59 Europe/Berlin") from None
    if not 2000 <= naive.year < 2200:
        raise ClassError(f"due date {text!r}: wants a year between 2000 and 2199")
    tz = _zone(zone, text)
    at = naive.replace(tzinfo=tz, fold=1)
    if at.astimezone(UTC).astimezone(tz).replace(tzinfo=None) != naive:
        raise ClassError(f"due date {text!r}: clocks in {zone} skip that time; choose another")
    said = f"{naive:%Y-%m-%d %H:%M}{f':{naive:%S}' if naive.second else ''} {zone or 'UTC'}"
    return Due(at.astimezone(UTC), said)


def _zone(name, text):
    if name in ("", "Z", "UTC", "GMT"):
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset:
        hours, minutes = int(offset[2]), int(offset[3])
        if hours <= 14 and minutes < 60:
            return timezone((1 if offset[1] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
        raise ClassError(f"due date {text!r}: an offset lies between -14:00 and +14:00")
    known = available_timezones()
    if name in known:
        return ZoneInfo(name)
    by_lower = {z.lower(): z for z in known} | {z.split("/")[-1].lower(): z for z in sorted(known) if "/" in z}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"did you mean {by_lower[near[0]]}?" if near else "wants a name such as Europe/Berlin, an offset such as +01:00, or UTC"
    raise ClassError(f"due date {text!r}: unknown time zone {name!r}; {hint}")


def stamp(text):
    """A moment as nbgrader writes it, `2026-12-01 23:59:00.000000 UTC` -> aware datetime in UTC; None if there is any doubt.

    Stricter than nbgrader, which takes a missing or unknown zone for UTC and `+1400` for 1400 seconds.
    """
    match = _STAMP.fullmatch(text)
    if not match:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        naive = datetime.fromisoformat(f"{day} {clock}{(fraction or '.0').ljust(7, '0')}")
        offset = timedelta(0)
        if zone[0] in "+-":
            offset = (1 if zone[0] == "+" else -1) * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        return naive.replace(tzinfo=timezone(offset)).astimezone(UTC) if abs(offset) <= timedelta(hours=14) else None
    except (ValueError, OverflowError):
        return None


def duration(text):
    """`2d`, `+36h`, `1w2d`, `90m` -> timedelta; `0` takes an extension away. Raises ClassError."""
    compact = str(text).strip().lower().removeprefix("+").replace(" ", "")
    if compact in ("0", "none"):
        return timedelta(0)
    parts = _PART.findall(compact)
    if not parts or "".join(n + u for n, u in parts) != compact:
        raise ClassError(f"extension {text!r}: wants weeks, days, hours or minutes, such as 2d, 36h or 1w2d")
    total = sum((float(n) * _UNIT[u] for n, u in parts), timedelta(0))
    if total > _LONGEST:
        raise ClassError(f"extension {text!r} is longer than {_LONGEST.days} days")
    return total


def spell(delta):
    """A timedelta as `duration` reads it, largest units first: `2d12h`."""
    minutes = round(delta.total_seconds() / 60)
    parts = []
    for unit, size in (("d", 1440), ("h", 60), ("m", 1)):
        n, minutes = divmod(minutes, size)
        if n:
            parts.append(f"{n}{unit}")
    return "".join(parts) or "0"


@dataclass(frozen=True)
class LatePolicy:
    """Nothing within the grace period; after it, so many percent of the score for every day begun since the due date."""

    grace_minutes: float = 0.0
    percent_per_day: float = 0.0
    max_percent: float = 100.0

    def percent(self, seconds_late):
        """Percent of the score that is taken off."""
        if seconds_late <= 60 * self.grace_minutes:
            return 0.0
        return min(self.max_percent, self.percent_per_day * math.ceil(seconds_late / 86400))

    def penalty(self, score, seconds_late):
        """Points taken off a score."""
        return score * self.percent(seconds_late) / 100

    def __str__(self):
        if not self.percent_per_day:
            return "late work costs nothing"
        grace = f", after {self.grace_minutes:g} minutes of grace" if self.grace_minutes else ""
        return f"{self.percent_per_day:g} % of the score for every day begun, at most {self.max_percent:g} %{grace}"
