"""What a deck's source may hold: every fault is one line with its place. No TeX, no browser."""

import re
from pathlib import Path

import pytest

from mlsysbook.book.figures import PALETTE
from mlsysbook.book.outputs import Outputs, Picture
from mlsysbook.slides import deck as source
from mlsysbook.slides import fill, theme
from mlsysbook.slides.deck import SlideError

ROOT = Path(__file__).parents[2]
SLIDES = ROOT / "book" / "slides"
NOTES = "::: notes\n[{minutes} min] Say what the slide does not, and give the room time to answer before you go on.\n{more}\n:::"
SVG = ('<svg viewBox="0 0 400 200" role="img" aria-label="A line" style="width:100%;max-width:533px"><defs><clipPath id="line-c"><path '
       'd="M0 0h400v200z"/></clipPath></defs><path clip-path="url(#line-c)" d="M0 200L400 0" stroke="currentColor"/>'
       '<text font-size="13" x="9" y="20" fill="currentColor">time</text></svg>')  # fmt: skip


def slide(title, body="Text of the slide.", kind="", minutes=3, more=""):
    more = more or "Likely error: Reading the axis the wrong way round.\nAsk: What would change with two servers?"
    return f"## {title}{f' {{.{kind}}}' if kind else ''}\n\n{body}\n\n{NOTES.format(minutes=minutes, more=more)}\n"


def a_deck(folder, first=None, count=24):
    """A deck of V1-13 that is right: `first` takes the place of its first slide. -> (path, line at which `first` begins)."""
    kinds = ("predict", "", "exercise", "") * 6
    slides = [slide(f"Slide {i}", kind=k, minutes=3) for i, k in enumerate(kinds[:count], 2)]
    head = "---\nchapter: V1-13\ntitle: A title\nsubtitle: A subtitle\nsessions: 1\n---\n\n# A part\n\n"
    path = folder / "vol1_13.md"
    path.write_text(head + "\n".join([slide("First") if first is None else first, *slides]), encoding="utf-8")
    return path, head.count("\n") + 1


@pytest.fixture
def outputs(tmp_path):
    chapter = tmp_path / "chapter.md"
    chapter.write_text("---\ntitle: A\n---\n\n```{code-cell} python\nLOAD, LIMIT = 0.9, 25\n```\n", encoding="utf-8")
    return Outputs("V1-13", chapter, {"tail": "248\u00a0ms", "odd_name": "1"}, {"line": Picture("line", SVG, "A line that rises from 0 to 1.", "C", "Figure 13.1")})


def faults(folder, first, outputs=None):
    path, line = a_deck(folder, first)
    with pytest.raises(SlideError) as caught:
        made = source.read(path, folder)
        fill.check(made, outputs, folder)
    return line, str(caught.value).split("\n")


def test_a_deck_that_is_right_has_its_slides_and_minutes(tmp_path, outputs):
    made = source.read(a_deck(tmp_path)[0], tmp_path)
    fill.check(made, outputs, tmp_path)
    assert (len(made.slides), made.minutes, made.per_session()) == (25, 75, [75])
    assert made.slides[1].kind == "predict" and made.slides[0].section == "A part"


@pytest.mark.parametrize(("first", "offset", "wanted"), [
    ("## First\n\nText.\n", 0, "slide 'First' has no notes; wants ::: notes"),
    ("## First\n\nText.\n\n::: notes\nSay something that is long enough to be of help to a person who teaches this.\n:::\n", 4,
     "notes of 'First' begin with 'Say something that i'; wants [N min]"),
    (slide("First", more="Nothing else."), 4, "notes of 'First' want a line 'Likely error: …' or 'Ask: …'"),
    (slide("First", kind="exercise", more="Ask: What for, and for whom?"), 4, "want a line 'Likely error: …' and a line 'Ask: …'"),
    (slide("First", kind="predict"), 0, "slide 'First' asks for a prediction; the next slide must show what happens"),
    (slide("First", kind="quiz"), 0, "a slide has '.quiz'; it may have one of .predict, .exercise, .discuss, .recall"),
    (slide("First", "::: warning\nCareful.\n:::"), 2, "a box is called 'warning'; there are key, example"),
    (slide("First", "::: key\nNot closed."), 2, "a box is not closed before the next slide"),
    (slide("First", "A.\n\n. . .\n\nB."), 4, "a pause is lost in PPTX"),
    (slide("First", "![A cat](cat.png)"), 2, "an image of its own; figures come from the chapter"),
    (slide("First", "<b>bold</b>"), 2, "HTML or an image"),
    (slide("First", ""), 0, "slide 'First' is empty"),
    (slide("First", minutes=16), 4, "N from 1 to 15"),
    (slide("First", minutes=9), None, "session 1 takes 81 min by its notes; wants 60 to 75"),
])  # fmt: skip
def test_a_fault_of_form_is_named_with_its_line(tmp_path, first, offset, wanted):
    line, found = faults(tmp_path, first)
    place = f"vol1_13.md:{1 if offset is None else line + offset}: "
    assert any(f.startswith(place) and wanted in f for f in found), found
    assert all(re.match(r"vol1_13\.md:\d+: ", f) for f in found)


