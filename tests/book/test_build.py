"""mlsys book on a small book: what it writes, what it refuses, and that it writes the same twice."""

import json
import re
import shutil
import zipfile
from xml.etree import ElementTree

import pytest

from mlsysbook.book import build, epub, pdf
from tests.book.conftest import ROOT, small_book

pytestmark = pytest.mark.slow
SECRET = "it takes 0.3 ms"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return small_book(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def built(course):
    told = []
    done = build.build(course, progress=told.append)
    assert done.changed and any(t.startswith("executed vol1/01_sample") for t in told)
    return done.site


@pytest.fixture
def chapter(course):
    """The chapter's path; the test may change it."""
    path = course.root / "book" / "vol1" / "01_sample.md"
    text = path.read_text()
    yield path
    path.write_text(text)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def cells(site):
    return json.loads((site / "notebooks/vol1/01_sample.ipynb").read_text())["cells"]


def test_nothing_runs_when_nothing_has_changed(course, built):
    told = []
    assert build.build(course, progress=told.append) == build.Built(built, False)
    assert told == []


def test_two_builds_from_nothing_are_the_same_to_the_byte(built, tmp_path):
    again = build.build(small_book(tmp_path / "elsewhere")).site
    assert contents(again) == contents(built)


def test_pages_ask_no_other_server_for_anything(built):
    for page in built.rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"""<(script|link|img|iframe|source)[^>]*(src|href)=["'](https?:)?//""", text), page
        assert "thebe" not in text.lower(), page
        assert not re.search(r"""(src|href)=["']/""", text), f"{page}: an address from the server's root does not work below it"


def test_the_footer_has_both_licences_and_this_year(built):
    footer = (built / "index.html").read_text().partition("<footer")[2]
    assert "CC BY 4.0" in footer and "Apache-2.0" in footer and "© 2026 ML Systems" in footer and "2023" not in footer


def test_the_notebook_of_a_page_has_its_numbers_and_none_of_its_markup(built):
    text = "\n".join("".join(c["source"]) for c in cells(built) if c["cell_type"] == "markdown")
    assert re.search(r"The memory delivers 3\.35\sTB/s; the figure is Figure 1\.1\.", text) and SECRET in text
    assert not re.search(r"\{[\w:]+\}`|:::|```\{|:label:", text)
    assert all(c.get("outputs", []) == [] for c in cells(built))


def test_students_get_no_solution_on_pages_in_notebooks_or_in_the_index(course, built):
    site = build.build(course, student=True).site
    assert site == course.root / "build/book-student/html"
    assert SECRET in (built / "vol1/01_sample.html").read_text()
    for name, data in contents(site).items():
        assert SECRET.encode() not in data and b'exercise_key("traffic-key"' not in data, name
    assert not any("exercise_key(" in "".join(c["source"]) for c in cells(site))
    page = (site / "vol1/01_sample.html").read_text()
    assert "How long does 1 GB take?" in page and "mls-check" in page, "the exercise and its field stay"


MISTAKES = {
    "a number that left its range": ("3.35,", "3.5,", r":24: rate is 3\.5; its sentence holds from 3\.3 to 3\.4"),
    "a cell that raises": ("fig, ax =", "assert 1 > 2\nfig, ax =", r":25: AssertionError: assert 1 > 2$"),
    "a reference to nothing": ("Bytes have", "{ref}`nowhere` has", r":\d+: undefined label: 'nowhere'"),
    "a name that nothing glued": ("{glue:text}`rate`", "{glue:text}`rote`", r":31: No key 'rote' found"),
    "a citation of nothing": ("sample2026", "nobody1900", r':\d+: could not find bibtex key "nobody1900"'),
    "an import that the cache does not know": ("import numpy as np", "import staffml", r":20: imports staffml; a cell may import"),
}


@pytest.mark.parametrize("mistake", ["a number that left its range", "a cell that raises", "an import that the cache does not know"])
def test_a_mistake_is_one_line_with_its_place_and_the_site_stays(mistake, course, built, chapter):
    before = contents(built)
    old, new, wanted = MISTAKES[mistake]
    chapter.write_text(chapter.read_text().replace(old, new, 1))
    with pytest.raises(build.BookError) as caught:
        build.build(course)
    (line,) = str(caught.value).splitlines()
    assert re.match(rf"book/vol1/01_sample\.md{wanted}", line)
    assert contents(built) == before


