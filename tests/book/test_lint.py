"""mlsys lint finds what it is for, in a chapter that has nothing else wrong; mlsys new chapter starts one that builds."""

import re
import shutil
from pathlib import Path

import pytest

from mlsysbook import catalogue
from mlsysbook.book import lint, new
from mlsysbook.errors import CatalogueError, CourseError

ROOT = Path(__file__).parents[2]
CHAPTER = "book/vol1/13_model_serving.md"


@pytest.fixture(scope="module")
def course():
    return catalogue.load(ROOT)


def findings(course, tmp_path, text):
    path = tmp_path / "13_model_serving.md"
    path.write_text(text)
    return [f.split(": ", 1)[1] for f in lint.check(course, [path])]


def test_the_book_has_no_findings(course):
    assert lint.check(course) == []


@pytest.mark.parametrize(("old", "new", "message"), [
    ("{glue:text}`picture-alone`", "5.43 ms", "'5.43 ms' is typed in"),
    ("{glue:text}`picture-alone`", "{glue:text}`picture-lone`", "'picture-lone' is given by no cell"),
    ("{glue:text}`pool-alone`", "much", "'pool-alone' is computed and guarded, and no sentence uses it"),
    ("({glue:}`fig-knee`)", "", "no sentence refers to figure 'knee'"),
    ("{cite}`kingman1961single`", "{cite}`kingman1916single`", "reference 'kingman1916single' is not in"),
    ("{bibliography}", "{note}", "lacks {bibliography}"),
    ("## Key terms", "## Words", "no section 'Key terms'"),
    ("minutes: 90\n", "", "front matter has no minutes"),
    ("- **calculate** how", "- **understand** how", "'understand' cannot be tested"),
    ("[10] A promise", "A promise", "no difficulty"),
    ("{solution} v1-13-utilization", "{note} v1-13-utilization", "'v1-13-utilization' has no {solution}"),
    ("`serve`", "`mlsysim.severe`", "`mlsysim.severe` is nothing"),
    ("It is therefore the first check", "See [there](https://example.org/x). It is therefore the first check", "outside addresses"),
    ("It is therefore the first check", "See [there](../vol3/01_x.md). It is therefore the first check", "leads nowhere"),
    ("Neither number is what a user will see.", "The number " + "and the number " * 25 + "fails.", "a sentence of"),
    ("Neither number is what a user will see.", "The proof is a picture: draw a bar for each request from its arrival to its departure, and measure on.", "say it once"),
    ('digits=2)\nnumber("picture-rate"', 'digits=2, text="about 5 ms")\nnumber("picture-rate"', "has a digit typed in"),
])  # fmt: skip
def test_one_fault_is_one_finding(course, tmp_path, old, new, message):
    text = (ROOT / CHAPTER).read_text()
    assert old in text
    found = findings(course, tmp_path, text.replace(old, new, 1))
    assert any(message in f for f in found), found
    assert len(found) <= 2, found


def test_a_finding_names_its_line(course, tmp_path):
    text = (ROOT / CHAPTER).read_text().replace("{glue:text}`picture-alone`", "5.43 ms", 1)
    path = tmp_path / "13_model_serving.md"
    path.write_text(text)
    line = next(i for i, x in enumerate(text.split("\n"), 1) if "5.43 ms" in x)
    assert any(f.startswith(f"{path}:{line}: ") for f in lint.check(course, [path]))


def test_a_chapter_cut_in_half_lacks_words_figures_and_exercises(course, tmp_path):
    found = " ".join(findings(course, tmp_path, (ROOT / CHAPTER).read_text().split("## 4. ")[0]))
    assert all(piece in found for piece in ("words of prose", "has 0 exercises", "figures; wants", "no section 'Exercises'"))


def test_hard_prose_has_a_higher_grade_than_easy_prose():
    easy = [s.split() for s in ("The cat sat on the mat", "It was warm and it did not move")]
    hard = [["Consequently", "organizational", "interdependencies", "necessitate", "comprehensive", "characterization", "methodologies"]]
    assert lint.reading_level(easy) < 3 < 20 < lint.reading_level(hard)


def test_a_chapter_that_is_not_there_is_one_line(course, tmp_path):
    with pytest.raises(CourseError, match="wants a chapter"):
        lint.check(course, [tmp_path / "x.md"])


def test_every_outline_becomes_a_skeleton_whose_cells_run(course):
    """Cells are the same in each, so they run once; what differs is prose."""
    outlines = [c for c in course.chapters if (ROOT / "book" / f"{c.file}.md").read_text().count("outline: true\n")]
    assert outlines
    for chapter in outlines:
        outline = (ROOT / "book" / f"{chapter.file}.md").read_text()
        text = new.skeleton(chapter, outline)
        question = re.search(r"\*\*The question\.\*\* (\S+ \S+ \S+)", outline)[1]
        assert question in text and "## Fallacies and pitfalls" in text and f":label: {chapter.number.lower()}-read" in text
        assert text.count("\n- **") == outline.count("\n- **")
    scope = {}
    import matplotlib.pyplot as plt

    for code in re.findall(r"```\{code-cell\} ipython3\n:tags: \[hide-input\]\n\n(.*?)```", text, re.S):
        exec(compile(code, "skeleton", "exec"), scope)  # noqa: S102  (our own cells)
    plt.close("all")
    assert scope["ridge"] > 0


def test_an_outline_is_started_once(course, tmp_path):
    (tmp_path / "modules").mkdir()
    shutil.copy(ROOT / "course.yml", tmp_path)
    shutil.copytree(ROOT / "book" / "vol2", tmp_path / "book" / "vol2")
    there = catalogue.load(tmp_path)
    path = new.start(there, "V2-03")
    assert "outline: true" not in path.read_text()
    with pytest.raises(CatalogueError, match="is written already"):
        new.start(there, "V2-03")
    with pytest.raises(CatalogueError, match="no chapter 'V3-01'"):
        new.start(there, "V3-01")
