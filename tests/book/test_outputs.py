"""What a chapter hands over outside the book: its numbers as glued, its figures as files, its cells run once for all."""

import os
import shutil
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

from mlsysbook.book import build
from mlsysbook.book.outputs import outputs
from tests.book.conftest import small_book

pytestmark = pytest.mark.slow

CONVERTER = pytest.mark.skipif(not os.environ.get("CI") and shutil.which("rsvg-convert") is None,
                               reason="no rsvg-convert here: make test installs it")


def a_course(folder):
    return SimpleNamespace(root=small_book(folder).root, chapters=[SimpleNamespace(number="V1-01", file="vol1/01_sample"),
                                                                   SimpleNamespace(number="V1-02", file="vol1/02_planned")])


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The outputs of the sample chapter, and what the run that executed it said."""
    folder = tmp_path_factory.mktemp("outputs")
    course, said = a_course(folder / "course"), []
    return SimpleNamespace(course=course, work=folder / "work", said=said,
                           found=outputs(course, "V1-01", work=folder / "work", progress=said.append))


def test_a_number_is_the_text_that_the_page_shows(sample):
    assert sample.found.numbers == {"rate": "3.35\u00a0TB/s"}


def test_a_figure_comes_with_its_words_and_its_number_in_the_book(sample):
    curve = sample.found.figures["curve"]
    assert curve.label == "Figure 1.1" and curve.alt.startswith("A curve that rises from one to nine")
    assert curve.caption == "Squares rise faster than what they are squares of, always."


def test_a_live_figure_gives_the_picture_that_the_page_starts_with(sample):
    moving = [f for f in sample.found.figures.values() if f.name != "curve"]
    assert moving and all("mls-curve" in f.svg and "<script" not in f.svg for f in moving)


def test_a_plain_picture_is_svg_on_its_own_without_the_colour_of_a_page(sample):
    for figure in sample.found.figures.values():
        root = ET.fromstring(figure.plain("#fedcba"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and (float(root.get("width")), float(root.get("height"))) == figure.size
        assert "#fedcba" in figure.plain("#fedcba") and "currentColor" not in figure.plain("#fedcba")


@CONVERTER
def test_a_picture_as_a_file_is_the_same_each_time(sample):
    curve = sample.found.figures["curve"]
    pdf = curve.drawn("pdf")
    assert pdf[:5] == b"%PDF-" and pdf == curve.drawn("pdf") != curve.drawn("pdf", ink="#ffffff")
    png = curve.drawn("png", zoom=2)
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(png[16:20], "big") == pytest.approx(2 * curve.size[0], abs=1)


def test_cells_run_once_and_the_book_finds_them_in_its_cache(sample):
    from jupyter_cache import get_cache
    from myst_nb.core.read import read_myst_markdown_notebook

    assert sample.said == ["executing vol1/01_sample.md"]
    again = []
    assert outputs(sample.course, "V1-01", work=sample.work, progress=again.append) == sample.found and not again
    cache = get_cache(sample.work / "cache" / build.fingerprint(sample.course.root))
    text = sample.found.file.read_text(encoding="utf-8")
    assert cache.match_cache_notebook(read_myst_markdown_notebook(text, path=sample.found.file)).data["execution_seconds"] > 0


def test_a_guard_that_fails_is_one_line_with_its_place(tmp_path, sample):
    course = a_course(tmp_path / "course")
    chapter = course.root / "book" / "vol1" / "01_sample.md"
    text = chapter.read_text(encoding="utf-8").replace("low=3.3, high=3.4", "low=4, high=5")
    chapter.write_text(text, encoding="utf-8")
    line = text[:text.index('number("rate"')].count("\n") + 1
    with pytest.raises(build.BookError, match=rf"^book/vol1/01_sample.md:{line}: rate is 3.35; its sentence holds from 4 to 5") as caught:
        outputs(course, "V1-01", work=tmp_path / "work")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("number", "wanted"), [("V1-99", "unknown chapter 'V1-99'; course.yml has V1-01 to V1-02"),
                                                ("V1-02", "V1-02 is not written yet: book/vol1/02_planned.md")])
def test_a_chapter_that_is_not_there_is_named(sample, number, wanted):
    with pytest.raises(build.BookError, match=wanted):
        outputs(sample.course, number, work=sample.work)
