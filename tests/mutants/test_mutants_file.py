"""The files of mutants: that each is sound, and that a mistake in one is told at its line."""

import pytest

from mlsysbook import catalogue
from mlsysbook.errors import SourceError
from tests.mutants.mutants import FEWEST, MARK, mutants, path_of

MODULES = [a for a in catalogue.load().assignments if a.part == "tinytorch"]
FIRST = MODULES[0]


@pytest.mark.parametrize("a", MODULES, ids=lambda a: a.id)
def test_every_module_has_mutants_of_which_each_changes_one_place_in_a_solution(a):
    found = mutants(a)
    assert len(found) >= FEWEST
    assert sum(bool(m.survives) for m in found) <= len(found) // 8, "a survivor is a rare thing"


def entry(**changes):
    """A sound mutant of the first module as TOML, with some fields changed; None leaves one out."""
    fields = {"name": "an axis of length 0", "find": "step *= max(n, 1)", "replace": "step *= n", "check": "contiguous_strides"} | changes
    return MARK + "\n" + "".join(f"{k} = {v!r}\n" for k, v in fields.items() if v is not None)


def test_a_file_like_that_is_read(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("# Mutants.\n" + "\n".join(entry(name=f"mutant {n}") for n in range(FEWEST)))
    found = mutants(FIRST, path)
    assert [m.line for m in found[:2]] == [2, 8] and {m.solution for m in found} == {"contiguous_strides"}
    assert "step *= n\n" in found[0].source and "max(n, 1)" not in found[0].source


@pytest.mark.parametrize(("changes", "why"), [
    ({"find": "step *= max(n, 2)"}, "find occurs 0 times"),
    ({"find": ""}, "find occurs 0 times"),
    ({"find": "return"}, "times in the source, wants once"),
    ({"find": "# # TinyTorch 01: Tensor"}, "not inside one solution region"),
    ({"find": '"""Row-major strides of a tensor of this shape, in elements -> tuple of ints."""'}, "not inside one solution region"),
    ({"check": "contiguous_stride"}, "there is no check 'contiguous_stride'"),
    ({"check": "matmul"}, "check 'matmul' does not cover the solution 'contiguous_strides'"),
    ({"replace": "step *= ("}, "does not compile"),
    ({"replace": "step *= max(n, 1)"}, "are the same"),
    ({"name": "mutant 1"}, "is the name of two mutants"),
    ({"replace": None}, "wants texts"),
    ({"because": "no such field"}, "wants texts"),
])
def test_a_mistake_is_told_at_the_line_of_its_mutant(tmp_path, changes, why):
    path = tmp_path / "a.toml"
    path.write_text("\n".join(entry(**{"name": f"mutant {n}"} | (changes if n == 3 else {})) for n in range(FEWEST)))
    with pytest.raises(SourceError) as error:
        mutants(FIRST, path)
    assert str(error.value).startswith(f"{path}:19: ") and why in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "why"), [(None, "there is no such file"), ("[[mutant]", "not TOML"), (entry(), "at least 8")])
def test_a_file_that_is_missing_broken_or_short_is_told(tmp_path, text, why):
    path = tmp_path / "a.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError, match=why):
        mutants(FIRST, path)


def test_the_files_belong_to_modules():
    assert {p.name for p in path_of(FIRST).parent.glob("*.toml")} <= {path_of(a).name for a in MODULES}
