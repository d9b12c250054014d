"""course.yml and the book: every link leads somewhere, every page is linked, and what is generated is up to date."""

import dataclasses
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from mlsysbook import catalogue
from mlsysbook.book import site
from mlsysbook.errors import CatalogueError
from staffml import template
from staffml.taxonomy import CHAPTERS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def course():
    return catalogue.load(ROOT)


def test_sixteen_and_seventeen_chapters_are_called_as_the_drills_call_them(course):
    assert {c.number: c.title for c in course.chapters} == CHAPTERS


def test_every_link_of_the_catalogue_leads_somewhere_and_nothing_is_left_out(course):
    site.check(course)


def test_the_table_of_contents_is_what_the_catalogue_says(course):
    assert (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8") == site.toc(course), "run `mlsys contents`"
    parts = yaml.safe_load(site.toc(course))["parts"]
    files = [x["file"] for p in parts for x in p["chapters"]]
    assert len(files) == len(set(files)) and {c.file for c in course.chapters} < set(files)
    assert all((ROOT / "book" / f"{f}.md").is_file() for f in files)


def test_chapters_know_the_drills_that_name_them(course):
    found = {}
    for name in template.names():
        chapter = template.load(name).chapter
        if chapter:
            found.setdefault(chapter, []).append(name)
    assert site.questions(ROOT) == found


@pytest.mark.parametrize("volume", [1, 2])
def test_the_map_shows_each_chapter_lab_module_and_kit_of_a_volume(course, volume):
    table, words = site.course_map(course, volume), site.prerequisites(course, volume)
    drawing = ET.fromstring(site.graph(course, volume))
    chapters = [c for c in course.chapters if c.volume == volume]
    assert all(f"</{c.file}>`" in table and f"</{c.file}>`" in words for c in chapters)
    assert len(drawing.findall(".//rect")) == len(chapters)
    inside = {c.number for c in chapters}
    assert len(drawing.findall(".//path[@class='edge']")) == sum(n in inside for c in chapters for n in c.requires)
    assert all(lab.title in table for lab in course.labs if lab.number[1] == str(volume))


def test_boxes_of_the_graph_do_not_overlap(course):
    for volume in (1, 2):
        boxes = [(float(r.attrib["x"]), float(r.attrib["y"])) for r in ET.fromstring(site.graph(course, volume)).findall(".//rect")]
        wide, high = site._BOX
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if abs(a[0] - b[0]) < wide and abs(a[1] - b[1]) < high]


def test_the_box_of_a_chapter_names_its_lab_and_how_to_get_it(course):
    serving = next(c for c in course.chapters if c.number == "V1-13")
    box = site.where(course, serving)
    for piece in ("Lab V1-13, Tail Latency: `mlsys get labs/v1_13_tail_latency`", "TinyTorch 18", "`mlsys get drills/serving`", "staffml drill --template latency/",
                  "</vol1/11_hardware_acceleration>", "</vol2/10_inference_at_scale>"):
        assert piece in box
    assert "outline" not in box


def test_an_outline_says_that_it_is_one(course):
    chapter = next(c for c in course.chapters if c.number == "V2-16")
    assert site.is_outline(course, chapter) and "An outline." in site.where(course, chapter)


CATALOGUE = """id: c
title: C
labs: [{number: V1-01, title: A}]
modules: [{number: 1, title: Tensor}]
assignments: []
chapters:
  - {number: V1-01, title: First, part: P, week: F1, labs: [V1-01], modules: [1]}
  - {number: V1-02, title: Second & Last, part: P, week: F2, requires: [V1-01]}
"""


def course_at(folder, text=CATALOGUE):
    (folder / "modules").mkdir(exist_ok=True)
    (folder / "course.yml").write_text(text)
    return catalogue.load(folder)


def test_a_file_is_called_after_its_chapter(tmp_path):
    assert [c.file for c in course_at(tmp_path).chapters] == ["vol1/01_first", "vol1/02_second_last"]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("labs: [V1-01], mod", "labs: [V1-09], mod", "'V1-09' in labs"), ("modules: [1]}\n  -", "modules: [2]}\n  -", "2 in modules"),
    ("requires: [V1-01]", "requires: [V1-03]", "'V1-03' in requires"), ("week: F2", "week: 2", "F1 to F16"), ("V1-02, title: S", "V1-01, title: S", "ascending"),
    ("part: P, week: F2", "week: F2", "wants number, part, title, week"), ("number: 1, title: Tensor", "number: 2, title: Tensor", "the number 1")])  # fmt: skip
def test_a_catalogue_that_is_wrong_says_where(tmp_path, old, new, message):
    assert old in CATALOGUE
    with pytest.raises(CatalogueError, match=re.escape(message)):
        course_at(tmp_path, CATALOGUE.replace(old, new))


def test_missing_strange_and_mislabelled_pages_are_all_named(tmp_path):
    course = course_at(tmp_path)
    (tmp_path / "book" / "vol1").mkdir(parents=True)
    (tmp_path / "book" / "vol1" / "01_first.md").write_text("---\ntitle: Frist\nnumber: 1\nvolume: 1\n---\n# First\n")
    (tmp_path / "book" / "vol1" / "07_lost.md").write_text("# Lost\n")
    with pytest.raises(CatalogueError) as caught:
        site.check(course)
    lines = str(caught.value).split("\n")
    assert [line.split(":")[0] for line in lines] == ["book/vol1/01_first.md", "book/vol1/02_second_last.md", "book/vol1/07_lost.md"]


def test_a_lab_that_no_chapter_leads_to_is_named(course):
    orphan = dataclasses.replace(course, chapters=tuple(dataclasses.replace(c, labs=()) if c.number == "V1-13" else c for c in course.chapters))
    with pytest.raises(CatalogueError, match="labs has V1-13"):
        site.check(orphan)


def test_contents_are_written_by_one_command(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from mlsysbook.cli import app, chapters  # noqa: F401  (registers its commands)

    for name in ("course.yml", "book"):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("_vendor", "_build")) if source.is_dir() else shutil.copy(source, tmp_path)
    (tmp_path / "modules").mkdir()
    monkeypatch.chdir(tmp_path)
    toc = tmp_path / "book" / "_toc.yml"
    good = toc.read_text()
    toc.write_text("root: index\n")
    assert CliRunner().invoke(app, ["contents", "--check"]).exit_code == 1 and toc.read_text() == "root: index\n"
    assert CliRunner().invoke(app, ["contents"]).exit_code == 0 and toc.read_text() == good
    assert CliRunner().invoke(app, ["contents", "--check"]).exit_code == 0


def test_the_glossary_holds_each_key_term_with_the_chapter_that_defines_it(course):
    terms = {term: (meaning, c.number) for term, meaning, c in site.key_terms(course)}
    assert terms["goodput"] == ("requests a second that meet the objective", "V1-13") and len(terms) >= 15
    text = site.glossary(course)
    assert "\ngoodput\n  Requests a second that meet the objective. {doc}`V1-13 Model Serving </vol1/13_model_serving>`\n" in text


def test_a_term_with_two_meanings_is_refused(tmp_path):
    course = course_at(tmp_path)
    (tmp_path / "book" / "vol1").mkdir(parents=True)
    for c in course.chapters:
        (tmp_path / "book" / f"{c.file}.md").write_text("# X\n\n## Key terms\n\n| term | meaning |\n|---|---|\n| Load | of one kind |\n")
    with pytest.raises(CatalogueError, match="'Load' is defined in V1-01 as well"):
        site.key_terms(course)