@pytest.mark.parametrize(("body", "wanted"), [
    ("The tail is {{tial}}.", "V1-13 has no number 'tial'; did you mean 'tail'?"),
    ("{{figure: lime}}", "V1-13 has no figure 'lime'; did you mean 'line'?"),
    ("See {{figure: line}} here.", "a figure stands on a line of its own"),
    ("{{figure: line, 95%}}", "from 20 to 80"),
    ("Then $T = {{tail}}$.", "a number stands outside formulas and code"),
    ("It takes 31 ms.", "'31 ms' is typed in and no input of the chapter"),
])  # fmt: skip
def test_a_number_or_figure_that_the_chapter_does_not_give_is_named_with_its_line(tmp_path, outputs, body, wanted):
    line, found = faults(tmp_path, slide("First", body), outputs)
    assert len(found) == 1 and found[0].startswith(f"vol1_13.md:{line + 2}: ") and wanted in found[0]


def test_an_input_of_the_chapter_may_be_typed(tmp_path, outputs):
    fill.check(source.read(a_deck(tmp_path, slide("First", "At 90% the limit is 25 ms."))[0], tmp_path), outputs, tmp_path)


def test_all_faults_are_told_at_once(tmp_path, outputs):
    _, found = faults(tmp_path, slide("First", "{{one}}, {{two}} and 31 ms."), outputs)
    assert len(found) == 3


def test_two_sessions_need_a_part_that_begins_the_second(tmp_path):
    path, _ = a_deck(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("sessions: 1", "sessions: 2"), encoding="utf-8")
    with pytest.raises(SlideError, match=r"vol1_13.md:1: sessions: 2, but 0 parts have \{.session\}"):
        source.read(path, tmp_path)


@pytest.mark.parametrize("front", ["---\nchapter: V1-13\n---\n", "", "---\nchapter: [\n---\n",
                                   "---\nchapter: V1-12\ntitle: T\nsubtitle: S\nsessions: 1\n---\n"])
def test_a_front_matter_that_is_wrong_is_one_line(tmp_path, front):
    path = tmp_path / "vol1_13.md"
    path.write_text(front + "\n" + slide("First"), encoding="utf-8")
    with pytest.raises(SlideError, match=r"^vol1_13.md:\d+: ") as caught:
        source.read(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_numbers_and_figures_stand_in_the_markdown_and_marks_in_numbers_are_escaped(tmp_path, outputs):
    outputs.numbers["tail"] = "2*3_4\u00a0ms"
    made = source.read(a_deck(tmp_path, slide("First {{tail}}", "It is {{tail}}.\n\n{{figure: line, 40%}}"))[0], tmp_path)
    text = fill.markdown(made, outputs, "Chapter", lambda picture, height: [f"[{picture.label} at {height}]"])
    assert "## First 2\\*3\\_4\u00a0ms\n" in text and "It is 2\\*3\\_4\u00a0ms." in text and "[Figure 13.1 at 40]" in text


@pytest.mark.parametrize("name", theme.NAMES)
def test_colours_of_a_theme_can_be_read_and_told_apart(name):
    look = theme.load(name, SLIDES / "themes")
    low = {f"{a} on {b}": theme.contrast(look[a], look[b]) for a, b in theme.PAIRS}
    assert min(low.values()) >= 4.5, low
    assert min(theme.contrast(colour[1:], look["Paper"]) for colour in PALETTE) >= 3.0
    assert len({look[k.capitalize()] for k in source.KINDS}) == len(source.KINDS)


def test_contrast_is_that_of_wcag():
    assert theme.contrast("000000", "ffffff") == pytest.approx(21) and theme.contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_deck_in_the_book_keeps_the_rules():
    from mlsysbook import catalogue
    from mlsysbook.slides import build

    found = build.decks(catalogue.load(ROOT))
    assert {"vol1_13"} <= {d.name for d in found}
    assert all(len(d.slides) >= 25 and sum(bool(s.kind) for s in d.slides) >= 8 for d in found)
