"""`mlsys slides`: decks of slides as PDF, HTML and PPTX."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import CourseError
from . import app


@app.command()
def slides(
    chapters: Annotated[list[str] | None, typer.Argument(help="Chapters with a deck, such as V1-13. [default: all]",
                                                         show_default=False)] = None,
    theme: Annotated[str, typer.Option(help="crimson, midnight, minimal, nature, several with commas, or all.")] = "crimson",
    format: Annotated[str, typer.Option(help="pdf, html, pptx, notes (PDF with notes pages), with commas.")] = "pdf,html,pptx",
    out: Annotated[Path | None, typer.Option(help="Folder for the decks and their index. [default: build/slides]",
                                             show_default=False)] = None,
):
    """Build decks: numbers and figures are those of the chapter; a slide that is too full is an error.

    A file is made again only when something it is made of has changed.
    """
    from .. import catalogue
    from ..slides import build
    from ..slides.theme import NAMES

    themes, formats = _some(theme, "theme", NAMES), _some(format, "format", build.FORMATS)
    course, console = catalogue.load(), Console()
    with console.status("building slides") as status:
        def progress(text):
            if console.is_terminal:
                status.update(text)
            else:
                console.print(f"slides: {text}", highlight=False, soft_wrap=True)

        decks, made = build.build(course, chapters or (), themes=themes, formats=formats, out=out, progress=progress)
    for deck in decks:
        minutes = deck.per_session()
        console.print(f"{deck.chapter} {deck.title}: {len(deck.slides)} slides, {deck.minutes} min in {len(minutes)} "
                      f"session{'s' * (len(minutes) > 1)} ({' + '.join(map(str, minutes))} of 75)", highlight=False, soft_wrap=True)
    for file in made:
        console.print(f"{file.path}{'' if file.changed else ' (up to date)'}", highlight=False, soft_wrap=True)
    if made:
        console.print(f"{made[0].path.parent.parent / 'index.html'}", highlight=False, soft_wrap=True)


def _some(text, what, known):
    """Names parted by commas; "all" is all of them."""
    names = list(known) if text == "all" else list(dict.fromkeys(n.strip() for n in text.split(",") if n.strip()))
    for name in names or [text]:
        if name not in known:
            raise CourseError(f"unknown {what} {name!r}; there are {', '.join(known)}, and all")
    return names
