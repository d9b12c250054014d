"""The practice panel of JupyterLab: drill, review, mock interview, progress. It runs the steps of the command line.

    from staffml import panel
    panel()

Enter sends an answer, and buttons can be reached with Tab. Without widgets, the same choices are asked as text.
"""

import base64
import html
import io
import itertools
import threading
import time

from . import mock as mocks
from .practice import Practice
from .progress import plot, progress
from .progress import said as progress_lines
from .round import Say, Stopped, play
from .session import chosen, drill, in_order, reviews
from .taxonomy import AREAS, LEVELS, TRACKS
from .template import load

_HELP = "Enter sends; numbers with their unit, such as 42.9 GB"
_TOGETHER = 2.0                         # seconds between the two messages that Enter causes, at most


def panel(text=None, path=None):
    """Practise in the notebook. text: True for the form without widgets; found out where it is not given."""
    if text is None:
        text = not _has_widgets()
    return _menu(path) if text else _panel(path)


def steps(what, *, area=None, level=None, track=None, count=3, minutes=mocks.MINUTES, path=None):
    """Steps of "drill", "review", "mock" or "progress", as staffml.round.play takes them."""
    if what == "drill":
        order = in_order(chosen(area, level, track), path)
        yield from drill(list(itertools.islice(itertools.cycle(order), count)), path=path)
    elif what == "review":
        ready, _ = reviews(path)
        if not ready:
            yield Say("nothing is due; a drill is what there is to do")
        else:
            yield from drill([load(name) for name, _ in ready[:count]], path=path)
    elif what == "mock":
        yield from mocks.interview(lambda: mocks.plan(chosen(area, level, track), minutes=minutes), path)
    else:
        with Practice(path) as practice:
            found, kept = progress(practice.attempts()), practice.mocks()
        yield from progress_lines(found)
        yield from (Say(mocks.line(mocks.report(m))) for m in kept)


def _has_widgets():
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def _menu(path):
    def ask(step):
        return input(f"[{mocks.clock(step.left)}] {step.prompt}" if step.left else step.prompt)

    while True:
        try:
            what = input("drill, review, mock, progress or quit: ").strip().lower()
        except EOFError:
            return
        if what in ("quit", "q", ""):
            return
        if what not in ("drill", "review", "mock", "progress"):
            print(f"got {what[:20]!r}; wants one of them")
            continue
        try:
            play(steps(what, path=path), lambda text, style: print(f"\n{text}" if style == "question" else text), ask)
        except (ValueError, OSError) as error:
            print(error)


