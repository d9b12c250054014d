"""Questions and cards: what an author gets wrong is named with its line, and what readers see is computed and safe."""

import textwrap
from types import SimpleNamespace

import pytest

from mlsysbook.companion import build, content
from mlsysbook.companion.units import accepted

PAGE = "# T\n\n## 1. A queue\n\n```python\n## no heading\n```\n\n### Little's law: `W`\n\n## 2. A batch\n"
GOOD = """\
chapter: V1-13
let: |
  from mlsysim import mmc
  s = 0.005
  tail_text = written(1e3 * mmc(0.9 / s, s).quantile(0.99), "ms", 2)
questions:
  - id: tail
    section: "1. A queue"
    kind: choice
    level: 1
    ask: "Is it {{tail_text}}, {{glued-one}} or $a<b$?"
    choices:
      - {text: "<b>yes</b>", right: true, why: "It is."}
      - {text: "no", why: "It is not."}
  - id: rate
    section: "2. A batch"
    kind: number
    level: 2
    ask: "How many?"
    answer: "1 / s"
    unit: "requests/s"
    tolerance: 0.05
    why: "One each."
    mistakes: [{value: "s", why: "That is the time."}]
cards:
  - {id: law, section: "1. A queue", front: "Law?", back: "$L = \\\\lambda W$"}
"""


@pytest.fixture
def course(tmp_path):
    """course(text of v1_13.yml) -> a course with that content and one chapter."""
    folder = tmp_path / "book" / "companion" / "content"
    folder.mkdir(parents=True)
    (tmp_path / "book" / "serving.md").write_text(PAGE)

    def make(text):
        (folder / "v1_13.yml").write_text(textwrap.dedent(text))
        return SimpleNamespace(root=tmp_path, chapters=[SimpleNamespace(number="V1-13", title="Serving", file="serving")])

    return make


def test_content_is_computed_and_rendered_as_safe_html(course):
    made = content.rendered(content.load(course(GOOD), "V1-13"), {"glued-one": "5 ms"})
    choice, number = made["questions"]
    assert choice["ask"] == 'Is it 230\u00a0ms, 5 ms or <span class="math notranslate nohighlight">\\(a&lt;b\\)</span>?'
    assert sorted((c["n"], c["text"], c["right"]) for c in choice["choices"]) == [(0, "&lt;b&gt;yes&lt;/b&gt;", True), (1, "no", False)]
    assert number["value"] == 200 and number["shown"] == "200\u00a0requests/s" and number["mistakes"][0]["value"] == 0.005
    assert choice["id"] == "V1-13/tail" and choice["section"] == "a-queue" and number["section"] == "a-batch"
    assert made["sections"] == [{"id": "a-queue", "title": "1. A queue"}, {"id": "a-batch", "title": "2. A batch"}]


@pytest.mark.parametrize("old, new, line, told", [
    ("chapter: V1-13", "chapter: V1-12", 1, "chapter is 'V1-12'"),
    ('section: "1. A queue"\n    kind', 'section: "1. A quee"\n    kind', 8, "no section '1. A quee'; did you mean '1. A queue'?"),
    ("id: rate", "id: tail", 15, "id 'tail' stands at line 7 already"),
    ("id: law", "id: Law", 26, "id 'Law' wants lower-case words"),
    (", right: true", "", 13, "no choice is right"),
    ('{text: "no", why', '{text: "no", right: true, why', 13, "2 choices are right; kind choice has one"),
    ("kind: choice", "kind: many", 13, "one choice is right; kind many has several"),
    (', why: "It is not."', "", 14, "missing why of 'no'"),
    ("kind: number", "kind: guess", 17, "kind 'guess'; wants choice, many, number"),
    ("level: 2", "level: 4", 18, "level 4; wants 1 (recall)"),
    ("tolerance: 0.05", "tolerance: 5", 22, "tolerance 5; wants a share"),
    ('answer: "1 / s"', 'answer: "1 / 0"', 20, "ZeroDivisionError"),
    ('answer: "1 / s"', 'answer: "math.inf"', 20, "is inf; wants a finite number"),
    ('value: "s"', 'value: "1.01 / s"', 24, "which counts as right (answer 200)"),
    ('unit: "requests/s"', 'unti: "requests/s"', 21, "unknown field 'unti'"),
    ("  s = 0.005", "  s = 1 / 0", 4, "let: ZeroDivisionError"),
    ("from mlsysim import mmc", "import os", 3, "let imports os; it may import"),
    ("  s = 0.005", "  s = = 2", 4, "let: invalid syntax"),
    ("{{tail_text}}", "{{tail_txt}}", 11, "is no name of let and no number of the chapter; did you mean tail_text?"),
    ("{{tail_text}}", "{{s}}", 11, "use written(value, unit)"),
    ("cards:", "cards: [", 26, "not YAML"),
    ("    level: 1\n", "    level: 1\n    level: 1\n", 11, "not YAML (level is given twice)"),
])  # fmt: skip
def test_a_fault_is_one_line_with_its_place(course, old, new, line, told):
    assert GOOD.count(old) == 1
    with pytest.raises(content.ContentError) as caught:
        content.rendered(content.load(course(GOOD.replace(old, new)), "V1-13"), {"glued-one": "5 ms"})
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"book/companion/content/v1_13.yml:{line}: ") and told in message, message


