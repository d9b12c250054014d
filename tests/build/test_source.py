"""Each mistake that an author can make is reported as file:line of the cell, in one line."""

import pytest

from mlsysbook.build.source import read
from mlsysbook.errors import SourceError

GOOD = '''# %% [markdown]
# # Title

# %%
from mlsysbook import case, check

# %% solution="double"
#| export
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% check="double" points=3
check("double", [case(1)])

# %% hidden="double"
def cases(rng):
    yield case(2, behaviour="any number")

# %% show
print(double(2))
'''


def source(tmp_path, text):
    path = tmp_path / "m.py"
    path.write_text(text)
    return path


def test_cells_have_kind_name_points_and_line(tmp_path):
    cells = read(source(tmp_path, GOOD))
    assert [c.kind for c in cells] == ["markdown", "given", "solution", "check", "hidden", "show"]
    assert [c.line for c in cells] == [1, 4, 7, 14, 17, 21]
    assert cells[2].export and not cells[1].export and cells[3].points == 3 and cells[3].covers == ("double",)
    assert "BEGIN" not in cells[2].code and "export" not in cells[2].code


@pytest.mark.parametrize(("old", "new", "line", "says"), [
    ('solution="double"', 'solutoin="double"', 7, "did you mean solution?"),
    ("# %% show", "# %% shwo", 21, "did you mean show?"),
    ('check="double" points=3', 'check="double"', 14, "needs points > 0"),
    ('check="double" points=3', 'check="double" points=-1', 14, "needs points > 0"),
    ('check="double" points=3', 'check="double" points=3 point=2', 14, "got point"),
    ('solution="double"', 'solution="Double"', 7, "lower-case"),
    ("    ### END SOLUTION\n", "", 7, "region"),
    ('# %% check="double" points=3\ncheck("double", [case(1)])', "", 7, "no check covers it"),
    ('# %% hidden="double"', '# %% hidden="triple"', 14, "no hidden cases"),
    ('check="double" points=3', 'check="double" points=3 covers="twice"', 7, "no check covers it"),
    ("# %% show\n", '# %% show points=2\n', 21, "takes no attributes"),
    ("# %% show\n", '# %% answer="n" points=1\nn = 1\n', 21, "region"),
    ("# %% show\n", '# %% [markdown] rubric="why" points=1\n# why?\n', 21, "mark scheme"),
    ("# %% show\n", '# %% check="double" points=3\n', 21, "defined twice; first on line 14"),
    ("# %% show\n", '# %% key="n"\n', 21, "there is no answer or predict or decision of that name"),
])
def test_a_broken_source_is_an_error_at_its_line(tmp_path, old, new, line, says):
    assert old in GOOD
    path = source(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SourceError) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{path}:{line}: ") and says in text and "\n" not in text


def test_a_missing_or_undecodable_source_says_so(tmp_path):
    with pytest.raises(SourceError, match="no such author source"):
        read(tmp_path / "none.py")
    (tmp_path / "b.py").write_bytes(b"# %%\nx = '\xff'\n")
    with pytest.raises(SourceError, match="not UTF-8"):
        read(tmp_path / "b.py")


def test_a_marker_inside_a_string_is_refused(tmp_path):
    with pytest.raises(SourceError):
        read(source(tmp_path, GOOD + '\n# %%\ntext = """\n# %% check="x"\n"""\n'))
