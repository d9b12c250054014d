"""A person's practice: which templates, in which order, asked and kept. The command line and the panel both run these steps.

The practice file is opened for one transaction at a time, so that a panel, a terminal and a crash do not meet.
"""

from datetime import UTC, datetime

from .pools import draws, variant
from .practice import Practice
from .round import Say, Stopped, item
from .taxonomy import AREAS, CHAPTERS, LEVELS, TRACKS, complaint
from .template import FOLDER, TemplateError, load, names


def plural(count, noun):
    """ "1 item", "2 items"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def chosen(area=None, level=None, track=None):
    """Templates of an area, level and track. Raises TemplateError when a name is unknown or nothing is left."""
    for what, value, known in (("area", area, AREAS), ("level", level, tuple(LEVELS)), ("track", track, TRACKS)):
        line = value and complaint(what, value, known)
        if line:
            raise TemplateError(line)
    found = [t for t in every() if area in (None, t.area) and level in (None, t.level) and track in (None, t.track)]
    if not found:
        asked = ", ".join(x for x in (area, level, track) if x)
        raise TemplateError(f"no template is of {asked}; `staffml list` shows what there is")
    return found


def every():
    """All templates."""
    if not names():
        raise TemplateError(f"{FOLDER} holds no templates; install the course from its repository: make setup")
    return [load(name) for name in names()]


def in_order(templates, path=None):
    """Templates as a round takes them: those never asked first, easy ones first."""
    with Practice(path) as practice:
        tried = {a["template"]: a["id"] for a in practice.attempts()}
    return sorted(templates, key=lambda t: (tried.get(t.name, 0), tuple(LEVELS).index(t.level), t.name))


def reviews(path=None, now=None):
    """Review cards of templates that exist -> ([(name, due)] to be asked now, [(name, due)] later)."""
    known = set(names())
    with Practice(path) as practice:
        ready = [(n, d) for n, d in practice.due(now) if n in known]
        later = [(n, d) for n, d in practice.upcoming() if (n, d) not in ready and n in known]
    return ready, later


def when(due):
    """A moment in words: "today", "tomorrow", "in 5 days"."""
    days = (due - datetime.now(UTC)).total_seconds() / 86400
    return f"in {days:.0f} days" if days >= 1.5 else "tomorrow" if days >= 0.5 else "today"


def chapter(code):
    """ "V1-13 Model Serving"."""
    return f"{code} {CHAPTERS.get(code, '')}".strip()


def drill(templates, *, confidence=True, path=None):
    """Steps of a round: one fresh variant of each template, each kept when it is done."""
    done, points = 0, 0.0
    try:
        for number, template in enumerate(templates, 1):
            with Practice(path) as practice:
                draw = practice.fresh(template.name, draws(template.name)["draws"])
            yield Say(f"{number} of {len(templates)}", "rule")
            answers, seconds = yield from item(template, draw, variant(template, draw), confidence=confidence)
            with Practice(path) as practice:
                _, due = practice.record(template, draw, answers, seconds)
            share = sum(a.share for a in answers) / len(answers)
            done, points = done + 1, points + share
            yield Say(f"{100 * share:.0f} % in {seconds / 60:.1f} min; to be asked again {when(due)}")
            if share < 1 - 1e-9 and template.chapter:
                yield Say(f"to read: {chapter(template.chapter)}")
    except Stopped:
        yield Say("stopped; this item is not kept")
    yield Say(f"{plural(done, 'item')}, {points:.2f} of {done} points")
