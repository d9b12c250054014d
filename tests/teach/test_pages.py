"""The instructors' pages: each command and option exists, what may be run is run, and what students should not see is left out.

tests/book/test_paths.py runs "From zero to teaching in one afternoon" from its first line to its last.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from mlsysbook import catalogue, cli
from mlsysbook.cli import book, build, chapters, check, class_, demo, hub, milestone, slides, student, teach  # noqa: F401  (they register)
from mlsysbook.grading.deadlines import LatePolicy
from staffml.cli import app as staffml

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "book" / "instructors").glob("*.md"))
PROGRAMS = {"mlsys": typer.main.get_command(cli.app), "staffml": typer.main.get_command(staffml)}


def told(path):
    """Commands in blocks and in the text of a page, as lists of words."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.S | re.M) for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))
    return [shlex.split(line) for line in lines if line.split()[0] in PROGRAMS]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_each_command_and_each_option_of_a_page_exists(path):
    names = {a.name for a in catalogue.load(ROOT).assignments}
    for words in told(path):
        command, rest = PROGRAMS[words[0]], words[1:]
        while rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        for word in rest:
            if word.startswith("-"):
                assert word in options, words
            if re.match(r"(tinytorch|labs|drills|kits)/", word):
                assert word in names, words


def test_every_page_is_in_the_contents_and_on_the_first_page():
    first = (ROOT / "book/instructors/index.md").read_text(encoding="utf-8")
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
    listed = [x["file"] for part in toc["parts"] for x in part["chapters"] if x["file"].startswith("instructors/")]
    assert sorted(listed) == sorted(f"instructors/{p.stem}" for p in PAGES)
    assert all(f"{{doc}}`{p.stem}`" in first for p in PAGES if p.stem != "index")


@pytest.mark.parametrize("name", ["syllabi", "customisation"])
def test_commands_of_a_page_work(name, tmp_path):
    for words in told(ROOT / f"book/instructors/{name}.md"):
        if words[:2] == ["mlsys", "syllabus"]:
            environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
            done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert (tmp_path / words[words.index("--out") + 1]).stat().st_size > 1000


def test_the_late_policy_of_the_page_is_read_as_the_page_says():
    text = (ROOT / "book/instructors/assessment.md").read_text(encoding="utf-8")
    policy = LatePolicy(**yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])["late"])
    hour = 3600
    assert policy.penalty(100, 1 * hour) == 0, "within the grace period"
    assert policy.penalty(100, 2 * hour) == 10, "two hours late is one day late"
    assert policy.penalty(100, 25 * hour) == 20 and policy.penalty(100, 30 * 24 * hour) == 50
    assert LatePolicy().penalty(100, 999 * hour) == 0, "a new class starts with zeros"


def test_what_graders_read_comes_from_directives_and_goes_from_the_students_build():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert "MARK SCHEME" not in text and "One point each" not in text
    code = (ROOT / "book/_ext/mlsys_site/teaching.py").read_text(encoding="utf-8")
    assert re.search(r'what in \("schemes", "challenges", "calibration"\) and self\.env\.app\.tags\.has\("student"\)', code)


def test_no_table_on_a_page_is_wider_than_its_head():
    for path in PAGES:
        for block in re.findall(r"(?:^\|.*\|\n)+", path.read_text(encoding="utf-8"), re.M):
            cells = [len(re.findall(r"(?<!\\)\|", row)) for row in block.strip().splitlines()]
            assert len(set(cells)) == 1, f"{path.name}: {block.splitlines()[0]}"


def test_numbers_that_are_typed_on_the_pages_are_those_of_the_catalogue():
    course = catalogue.load(ROOT)
    first, syllabi = (" ".join((ROOT / f"book/instructors/{n}.md").read_text(encoding="utf-8").split()) for n in ("index", "syllabi"))
    parts = {part: sum(a.part == part for a in course.assignments) for part in ("tinytorch", "kits", "drills")}
    assert f"Of {len(course.chapters)} chapters" in first and f"of {len(course.labs)} labs" in first
    assert parts == {"tinytorch": 20, "kits": 6, "drills": 4}, "the first page says twenty, six and four"
    assert course.schedule["minutes"]["chapter"] == 180 and "plus three hours for a whole chapter" in syllabi
    assert course.schedule["minutes"]["talk"] == 60 and "an hour each" in syllabi
    assert course.schedule["load"] == 480 and "above eight hours" in syllabi
    assert len(course.schedule["quarter"]["build"]) == 8 and "Eight modules" in syllabi
