"""mlsys companion --check, mlsys review: the reader's companion for its authors, and its cards in a terminal."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def companion(
    chapter: Annotated[list[str] | None, typer.Argument(help="Chapters, such as V1-13. All with content if none is given.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Also fail where a chapter has too few questions or cards.")] = False,
):
    """Compute and render the questions and cards of book/companion/content, as `mlsys book` does. One line a fault, as file:line."""
    from .. import catalogue
    from ..companion import content, review
    from ..errors import CourseError

    course, console, failed = catalogue.load(), Console(), False
    for number in chapter or content.files(course):
        try:
            data = review.load(course, number, lambda text: console.print(f"companion: {text}", highlight=False))
            thin = content.thin(content.read(course, number)) if check else []
        except CourseError as error:
            thin, data = str(error).split("\n"), None
        for line in thin:
            print(line)
        failed = failed or bool(thin)
        if data:
            console.print(f"{number}: {len(data['questions'])} questions, {len(data['cards'])} cards", highlight=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def review(
    chapter: Annotated[str | None, typer.Argument(help="A chapter, such as V1-13. Without it, cards that are due in any.",
                                                  show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="Progress that the companion exported; reviews are added to it. [default: your own]",
                                              show_default=False)] = None,
):
    """Meet the cards that are due, in the terminal. Every rating is kept at once; Ctrl-C or q ends."""
    from .. import catalogue
    from ..companion import progress
    from ..companion import review as cards
    from ..companion.content import ContentError
    from ..companion.schedule import is_due

    course, console = catalogue.load(), Console()
    path = file or progress.default_path()
    state, there = progress.read(path), cards.chapters(course)
    if chapter and chapter not in there:
        raise ContentError(f"{chapter} has no cards; there are some for {', '.join(there) or 'no chapter'}")
    probe = cards.Session([], path)
    due = {ident.partition("/")[0] for ident, reviews in state["reviews"].items() if is_due(reviews, probe.clock())}
    wanted = [chapter] if chapter else [n for n in there if n in due]
    if not wanted:
        console.print(f"Nothing is due. Begin with a chapter: mlsys review {there[0]}" if there else "No chapter has cards.")
        return
    session = cards.Session([cards.load(course, n, lambda text: console.print(f"review: {text}", highlight=False)) for n in wanted], path)
    _run(session, console, fresh=chapter is not None)
    console.print(f"{len(session.done)} reviewed; kept in {path}", highlight=False, soft_wrap=True)


def _run(session, console, *, fresh):
    """Cards until none is left, the reader ends it, or the input does."""
    from ..companion.review import plain

    while True:
        due, new, left = session.queue()
        card = next(iter([*due, *(new if fresh else ())]), None)
        if card is None:
            console.print("Nothing is due now." + (f" {left} new cards wait for another day." if fresh and left else ""), highlight=False)
            return
        console.rule(f"{len(due)} due" + (f", {len(new)} new" if fresh else ""))
        console.print(plain(card["front"]), markup=False, highlight=False)
        answer = _asked("\nEnter shows the answer, u takes back, q ends: ", session, ("",))
        if answer is None:
            return
        if answer == "u":
            continue
        console.print("\n" + plain(card["back"]) + "\n", markup=False, highlight=False)
        options = "  ".join(f"{i} {name} ({after})" for i, (name, after) in enumerate(session.intervals(card).items(), 1))
        answer = _asked(f"{options}  u q: ", session, ("1", "2", "3", "4"))
        if answer is None:
            return
        if answer != "u":
            session.rate(card, int(answer))


def _asked(prompt, session, wanted):
    """One of the wanted answers; "u" after the last rating was taken back; None to end."""
    while True:
        try:
            answer = input(prompt).strip().lower()
        except (EOFError, KeyboardInterrupt):
            print()
            return None
        if answer == "q":
            return None
        if answer == "u" and session.undo():
            print("The last rating is taken back.")
            return "u"
        if answer in wanted:
            return answer
        print(f"Type {', '.join(w or 'Enter' for w in wanted)}, u or q." if answer != "u" else "There is nothing to take back.")
