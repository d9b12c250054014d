"""`mlsys ask`: the passages of the book that answer a question."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def ask(
    question: Annotated[list[str], typer.Argument(help="The question; quotes are needed only where the shell wants them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    site: Annotated[Path | None, typer.Option(help="Folder of a built site. [default: build/book/html]", show_default=False)] = None,
):
    """Ask the book: up to three passages that answer, each with its place. Exit status 1 if the book does not answer.

    Nothing leaves the machine. Answers are passages of the built book, found by their words; build it first with `mlsys book`.
    """
    from .. import catalogue
    from ..companion.ask import load

    folder = site or catalogue.load().root / "build" / "book" / "html"
    reply = load(folder).ask(" ".join(question))
    if as_json:
        print(json.dumps(reply.as_dict(), ensure_ascii=False, indent=1))
    else:
        _print(reply, Console())
    if not reply.answered:
        raise typer.Exit(1)


def _print(reply, console):
    if not reply.answered:
        words = f" It never uses {', '.join(reply.unknown)}." if reply.unknown else ""
        console.print(f"The book does not answer this.{words}", highlight=False, markup=False)
    for n, answer in enumerate(reply.answers, 1):
        console.print(f"{chr(10) if n > 1 else ''}[{n}] {answer.chapter}, {answer.heading}", style="bold", highlight=False, markup=False)
        console.print(answer.text, highlight=False, markup=False)
        console.print(f"{answer.page}.html#{answer.anchor}", style="dim", highlight=False, markup=False, soft_wrap=True)
