"""mlsys contents, mlsys lint: what an author of chapters types beside `mlsys book`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import app


@app.command()
def contents(check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if it differs.")] = False):
    """Write the book's table of contents from course.yml, after every chapter was found in its place."""
    from .. import atomic, catalogue
    from ..book import site

    course = catalogue.load()
    site.check(course)
    path, text = course.root / "book" / "_toc.yml", site.toc(course)
    same = path.is_file() and path.read_text(encoding="utf-8") == text
    if check and not same:
        Console(stderr=True).print("book/_toc.yml differs from course.yml; run `mlsys contents` and commit it", style="red", soft_wrap=True)
        raise typer.Exit(1)
    if not same:
        atomic.write(path, text)
    Console().print(f"{len(course.chapters)} chapters; book/_toc.yml is {'up to date' if same else 'written'}", highlight=False)


@app.command()
def lint(chapters: Annotated[list[Path] | None, typer.Argument(help="Sources of chapters. All written ones if none is given.")] = None):
    """Hold chapters to book/AUTHORS.md: shape, guards, words, references, typed-in numbers. One line a finding, as file:line."""
    from .. import catalogue
    from ..book import lint as linter

    course = catalogue.load()
    found = linter.check(course, chapters or None)
    for finding in found:
        print(finding)
    if found:
        raise typer.Exit(1)
    Console().print("no findings", highlight=False)
