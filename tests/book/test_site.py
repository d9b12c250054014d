"""The book's configuration and its table of contents, without building anything."""

import configparser
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))


@pytest.fixture(scope="module")
def settings():
    return yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def contents():
    """Every file of the table of contents, without its ending."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))

    def files(entry):
        return ([entry["file"]] if "file" in entry else []) + [f for e in entry.get("sections", ()) for f in files(e)]

    return [toc["root"], *(f for part in toc["parts"] for e in part["chapters"] for f in files(e))]


def test_every_page_of_the_contents_is_there_once_and_every_page_is_in_the_contents(settings, contents):
    assert len(contents) == len(set(contents))
    assert [c for c in contents if not (BOOK / f"{c}.md").is_file()] == []
    skipped = {"AUTHORS", *(p.relative_to(BOOK).with_suffix("").as_posix() for p in [*BOOK.rglob("_*/**/*.md"), *BOOK.glob("slides/**/*.md")])}
    pages = {p.relative_to(BOOK).with_suffix("").as_posix() for p in BOOK.rglob("*.md") if not p.name.startswith("_")}
    assert sorted(pages - skipped - set(contents)) == []
    assert "AUTHORS.md" in settings["exclude_patterns"]


def test_the_four_paths_are_in_the_contents_and_on_the_landing_page(contents):
    landing = (BOOK / "index.md").read_text()
    for name in ("student", "self_learner", "instructor", "contributor"):
        assert f"paths/{name}" in contents and f":link: paths/{name}" in landing


def test_nothing_in_the_configuration_loads_from_elsewhere(settings):
    text = yaml.safe_dump({k: v for k, v in settings["sphinx"]["config"].items() if k != "html_theme_options"})
    assert not re.search(r"https?:|//", text)
    assert settings["sphinx"]["config"]["nb_ipywidgets_js"] == {} and not settings["sphinx"]["config"]["mathjax_path"].startswith("/")
    for style in (*(BOOK / "_static").glob("*.css"), *(BOOK / "_static").glob("*.js")):
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//|fetch\(|XMLHttpRequest", style.read_text()), style
    assert settings["execute"]["execute_notebooks"] == "cache" and settings["sphinx"]["config"]["html_copy_source"] is False


def test_what_comes_from_npm_is_held_by_its_hash():
    lock = json.loads((BOOK / "_vendor/package-lock.json").read_text())
    wanted = json.loads((BOOK / "_vendor/package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    for name, package in lock["packages"].items():
        assert not name or package["integrity"].startswith("sha512-")
        assert "resolved" not in package, "a lock names no host: npm asks the registry that it is set to"


def test_the_engine_and_its_themes_are_pinned_together():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    extra = config["options.extras_require"]["book"].split()
    for pinned in ("jupyter-book==1.0.4.post1", "pydata-sphinx-theme==0.15.4", "sphinx-book-theme==1.1.4"):
        assert pinned in extra


def test_plain_sphinx_gets_every_extension_that_the_pages_use(settings):
    wanted = {re.split(r"[><=]", line)[0].replace("-", "_") for line in (BOOK / "_next/requirements.txt").read_text().split("\n")
              if line and not line.startswith("#")}
    assert {*settings["sphinx"]["extra_extensions"]} <= wanted and "myst_nb" in wanted


SOURCE = """\
(ex-a)=
## Exercises

:::{exercise} One
:label: a
[10] What?
:::

::::{solution} a
:class: dropdown
SECRET one
:::{note}
SECRET two
:::
::::

```{code-cell} python
:tags: [hide-input]
exercise_key("a", 3)
```

```{code-cell} python
shown = "{solution}"
```

```{solution-start} b
```
SECRET three
```{code-cell} python
SECRET = 4
```
```{solution-end}
```

The end.
"""


def test_a_students_source_keeps_its_lines_and_loses_its_solutions():
    from mlsys_site import student

    text = student.without_solutions(SOURCE)
    assert "SECRET" not in text and "solution-" not in text
    assert "[10] What?" in text and "The end." in text and 'shown = "{solution}"' in text
    assert ":tags: [remove-cell]\nexercise_key" in text and "hide-input" not in text
    assert text.count("\n") == SOURCE.count("\n"), "a warning names the line of the author's file"


@pytest.mark.parametrize("options, wanted", [
    ("", ":tags: [remove-cell]\nx"),
    (":label: c\n:tags: [a, b]\n", ":label: c\n:tags: [remove-cell]\nx"),
    ("---\ntags: [a]\n---\n", "---\ntags: [remove-cell]\n---\nx"),
    ("---\nlabel: c\n---\n", "---\ntags: [remove-cell]\nlabel: c\n---\nx"),
])
def test_a_cell_with_a_key_is_hidden_whatever_its_options(options, wanted):
    from mlsys_site import student

    source = f'```{{code-cell}} python\n{options}x = exercise_key("a", 3)\n```\n'
    assert wanted in student.without_solutions(source)


def test_markdown_of_a_notebook_is_what_jupyterlab_shows():
    from mlsys_site import downloads

    text = ("(here)=\n# T\n\n% a comment\n\n:::{note} Watch\n:class: tip\nIt is {glue:text}`n` by {cite:p}`knuth`, {math}`x^2`.\n:::\n\n"
            "```{math}\n:label: eq\na = b\n```\n\nSee {numref}`Figure %s <f>` and {term}`roof`.\n\n```{bibliography}\n:filter: x\n```\n\n"
            "```python\n:kept: 1\n```")
    plain = downloads.plain(text, {"n": "42 ms"})
    assert plain == ("# T\n\n**Note: Watch**\n\nIt is 42 ms by [knuth], $x^2$.\n\n$$\na = b\n$$\n\nSee Figure and roof.\n\n"
                     "```python\n:kept: 1\n```")


def test_a_notebook_has_the_same_bytes_whenever_it_is_made():
    from mlsys_site import downloads

    def made():
        cells = [nbformat.v4.new_markdown_cell("# T"), nbformat.v4.new_code_cell("1 + 1", execution_count=7)]
        return nbformat.writes(downloads.notebook(nbformat.v4.new_notebook(cells=cells), {}, keys=True))

    assert made() == made() and '"execution_count": null' in made()
