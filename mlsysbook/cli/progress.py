"""A progress bar on a terminal, a few plain lines elsewhere."""

import contextlib
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS = 15                   # between two lines where there is no terminal


@contextlib.contextmanager
def bar(console, title):
    """-> a function (done, total, text) that long work calls."""
    if not console.is_terminal:
        yield _lines(console, title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[text]}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, text="")
        yield lambda done, total, text: progress.update(task, completed=done, total=total, text=text)


def _lines(console, title):
    last = [time.monotonic()]

    def show(done, total, text):
        if time.monotonic() - last[0] > _SECONDS:
            last[0] = time.monotonic()
            console.print(f"{title}: {done} of {total} {text}", markup=False, highlight=False, soft_wrap=True)

    return show
