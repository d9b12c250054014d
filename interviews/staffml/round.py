"""One item of a practice round: shown, asked part by part, judged, and kept.

The terminal is two functions, say(text, style) and ask(prompt) -> text, so that a panel or a test can take its place.
"""

import time

from mlsysim import units

from .marking import Unreadable, mark, read, read_interval
from .parts import Choice, Design, Diagnosis, Fermi, computed
from .practice import Answer
from .problem import Problem
from .text import render
from .variants import baked


class Stopped(Exception):
    """The student has left the round."""


def item(template, draw, p, *, say, ask, confidence=True, clock=time.monotonic):
    """Ask every part of one variant -> ([Answer], seconds). Raises Stopped for "q", and lets EOFError pass.

    A chain is judged when its last step is answered, so that no step gives the next one away.
    """
    variant = baked(template, draw, p)
    problem, answers, start = Problem(variant), template.answers(p), clock()
    say(f"{template.title}  ({template.area}, {template.level}, {template.track}, about {template.minutes} min)", "bold")
    say(problem.scenario(), "")
    given, earlier, told = [], {}, []
    chain = any(part.steps for part in template.parts)
    for i, part in enumerate(template.parts, 1):
        say(problem.question(i, variant["parts"][part.name]), "question")
        if isinstance(part, Design):
            given.append(_design(template, p, part, say, ask))
            continue
        answer, found, value = _part(template, p, part, say, ask, confidence, answers, earlier)
        given.append(answer)
        if value is not None and computed(part) and not isinstance(part, Choice):
            earlier[part.name] = value
        told.append(lambda part=part, found=found: verdict(template, p, part, found, answers, say))
        if not chain:
            told.pop()()
    for tell in told:
        tell()
    return given, clock() - start


def _part(template, p, part, say, ask, confidence, answers, earlier):
    options = len(part.options(p, answers) if isinstance(part, Choice) else part.options(p)) if isinstance(part, Choice | Diagnosis) else 0
    while True:
        text = ask("answer (Enter to pass, q to stop): ").strip()
        if text.lower() == "q":
            raise Stopped
        if not text:
            return Answer(part.name, part.kind, "", None, 0.0), None, None
        try:
            read(part, text, options)
            break
        except Unreadable as error:
            say(str(error), "format")
    interval = _interval(part, say, ask) if isinstance(part, Fermi) else None
    sure = _confidence(say, ask) if confidence and not isinstance(part, Fermi) else None
    found = mark(template, p, part.name, text, earlier=earlier, interval=interval, answers=answers)
    answer = Answer(part.name, part.kind, text, found.value, found.share, found.mistake, sure, found.interval)
    return answer, found, found.value


def _interval(part, say, ask):
    while True:
        text = ask("an interval that holds it nine times in ten, LOW .. HIGH (Enter for none): ").strip()
        if not text:
            return None
        try:
            read_interval(part, text)
            return text
        except Unreadable as error:
            say(str(error), "format")


def _confidence(say, ask):
    while True:
        text = ask("how sure, in per cent (Enter for no answer): ").strip().removesuffix("%").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit() and 0 <= int(text) <= 100:
            return int(text) / 100
        say(f"got {text[:20]!r}; write a whole number from 0 to 100, or nothing", "format")


def _design(template, p, part, say, ask):
    text = ask("your answer (Enter to pass, q to stop): ").strip()
    if text.lower() == "q":
        raise Stopped
    share = 0.0
    for points, criterion in part.rubric:
        say(f"{100 * points:g} %  {render(criterion, p, template.figures)}", "")
        if text and ask("does your answer say so? (y/n): ").strip().lower().startswith("y"):
            share += points
    say(f"{part.name}: {100 * share:.0f} % by your own marking", "partial")
    return Answer(part.name, part.kind, text, None, share)


def verdict(template, p, part, found, answers, say):
    """Say what an answer earned, why, and what is right. found is a Mark, or None for a part that was passed."""
    share = found.share if found else 0.0
    head = "right" if share > 1 - 1e-9 else f"{100 * share:.0f} %" if share else "passed" if found is None else "wrong"
    why = f" {found.why}" if found and found.why else ""
    say(f"{part.name}: {head}.{why}", "right" if head == "right" else "partial" if share else "wrong")
    if head != "right" or (found and (found.carried or isinstance(part, Fermi))):
        say(f"wanted {solution(template, p, part, answers)}", "key")
    if found and found.interval is not None:
        say("your interval holds it" if found.interval else "your interval does not hold it", "key")


def solution(template, p, part, answers):
    """The right answer of a part as text."""
    if isinstance(part, Diagnosis):
        return next(f"{i}) {render(cause.text, p)}" for i, (cause, wrong) in enumerate(part.options(p), 1) if wrong is None)
    text = units.format(answers[part.name], part.unit)
    if isinstance(part, Choice):
        return next(f"{i}) {text}" for i, (_, wrong) in enumerate(part.options(p, answers), 1) if wrong is None)
    return text
