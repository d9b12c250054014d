"""Numbers of a chapter: computed, guarded by the range in which their sentence is true, and handed to the text.

number() and exercise_key() run in the cells of a chapter. What they hand over is read by MyST-NB's {glue:text} and {glue:}.
"""

import json
import math
import re
import sys
from functools import cache
from html import escape
from pathlib import Path

from ..errors import CourseError

SPACE = "\u00a0"        # between a number and its unit, where no line may break
KEY_STEPS = 8           # cells of a key's tolerance, on a logarithmic scale
_HERE = str(Path(__file__).parent)
_taken = {}             # (kind, name) -> place of the call, of the chapter that runs in this process


class GuardError(CourseError):
    """A number has left the range in which its sentence is true. The message starts with the place of the call."""

    def __init__(self, file, name, value, range, message=None):
        low, high = range
        super().__init__(f"{file}: " + (message or f"{name} is {value:.6g}; its sentence holds from {low:g} to {high:g}: "
                                        "look at what changed, then mend the sentence and its range, or the model"))  # fmt: skip
        self.file, self.name, self.value, self.range = file, name, value, range

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


class ChapterError(CourseError):
    """A chapter calls number, figure, live or exercise_key in a way that cannot be shown."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


def number(name, value, unit="", *, low, high, digits=3, text=None):
    """Guard a number and hand its text to the prose, which writes {glue:text}`name`.

    value is in `unit`, as it is to be read; low and high are the range in which the sentence stays true. digits are the
    significant ones; text replaces the formatted number, for "about four times" or units that scale themselves.
    Raises GuardError outside the range, ChapterError for a name used twice or a range that guards nothing.
    """
    where = claim("number", name)
    try:
        value, low, high = float(value), float(low), float(high)
    except (TypeError, ValueError):
        raise ChapterError(f"{where}: {name} wants one number and two limits, got {value!r}, {low!r}, {high!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ChapterError(f"{where}: {name} has the range {low:g} to {high:g}; wants two finite limits, low first")
    if low > 0 and high > 30 * low or high < 0 and low < 30 * high:
        raise ChapterError(f"{where}: {name} may lie from {low:g} to {high:g}; no sentence holds for that: narrow the range")
    if not low <= value <= high:
        raise GuardError(where, name, value, (low, high))
    hand_over(name, written(value, unit, digits) if text is None else str(text))


def written(value, unit="", digits=3):
    """A number for reading: significant digits, thousands parted, a true minus sign, its unit after a space that does not break."""
    value = float(value)
    power = math.floor(math.log10(abs(value))) if value else 0
    value = round(value, digits - 1 - power)
    if value and not 1e-4 <= abs(value) < 1e15:
        power = math.floor(math.log10(abs(value)))
        raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"{_plain(value / 10**power, digits - 1)}{SPACE}×{SPACE}10{raised}"
    else:
        text = _plain(value, digits - 1 - power)
    text = text.replace("-", "\u2212")
    return f"{text}{'' if unit in ('', '%') else SPACE}{unit}"


def _plain(value, decimals):
    text = f"{value:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exercise_key(name, value, unit="", tolerance=0.02):
    """The computed answer of an exercise: a field where a reader's own number is checked, placed by {glue:}`name`.

    value: a number other than 0, or {choice: number} for an exercise with a parameter, which gets a list to choose from.
    tolerance is relative, between 0 and 0.5. The page holds hashes of the answers that count, not the answer: enough
    against reading on, no protection. Graded work has its own path.
    """
    where = claim("number", name)
    keys = {str(k): float(v) for k, v in value.items()} if isinstance(value, dict) else {"": float(value)}
    if not 0 < tolerance <= 0.5:
        raise ChapterError(f"{where}: {name} has tolerance {tolerance!r}; wants a share above 0 and at most 0.5")
    if not keys or not all(math.isfinite(v) and v for v in keys.values()):
        raise ChapterError(f"{where}: the key of {name} is {value!r}; wants finite numbers other than 0")
    step = math.log1p(tolerance) / KEY_STEPS
    cells = {choice: _cells(name, choice, v, tolerance, step) for choice, v in keys.items()}
    options = "".join(f"<option>{escape(c)}</option>" for c in keys)
    choose = f'<label>for <select>{options}</select></label> ' if len(keys) > 1 else ""
    html = (f'<span class="mls-check" hidden data-name="{escape(name)}" data-step="{step!r}" '
            f'data-keys="{escape(json.dumps(cells))}">'
            f'{choose}<label>Your answer <input type="text" inputmode="decimal" size="9" autocomplete="off"></label> '
            f'{escape(unit)} <button type="button">Check</button> <output aria-live="polite"></output></span>')
    asked = f"Answer in {unit}, within {100 * tolerance:g}%." if unit else f"Answer within {100 * tolerance:g}%."
    hand_over(name, asked, html)


def _cells(name, choice, value, tolerance, step):
    first, last = (math.floor(math.log(abs(value) * (1 + s * tolerance)) / step) for s in (-1, 1))
    return [fnv1a(f"{name}|{choice}|{'-' if value < 0 else ''}{k}") for k in range(first, last + 1)]


def fnv1a(text):
    """32-bit FNV-1a of a text, in hexadecimal; book/_static/live.js has the same."""
    h = 0x811C9DC5
    for byte in text.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{h:08x}"


def claim(kind, name):
    """Note where a chapter gives a name -> that place, as file:line. Raises ChapterError if another place has it."""
    where = place()
    if not re.fullmatch(r"[a-z][a-z0-9-]*", str(name)):
        raise ChapterError(f"{where}: {kind} {name!r}; a name is lower-case letters, digits and hyphens, such as 'tail-at-90'")
    if _taken.setdefault((kind, name), where) != where:
        raise ChapterError(f"{where}: {kind} {name!r} was given at {_taken[kind, name]} already; a name stands for one thing")
    return where


def place():
    """file:line of the line of a chapter that is being run; of the Python file, where no chapter is."""
    frame = sys._getframe()
    while frame.f_back and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    cell = _cell()
    if cell is not None:
        found, line = chapter_of(cell)
        if found:
            return f"{found}:{line + frame.f_lineno - 1}"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _cell():
    """Source of the running cell, or None outside a kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    history = shell.user_ns.get("In") if shell else None
    return history[-1] if history else None


@cache
def chapter_of(cell):
    """(file, first line) of the chapter in the working folder that holds this cell; (None, 1) if none does.

    A cell does not know its chapter: MyST-NB starts the kernel in the chapter's folder and sends code alone.
    """
    code = cell.strip()
    for path in sorted(Path.cwd().glob("*.md")):
        text = path.read_text(encoding="utf-8")
        at = text.find(code) if code else -1
        if at >= 0:
            return path.name, text[:at].count("\n") + 1
    return None, 1


def hand_over(name, text, html=None):
    """Make `text`, or `html` where a page can show it, available to {glue:}`name` without showing it here."""
    bundle = {"text/plain": repr(text)} | ({"text/html": html} if html else {})
    show({f"application/papermill.record/{k}": v for k, v in bundle.items()},
         {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}})  # fmt: skip


def show(bundle, metadata=None):
    """Send a bundle of {mime type: data} to the page; outside a kernel there is none, and nothing happens."""
    if _cell() is not None:
        from IPython.display import display

        display(bundle, raw=True, metadata=metadata or {})