def test_all_faults_of_a_file_are_told_at_once(course):
    bad = GOOD.replace("level: 2", "level: 9").replace("id: law", "id: LAW")
    with pytest.raises(content.ContentError) as caught:
        content.load(course(bad), "V1-13")
    assert len(str(caught.value).split("\n")) == 2


def test_a_file_of_no_chapter_is_refused(course):
    made = course(GOOD)
    (made.root / "book/companion/content/v1_99.yml").write_text("")
    with pytest.raises(content.ContentError, match="v1_99.yml:1: is called after no chapter"):
        content.files(made)


def test_markdown_of_content_has_no_tags_and_no_links_of_its_own():
    made = content.markdown("a [b](javascript:x) <script>x</script> **c** `d` ![e](f)")
    assert "<a" not in made and "<script" not in made and "<img" not in made
    assert "<strong>c</strong>" in made and "<code>d</code>" in made
    assert content.markdown("one") == "one" and content.markdown("a\n\nb").count("<p>") == 2


def test_headings_inside_fences_are_none_and_ids_are_those_of_the_page():
    assert content.headings(PAGE) == ["1. A queue", "Little's law: `W`", "2. A batch"]
    assert [content.slug(t) for t in content.headings(PAGE)] == ["a-queue", "littles-law-w", "a-batch"]


def test_content_in_another_language_keeps_numbers_and_says_what_is_translated(course):
    text = GOOD.replace('unit: "requests/s"', 'unit: "pictures"')
    known = {"Is it {{tail_text}}, {{glued-one}} or $a<b$?": "{{glued-one}}か{{tail_text}}か$a<b$か。", "no": "いいえ", "pictures": "枚", "Law?": "法則は？"}
    spoken = content.Spoken("ja", known, lambda text: text.replace("\u00a0pictures", "枚") if "pictures" in text else None)
    found = content.load(course(text), "V1-13")
    english, made = content.rendered(found, {"glued-one": "5 ms"}), content.rendered(found, {"glued-one": "5 ms"}, spoken)
    choice, number = made["questions"]
    assert choice["ask"] == '<span lang="ja">5 msか230\u00a0msか<span class="math notranslate nohighlight">\\(a&lt;b\\)</span>か。</span>'
    assert {c["text"] for c in choice["choices"]} == {"&lt;b&gt;yes&lt;/b&gt;", '<span lang="ja">いいえ</span>'}, "what is not translated stays English"
    assert [c["n"] for c in choice["choices"]] == [c["n"] for c in english["questions"][0]["choices"]], "in the same order"
    assert number["unit"] == "枚" and number["shown"] == '<span lang="ja">200枚</span>' and number["ask"] == "How many?"
    assert number["units"] == english["questions"][1]["units"] | {"枚": 1.0}, "either word may be typed"
    assert made["cards"][0]["front"] == '<span lang="ja">法則は？</span>' and made["cards"][0]["back"] == english["cards"][0]["back"]
    assert dict(content.texts(found))["unit"] == "pictures" and not content.is_word("ms") and not content.is_word("")


def test_units_of_an_answer():
    assert accepted("ms")["s"] == 1000 and accepted("GB/s")["MB/s"] == pytest.approx(1e-3) and accepted("GB/s")["Gbit/s"] == pytest.approx(1 / 8)
    assert accepted("requests/s")["requests/min"] == pytest.approx(1 / 60) and accepted("%") == {"%": 1.0, "": 1.0}
    assert accepted("pictures") == {"": 1.0, "pictures": 1.0} and accepted("")["%"] == 0.01


def test_data_come_back_from_their_script(tmp_path):
    build.script(tmp_path, "v1_13", {"a": "</script> “é”", "b": [1.5]})
    assert build.unscript((tmp_path / "v1_13.js").read_text(encoding="utf-8")) == {"a": "</script> “é”", "b": [1.5]}


def test_every_written_chapter_has_enough_questions_and_cards():
    from mlsysbook import catalogue
    from mlsysbook.book.site import is_outline

    from .conftest import ROOT

    course = catalogue.load(ROOT)
    written = [c.number for c in course.chapters if not is_outline(course, c)]
    assert list(content.files(course)) == written
    assert [line for number in written for line in content.thin(content.load(course, number))] == []
