"""When to meet a card again: book/companion/js/schedule.js in Python, with py-fsrs for ts-fsrs and the same parameters (fsrs.json).

A card is the list of its reviews. FSRS sees whole days: every review of a date counts as made at its midnight, and an interval is
added to the time of the review. Below a day a card is due at a minute, from a day on at a date.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

PARAMETERS = json.loads(Path(__file__).with_name("fsrs.json").read_text(encoding="utf-8"))
RATINGS = {1: "Again", 2: "Hard", 3: "Good", 4: "Easy"}
DAY = 24 * 60                   # minutes


@dataclass(frozen=True)
class Next:
    """When a card is due: `minutes` after its last review; on `day` (ISO date), or below a day `at` a time (aware datetime)."""

    minutes: int
    day: str | None
    at: datetime | None
    stability: float            # days
    difficulty: float


@cache
def _model():
    from fsrs import Scheduler

    return Scheduler(parameters=PARAMETERS["weights"], desired_retention=PARAMETERS["retention"], enable_fuzzing=False,
                     maximum_interval=PARAMETERS["longest_days"], learning_steps=(), relearning_steps=())  # fmt: skip


def _short(steps, at, rating):
    """The first meetings, before the model's intervals count -> (the step that the card is at now, minutes), or None to leave them.

    Again starts over, Good goes on, Easy ends them. Hard stays; at the first of several it waits half-way to the second.
    """
    if rating == 1:
        return 0, steps[0]
    if rating == 2:
        return at, round((steps[0] + steps[1]) / 2 if len(steps) > 1 else 1.5 * steps[0]) if at == 0 else steps[at]
    return (at + 1, steps[at + 1]) if rating == 3 and at + 1 < len(steps) else None


def replay(reviews):
    """State after these reviews, [{"at", "day", "rating"}] in any order -> Next; None for a new card."""
    from fsrs import Card, Rating

    if not reviews:
        return None
    ordered = sorted(reviews, key=lambda r: r["at"])
    day, at, steps, minutes = ordered[0]["day"], 0, PARAMETERS["learning_minutes"], 0
    card = Card(card_id=1, due=_midnight(day))
    for made in ordered:
        day, rating = max(day, made["day"]), made["rating"]         # a journey west must not run time backwards
        card, _ = _model().review_card(card, Rating(rating), _midnight(day))
        if steps is None and rating == 1:
            steps, at = PARAMETERS["relearning_minutes"], 0
        following = steps and _short(steps, at, rating)
        if following:
            at, minutes = following
        else:
            steps, minutes = None, round((card.due - _midnight(day)).total_seconds() / 60)
    if minutes < DAY:
        return Next(minutes, None, _time(ordered[-1]["at"]) + timedelta(minutes=minutes), card.stability, card.difficulty)
    later = date.fromisoformat(day) + timedelta(days=round(minutes / DAY))
    return Next(minutes, later.isoformat(), None, card.stability, card.difficulty)


def review(rating, now):
    """A review made at `now` (aware datetime), as progress keeps it; its day is that of now's own zone."""
    return {"at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z", "day": now.date().isoformat(), "rating": rating}


def preview(reviews, now):
    """Minutes to the next meeting for each of the four ratings."""
    return [replay([*reviews, review(rating, now)]).minutes for rating in RATINGS]


def is_due(reviews, now):
    found = replay(reviews)
    return found is not None and (found.day <= now.date().isoformat() if found.day else found.at <= now)


def told(minutes):
    """An interval for reading: "10 min", "12 h", "1 day", "3 months"."""
    if minutes < 60:
        return f"{minutes} min"
    if minutes < DAY:
        return f"{round(minutes / 60)} h"
    days = round(minutes / DAY)
    if days < 60:
        return "1 day" if days == 1 else f"{days} days"
    return f"{round(days / 30.4)} months" if days < 730 else f"{round(days / 365)} years"


def _midnight(day):
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)


def _time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
