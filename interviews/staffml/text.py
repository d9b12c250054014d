"""Text with parameters as fields: "{layers} layers and {memory:B} of memory".

What follows the colon is the unit to print in, a number word such as `billion`, or `plain` for a number without a unit.
Parameters are in base units whatever they are printed in: a work of 2e9 prints as {work:GMAC}, "1 GMAC". They are
printed exactly: the reader computes with what the answer uses. Figures, which only feedback and rubrics
print, are rounded to three digits.
"""

import inspect
import math
import re
import string

from mlsysim import units

_WORDS = {"plain": 1, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_DIGITS = 6
_PRECISION = re.compile(r"\b(?:fp|bf|tf|int)\d+\b")              # names, not numbers


class TextError(ValueError):
    """A text that cannot be printed as it is written, or not exactly. One line."""


def fields(text):
    """Parameters that a text prints."""
    return {field for field, _ in _placeholders(text)}


def check(text):
    """Raise TextError if a number is typed into the text or a unit is unknown."""
    typed = re.search(r"\d+", _PRECISION.sub("", " ".join(literal for literal, *_ in string.Formatter().parse(text))))
    if typed:
        raise TextError(f"has the number {typed[0]} typed in: make it a parameter")
    for field, spec in _placeholders(text):
        try:
            spec in _WORDS or units.format(1, spec)
        except units.UnitError as error:
            raise TextError(f"prints {field!r} in {spec!r}: {error}") from None


def render(text, p, figures=None):
    """`text` with its fields filled in from p; common indentation goes, a single line break is a space.

    figures: {name: function of p} for fields that are no parameters.
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    flowed = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

    def filled(field, spec):
        if figures and field in figures:
            return rounded(figures[field](p), spec)
        return show(field, p[field], spec)

    return "".join(literal + (filled(field, spec) if field else "") for literal, field, spec, _ in string.Formatter().parse(flowed))


def show(name, value, spec=""):
    """One parameter as it stands in a text. Raises TextError if reading it back would give another value."""
    if not spec and isinstance(value, str):
        return value
    if not spec and isinstance(value, int):
        return f"{value:,}"
    if not spec:
        raise TextError(f"{name} = {value!r} would be printed without a unit: write {{{name}:unit}}")
    if spec in _WORDS:
        text = _worded(value, spec, _DIGITS)
        back = float(text.split()[0].replace(",", "")) * _WORDS[spec]
    else:
        text = units.format(value, spec, digits=_DIGITS)
        back = units.parse(text)[0]
    if not math.isclose(back, value, rel_tol=1e-9):
        raise TextError(f"{name} = {value!r} prints as {text!r}: use a rounder value or another unit")
    return text


def rounded(value, spec=""):
    """A figure as it stands in feedback: three digits."""
    if isinstance(value, str):
        return value
    return _worded(value, spec, 3) if spec in _WORDS else units.format(value, spec)


def _worded(value, word, digits):
    return f"{value:,.{2 * digits}g}" if word == "plain" else f"{value / _WORDS[word]:.{digits}g} {word}"


def _placeholders(text):
    return [(field, spec) for _, field, spec, _ in string.Formatter().parse(text) if field]