def _panel(path):
    import ipywidgets as w

    class Panel(w.VBox):
        """Buttons, what is said, one line to type in."""

        def __init__(self):
            self._lock, self._steps, self._asked, self._number = threading.RLock(), None, None, 0
            self._entered, self._told, self._begun = -_TOGETHER, "", None
            self._buttons = {what: w.Button(description=title, tooltip=tip) for what, title, tip in (
                ("drill", "Drill", "a round of questions, graded at once"),
                ("review", "Review due", "what you should see again, with new numbers"),
                ("mock", "Mock interview", "timed, adaptive, report at the end; goes on where it stopped"),
                ("progress", "Progress", "points by area and level, streaks, calibration"))}
            for what, button in self._buttons.items():
                button.on_click(lambda _, what=what: self._begin(what))
            wide = {"style": {"description_width": "initial"}}
            known = {"area": AREAS, "level": tuple(LEVELS), "track": TRACKS}
            self._filters = {k: w.Dropdown(options=[("all", None), *((x, x) for x in names)], description=k, layout={"width": "auto"},
                                           **wide) for k, names in known.items()}
            self._filters["count"] = w.BoundedIntText(3, min=1, max=100, description="items of a round", layout={"width": "13em"}, **wide)
            self._filters["minutes"] = w.BoundedIntText(mocks.MINUTES, min=5, max=480, description="minutes of a mock",
                                                        layout={"width": "15em"}, **wide)
            self._before, self._now, self._clock = w.HTML(), w.HTML(), w.HTML()
            self._line = w.Text(continuous_update=False, placeholder=_HELP, layout={"width": "100%"}, **wide)
            self._lines = w.Textarea(continuous_update=False, placeholder="in sentences; Tab leads to the button",
                                     layout={"width": "100%", "height": "8em"}, **wide)
            self._line.on_msg(lambda _, content, __: self._enter() if content.get("event") == "submit" else None)
            self._line.observe(self._changed, "value")
            self._send = w.Button(description="Answer", button_style="primary")
            self._pass, self._stop = w.Button(description="Pass"), w.Button(description="Stop")
            self._send.on_click(lambda _: self._answer(self._field().value) if self._field().value else self._field().focus())
            self._pass.on_click(lambda _: self._answer(""))
            self._stop.on_click(lambda _: self._answer("q"))
            self._typing = w.VBox([self._clock, self._line, self._lines, w.HBox([self._send, self._pass, self._stop])])
            rows = [w.HBox(list(row.values()), layout={"flex_flow": "row wrap"}) for row in (self._buttons, self._filters)]
            super().__init__([*rows, self._before, self._now, self._typing])
            self._rest()
            self._show([Say("choose what to do; every answer is kept in the file that the command staffml uses")])

        def __repr__(self):
            return "the StaffML panel needs a notebook that shows widgets; elsewhere: staffml drill, or panel(text=True)"

        def _begin(self, what):
            with self._lock:
                self._before.value, self._begun = "", what
                self._steps = steps(what, path=path, **{k: f.value for k, f in self._filters.items()})
                for control in (*self._buttons.values(), *self._filters.values()):
                    control.disabled = True
                self._advance(None)

        def _field(self):
            return self._lines if self._asked and self._asked.long else self._line

        # Enter makes the browser send that it was pressed, and then the text if that differs from what the kernel knows. So the text
        # is what counts, if it follows at once; text that the kernel knows already is sent by the button, which gets the focus.
        def _enter(self):
            self._entered = time.monotonic()
            if self._line.value:
                self._send.focus()

        def _changed(self, change):
            if change["new"] and time.monotonic() - self._entered < _TOGETHER:
                self._answer(change["new"])

        def _answer(self, text, number=None):
            with self._lock:
                if self._asked is None or number not in (None, self._number):
                    return
                self._field().value = ""
                self._entered = -_TOGETHER
                self._before.value += self._told + ("" if text == "q" else _html([Say(f"> {text or 'passed'}", "key")]))
                self._advance(text)

        def _advance(self, text):
            told, more = [], ""
            try:
                while True:
                    step = self._steps.send(text)
                    text = None
                    if isinstance(step, Say):
                        if step.style == "rule":
                            self._before.value = ""
                        told.append(step)
                        continue
                    self._show(told)
                    return self._ask(step)
            except StopIteration:
                more = _picture(path) if self._begun == "progress" else ""
            except Stopped:
                told.append(Say("stopped"))
            except (ValueError, OSError) as error:
                told.append(Say(str(error), "format"))
            self._show(told, more)
            self._rest()

        def _show(self, told, more=""):
            self._told = _html(told) + more
            self._now.value = f'<div role="status" aria-live="polite">{self._told}</div>'

        def _ask(self, step):
            self._asked, self._number = step, self._number + 1
            field, other = (self._lines, self._line) if step.long else (self._line, self._lines)
            other.layout.display, field.layout.display, self._typing.layout.display = "none", "", ""
            field.description = step.prompt.split(" (")[0].removesuffix(": ")
            field.focus()
            self._clock.value = ""
            if step.left:
                threading.Thread(target=self._tick, args=(self._number, step.left, time.monotonic()), daemon=True).start()

        def _tick(self, number, left, start):
            while self._number == number and self._asked is not None:
                passed = time.monotonic() - start
                if min(left) < passed:
                    self._answer("", number)
                    return self._answer("q", number + 1)        # perhaps nobody is there: the next item waits for somebody
                self._clock.value = f"<span>{mocks.clock([s - passed for s in left])}</span>"
                time.sleep(1)

        def _rest(self):
            self._steps = self._asked = None
            self._typing.layout.display = "none"
            for control in (*self._buttons.values(), *self._filters.values()):
                control.disabled = False
            if self._begun:
                self._buttons[self._begun].focus()              # else the focus goes with the line that is hidden

    return Panel()


def _html(told):
    """Steps as HTML, in the colours of the page; what is right or wrong is said in words."""
    tags = {"bold": "strong", "rule": "strong", "question": "strong", "format": "em", "key": "em"}
    lines = []
    for say in told:
        text, tag = html.escape(say.text), tags.get(say.style)
        lines.append(f"<{tag}>{text}</{tag}>" if tag else text)
    return "".join(f'<pre style="white-space: pre-wrap; margin: 0 0 .4em">{line}</pre>' for line in lines)


def _picture(path):
    """The plot of progress as an image with a description; nothing before the first attempt."""
    with Practice(path) as practice:
        found = progress(practice.attempts())
    if not found.attempts:
        return ""
    figure, text = plot(found)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return (f'<img style="max-width: 100%" alt="{html.escape(text)}" '
            f'src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">')
