"""One item of a practice round: shown, asked part by part, and judged, without a terminal.

A round is a generator of steps. It yields Say, which wants no answer, and Ask, which is sent the text that was typed, and it
returns what came of it. `play` runs one with two functions; a panel sends texts as they come.
"""

import time
from dataclasses import dataclass

from mlsysim import units

from .marking import Unreadable, mark, read, read_interval
from .parts import Choice, Design, Diagnosis, Fermi, computed
from .practice import Answer
from .problem import Problem
from .text import render
from .variants import baked


class Stopped(Exception):
    """The student has left the round."""


@dataclass(frozen=True)
class Say:
    """Something to show. style: "", bold, question, right, partial, wrong, format, key or rule."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Ask:
    """Something to type; an empty text always gets on. left: (seconds for this item, for the whole mock interview), or None.

    long says that an answer in sentences is wanted.
    """

    prompt: str
    long: bool = False
    left: tuple | None = None


def play(steps, say, ask):
    """Run a round with say(text, style) and ask(Ask) -> text -> what it returns. The end of the input is Stopped."""
    text = None
    try:
        while True:
            step = steps.send(text)
            text = None
            if isinstance(step, Say):
                say(step.text, step.style)
                continue
            try:
                text = ask(step)
            except EOFError:
                text = "q"
    except StopIteration as end:
        return end.value


def item(template, draw, p, *, confidence=True, clock=time.monotonic):
    """Steps that ask every part of one variant; returns ([Answer], seconds), and raises Stopped for "q".

    A chain is judged when its last step is answered, so that no step gives the next one away.
    """
    variant = baked(template, draw, p)
    problem, answers, start = Problem(variant), template.answers(p), clock()
    yield Say(f"{template.title}  ({template.area}, {template.level}, {template.track}, about {template.minutes} min)", "bold")
    yield Say(problem.scenario())
    given, earlier, told = [], {}, []
    chain = any(part.steps for part in template.parts)
    for i, part in enumerate(template.parts, 1):
        yield Say(problem.question(i, variant["parts"][part.name]), "question")
        if isinstance(part, Design):
            given.append((yield from _design(template, p, part)))
            continue
        answer, found, value = yield from _part(template, p, part, confidence, answers, earlier)
        given.append(answer)
        if value is not None and computed(part) and not isinstance(part, Choice):
            earlier[part.name] = value
        told += verdict(p, part, found, answers)
        if not chain:
            yield from told
            told.clear()
    yield from told
    return given, clock() - start


def _part(template, p, part, confidence, answers, earlier):
    options = len(part.options(p, answers) if isinstance(part, Choice) else part.options(p)) if isinstance(part, Choice | Diagnosis) else 0
    while True:
        text = (yield Ask("answer (Enter to pass, q to stop): ")).strip()
        if text.lower() == "q":
            raise Stopped
        if not text:
            return Answer(part.name, part.kind, "", None, 0.0), None, None
        try:
            read(part, text, options)
            break
        except Unreadable as error:
            yield Say(str(error), "format")
    interval = (yield from _interval(part)) if isinstance(part, Fermi) else None
    sure = (yield from _confidence()) if confidence and not isinstance(part, Fermi) else None
    found = mark(template, p, part.name, text, earlier=earlier, interval=interval, answers=answers)
    answer = Answer(part.name, part.kind, text, found.value, found.share, found.mistake, sure, found.interval)
    return answer, found, found.value


def _interval(part):
    while True:
        text = (yield Ask("an interval that holds it nine times in ten, LOW .. HIGH (Enter for none): ")).strip()
        if text.lower() == "q":
            raise Stopped
        if not text:
            return None
        try:
            read_interval(part, text)
            return text
        except Unreadable as error:
            yield Say(str(error), "format")


def _confidence():
    while True:
        text = (yield Ask("how sure, in per cent (Enter for no answer): ")).strip().removesuffix("%").strip()
        if text.lower() == "q":
            raise Stopped
        if not text:
            return None
        if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100:
            return int(text) / 100
        yield Say(f"got {text[:20]!r}; write a whole number from 0 to 100, or nothing", "format")


def _design(template, p, part):
    text = (yield Ask("your answer (Enter to pass, q to stop): ", long=True)).strip()
    if text.lower() == "q":
        raise Stopped
    share = 0.0
    for points, criterion in part.rubric:
        yield Say(f"{100 * points:g} %  {render(criterion, p, template.figures)}")
        share += points if text and (yield from _yes()) else 0
    yield Say(f"{part.name}: {100 * share:.0f} % by your own marking", "partial")
    return Answer(part.name, part.kind, text, None, share)


def _yes():
    while True:
        text = (yield Ask("does your answer say so? (y/n): ")).strip().lower()
        if text == "q":
            raise Stopped
        if text in ("y", "yes", "n", "no", ""):
            return text.startswith("y")
        yield Say(f"got {text[:20]!r}; write y or n", "format")


def verdict(p, part, found, answers):
    """What an answer earned, why, and what is right -> [Say]. found is a Mark, or None for a part that was passed."""
    share = found.share if found else 0.0
    head = "right" if share > 1 - 1e-9 else f"{100 * share:.0f} %" if share else "passed" if found is None else "wrong"
    why = f" {found.why}" if found and found.why else ""
    told = [Say(f"{part.name}: {head}.{why}", "right" if head == "right" else "partial" if share else "wrong")]
    if head != "right" or (found and (found.carried or isinstance(part, Fermi))):
        told.append(Say(f"wanted {solution(p, part, answers)}", "key"))
    if found and found.interval is not None:
        told.append(Say("your interval holds it" if found.interval else "your interval does not hold it", "key"))
    return told


def solution(p, part, answers):
    """The right answer of a part as text."""
    if isinstance(part, Diagnosis):
        return next(f"{i}) {render(cause.text, p)}" for i, (cause, wrong) in enumerate(part.options(p), 1) if wrong is None)
    text = units.format(answers[part.name], part.unit)
    if isinstance(part, Choice):
        return next(f"{i}) {text}" for i, (_, wrong) in enumerate(part.options(p, answers), 1) if wrong is None)
    return text
