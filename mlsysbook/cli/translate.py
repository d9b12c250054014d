"""`mlsys translate`: catalogues of the book's translations, how complete they are, and whether they say the same."""

from typing import Annotated

import typer
from rich.console import Console

from . import app

group = typer.Typer(no_args_is_help=True, help="The book in other languages: catalogues, their state, their checks.")
app.add_typer(group, name="translate")
Language = Annotated[list[str] | None, typer.Option("--language", "-l", help="zh_CN, ja or ko; all if left out.", show_default=False)]
Names = Annotated[list[str] | None, typer.Argument(
    help="Pages such as vol1/01_introduction; questions as in companion/v1_01; README, site, titles.", show_default=False)]


def _chosen(languages):
    from ..book.translate import LANGUAGES
    from ..errors import CourseError

    for given in languages or ():
        if given not in LANGUAGES:
            raise CourseError(f"no language {given!r}; the book has {', '.join(LANGUAGES)}")
    return languages or list(LANGUAGES)


def _named(root, language, names):
    from ..book import translate
    from ..errors import CourseError

    there = translate.catalogues(root, language)
    for name in names or ():
        if name not in there:
            raise CourseError(f"no catalogue {name!r} in {language}; there are {', '.join(there)}")
    return names or list(there)


@group.command()
def update(names: Names = None, language: Language = None):
    """Bring catalogues up to the sources; start one for each page named that has none. What changed is marked fuzzy."""
    from .. import catalogue
    from ..book import translate

    course = catalogue.load()
    for each in _chosen(language):
        for name in names or list(translate.catalogues(course.root, each)):
            translate.update(course, each, name)
    status(names, language)


@group.command()
def status(names: Names = None, language: Language = None):
    """Show what share of each page is translated; exit 1 if a translated page changed by more than a tenth since."""
    from .. import catalogue
    from ..book import translate

    course, console, stale = catalogue.load(), Console(), []
    for each in _chosen(language):
        for name in _named(course.root, each, names):
            s = translate.state(course, each, name)
            told = f"{100 * s.translated / s.words:3.0f}% translated, {100 * s.changed / s.words:3.0f}% changed, {s.words:5d} words"
            console.print(f"{each:5}  {name:26} {told}{'  STALE' if s.stale else ''}", highlight=False, soft_wrap=True)
            stale += [f"{each}/{name}"] if s.stale else []
    if stale:
        console.print(f"{', '.join(stale)}: more than {100 * translate.STALE:.0f}% of the English changed since; "
                      "run `mlsys translate update` and translate what it marks fuzzy", highlight=False, soft_wrap=True)  # fmt: skip
        raise typer.Exit(1)


@group.command()
def check(names: Names = None, language: Language = None):
    """Compare code, maths, roles, links, emphasis and numbers of each translation with the English; exit 1 if any differs."""
    from .. import catalogue
    from ..book import translate

    course, console, wrong = catalogue.load(), Console(), []
    for each in _chosen(language):
        for name in _named(course.root, each, names):
            wrong += translate.check(course.root, each, name)
        wrong += [] if names else translate.check_readme(course.root, each)
    for line in wrong:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if wrong:
        raise typer.Exit(1)


@group.command()
def readme(language: Language = None):
    """Write README.LANGUAGE.md from README.md and its catalogue."""
    from .. import atomic, catalogue
    from ..book import translate

    root = catalogue.load().root
    for each in _chosen(language):
        if translate.strings(root, each, translate.README):
            atomic.write(root / f"README.{each}.md", translate.readme(root, each))
