"""Is every example in the documentation true? Snippets and docstrings run; their outputs are what the library computes.

After a change that moves figures on purpose, `.venv/bin/python tests/mlsysim/test_sim_docs.py` writes the new outputs into the pages.
"""

import contextlib
import doctest
import importlib
import io
import os
import pkgutil
import re
import tempfile
import traceback
from pathlib import Path

import pytest

import mlsysim

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("sim/README.md", "README.md")
MODULES = [m.name for m in pkgutil.walk_packages(mlsysim.__path__, "mlsysim.") if not m.name.endswith("__main__")]
FENCE = re.compile(r"```python\n(>>> .*?)```", re.S)


def examples(page):
    """All snippets of a page as one session: what an earlier one names, a later one may use."""
    return doctest.DocTestParser().get_examples("\n".join(FENCE.findall((ROOT / page).read_text(encoding="utf-8"))))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_give_what_it_prints(page, elsewhere):
    found = examples(page)
    assert found, f"{page} has no snippets"
    said = io.StringIO()
    test = doctest.DocTest(found, {}, page, page, 0, None)
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.write)
    assert not result.failed, f"{said.getvalue()}\nif the figures moved on purpose: .venv/bin/python {Path(__file__).relative_to(ROOT)}"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_hold(name, elsewhere):
    said = io.StringIO()
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=said.write)
    assert not runner.failures, said.getvalue()


def rewritten(text):
    """The page with the outputs that its snippets have now."""
    space = {}

    def snippet(found):
        lines = []
        for example in doctest.DocTestParser().get_examples(found[1]):
            first, *more = example.source.rstrip("\n").split("\n")
            lines += [f">>> {first}", *(f"... {line}".rstrip() for line in more)]
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                try:
                    exec(compile(example.source, "<page>", "single"), space)
                except Exception as error:
                    if not example.exc_msg:
                        raise
                    print("Traceback (most recent call last):", *traceback.format_exception_only(error), sep="\n", end="")
            lines += out.getvalue().rstrip("\n").split("\n") if out.getvalue() else []
        if any(not line.strip() for line in lines):
            raise SystemExit(f"a snippet prints an empty line: {found[1][:80]!r}")
        return "```python\n" + "\n".join(line.rstrip() for line in lines) + "\n```"

    return FENCE.sub(snippet, text)


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        new = {page: rewritten(text) for page, text in pages.items()}
    for page, text in new.items():
        (ROOT / page).write_text(text, encoding="utf-8")