def test_a_mistake_is_one_the_next_time_too(course, chapter):
    """Sphinx alone warns only about what it reads, and does not read a page again that has not changed."""
    chapter.write_text(chapter.read_text().replace(*MISTAKES["a reference to nothing"][:2]))
    for _ in range(2):
        with pytest.raises(build.BookError, match="undefined label"):
            build.build(course)


def test_several_mistakes_are_several_lines(course, chapter):
    text = chapter.read_text()
    for name in ("a name that nothing glued", "a citation of nothing"):
        text = text.replace(*MISTAKES[name][:2])
    chapter.write_text(text)
    with pytest.raises(build.BookError) as caught:
        build.build(course)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and all(re.match(r"book/vol1/01_sample\.md:\d+: ", line) for line in lines)


def test_a_folder_that_is_no_site_is_left_alone(course, tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "thesis.txt").write_text("mine")
    with pytest.raises(build.BookError, match="is there and is no site of this book"):
        build.build(course, out=tmp_path)
    assert contents(tmp_path) == {"html/thesis.txt": b"mine"}


def test_a_hub_is_offered_where_it_is_configured_and_only_there(course, built, monkeypatch, tmp_path):
    assert "git-pull" not in (built / "vol1/01_sample.html").read_text()
    monkeypatch.setenv("MLSYS_BOOK_HUB", "https://hub.example.edu/")
    with pytest.raises(build.BookError, match="mlsys_hub and mlsys_repository go together"):
        build.build(course, out=tmp_path)
    monkeypatch.setenv("MLSYS_BOOK_REPOSITORY", "https://git.example.edu/ml/course.git")
    site = build.build(course, out=tmp_path).site
    link = re.search(r'href="(https://hub\.example\.edu/hub/user-redirect/git-pull\?[^"]+)"', (site / "vol1/01_sample.html").read_text())[1]
    assert "repo=https%3A%2F%2Fgit.example.edu%2Fml%2Fcourse.git&amp;branch=main" in link
    assert "urlpath=lab%2Ftree%2Fcourse%2Fbook%2Fvol1%2F01_sample.md" in link
    assert "git-pull" not in (site / "paths/student.html").read_text(), "a page without code has nothing to open"


def test_an_epub_is_whole_and_the_same_twice(course, built, tmp_path):
    first = epub.write(course, built.parent).read_bytes()
    shutil.rmtree(course.root / "build/book-work/full/epub")
    path = epub.write(course, built.parent)
    assert path.read_bytes() == first
    with zipfile.ZipFile(path) as book:
        names = book.namelist()
        assert names[0] == "mimetype" and book.read("mimetype") == b"application/epub+zip"
        page = book.read("vol1/01_sample.xhtml").decode()
        for name in names:
            if name.endswith((".xhtml", ".opf", ".ncx")):
                ElementTree.fromstring(re.sub(r"&(?!amp;|lt;|gt;|quot;|#)\w+;", "", book.read(name).decode()))
        for address in re.findall(r'(?:src|href)="\.\./([^"#]+)', page):
            assert address in names
        assert 'vol1/01_sample.xhtml' in book.read("nav.xhtml").decode()
        assert 'properties="mathml svg"' in book.read("content.opf").decode()
    assert "<mfrac>" in page and "\\frac" not in page and "<script" not in page and "<input" not in page


def test_a_formula_that_cannot_be_set_is_named():
    with pytest.raises(build.BookError, match=r"cannot read the formula '\\\\frac\{1\}'"):
        epub.convert([(r"x^2", False), (r"\frac{1}", True)], ROOT / "book/_vendor/node_modules/mathjax")


@pytest.mark.browser
def test_a_volume_is_printed_the_same_twice(course, built):
    (path,) = pdf.volumes(course, built, lambda text: None)
    assert path.name == "ml-systems-volume-1.pdf"
    first = path.read_bytes()
    assert first.startswith(b"%PDF") and first.count(b"/Type /Page\n") >= 3 and b"/Title (1. A sample chapter)" in first
    assert pdf.volumes(course, built, lambda text: None) == [path] and path.read_bytes() == first
    assert not list(path.parent.glob(".*print*"))
