"""answer: a number with its unit, read at once, judged later."""

from . import mode
from .identity import code, sidecar, variant


class AnswerUnreadable(ValueError):
    """The text is not a number with a unit. Shown in a notebook as its message alone."""

    def _render_traceback_(self):
        return [str(self)]


def answer(name, text):
    """Record the answer to question `name`, such as "3.2 GB". Says how it was read, never whether it is right.

    Raises AnswerUnreadable if it is empty, is no number, or measures something else than what is asked.
    """
    if mode.handler is not None:
        mode.handler.answer(name, text)
        return
    value, unit = read(name, text, sidecar().get("units", {}).get(name))
    from mlsysim.units import format

    note = f" (variant {code(variant())})" if sidecar().get("variants") else ""
    print(f"{name}: recorded {text!r}, read as {format(value, unit)}{note}")


def read(name, text, wanted=None):
    """Text -> (value in SI units, unit), checked to be of the kind `wanted`, such as "B"."""
    from mlsysim.units import UnitError, parse

    if text is None or (isinstance(text, str) and not text.strip()):
        raise AnswerUnreadable(f"{name}: no answer yet; write a number with its unit, such as \"3.2 GB\"")
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise AnswerUnreadable(f"{name}: got a {type(text).__name__}; write a string such as \"3.2 GB\"")
    try:
        return parse(str(text), unit=wanted) if wanted is not None else parse(str(text))
    except UnitError as error:
        raise AnswerUnreadable(f"{name}: {error}") from None
