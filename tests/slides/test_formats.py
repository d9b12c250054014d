"""Decks as files: what TeX, reveal.js and PowerPoint get. A slide that is too full must not become a page."""

import io
import os
import re
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from mlsysbook import catalogue
from mlsysbook.slides import beamer, build, fill, html, pptx, theme
from mlsysbook.slides import deck as source
from mlsysbook.slides.deck import SlideError
from tests.slides.test_decks import SLIDES, a_deck, outputs, slide  # noqa: F401  (outputs is a fixture)

ROOT = Path(__file__).parents[2]
LINE = "ML Systems, Volume I, Chapter 13"
LONG = "\n\n".join(["A paragraph that says again what the one before it said, and takes a line of the slide for it."] * 12)


@pytest.fixture(scope="module", autouse=True)
def programs():
    """Under CI a missing program is a failure, elsewhere a skip with its reason."""
    missing = [name for name in ("xelatex", "rsvg-convert") if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {' and no '.join(missing)} here: make test installs them")


def read(folder, *first):
    return source.read(a_deck(folder, *first)[0], folder)


def crimson(name="crimson"):
    return theme.load(name, SLIDES / "themes")


def pdf(deck, outputs, name="crimson", **options):  # noqa: F811
    return beamer.make(deck, outputs, LINE, crimson(name), SLIDES, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "wanted"), [
    (slide("Far too much", LONG), r"slide 'Far too much' is \d+ pt too high for a slide; say less"),
    (slide("A table", "\n".join(["| a | b |", "|---|---|", *["| 1 | 2 |"] * 16])), r"slide 'A table' is \d+ pt too high"),
    (slide("A word", "`" + "x" * 120 + "`"), r"slide 'A word' is \d+ pt too wide"),
    (slide("A title that goes on and on until it has left the slide on its right-hand side", kind="recall"), r"is \d+ pt too wide"),
    (slide("A letter", "The character \u4e2d is in no font of ours."), r"slide 'A letter' has '\u4e2d' \(U\+4E2D\)"),
    (slide("A formula", r"$$ \nosuchcommand x $$"), r"slide 'A formula': TeX: Undefined control sequence"),
    (slide("Tiny", "{{figure: line, 20%}}"), r"letters of 'line' are too small to read at 20% of the slide; wants \d+% or more"),
])  # fmt: skip
def test_a_slide_that_does_not_fit_is_named_with_its_line(tmp_path, outputs, first, wanted):  # noqa: F811
    if "Tiny" in first:
        figure = outputs.figures["line"]
        outputs.figures["line"] = type(figure)("line", figure.svg.replace('font-size="13"', 'font-size="9"'), *(figure.alt, "C", "Figure 13.1"))
    path, line = a_deck(tmp_path, first)
    with pytest.raises(SlideError, match=wanted) as caught:
        pdf(source.read(path, tmp_path), outputs)
    found = str(caught.value).split("\n")
    assert len(found) == 1 and re.match(rf"vol1_13.md:({line}|{line + 2}): ", found[0]), found


@pytest.mark.slow
def test_a_deck_is_the_same_bytes_each_time_in_every_format(tmp_path, outputs):  # noqa: F811
    deck = read(tmp_path, slide("First", "The tail is {{tail}}.\n\n{{figure: line}}"))
    for make in (html.make, pptx.make, beamer.make):
        assert make(deck, outputs, LINE, crimson(), SLIDES) == make(deck, outputs, LINE, crimson(), SLIDES), make


def test_without_tex_a_pdf_says_what_to_install(tmp_path, outputs, monkeypatch):  # noqa: F811
    deck = read(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlideError, match="needs XeLaTeX: install it .Debian: apt-get install texlive-xetex "):
        pdf(deck, outputs)


def test_pptx_can_be_edited_and_has_notes_badges_and_alternative_texts(tmp_path, outputs):  # noqa: F811
    first = slide("What happens", "The tail is {{tail}}.", kind="exercise", minutes=2, more="Likely error: A.\nAsk: Is {{tail}} much?")
    deck = read(tmp_path, first + "\n" + slide("A picture", "Look.\n\n{{figure: line}}\n\nAnd read.", minutes=1))
    look = crimson("nature")
    with zipfile.ZipFile(io.BytesIO(pptx.make(deck, outputs, LINE, look, SLIDES))) as whole:
        parts = {n: whole.read(n).decode() for n in whole.namelist() if n.endswith(".xml")}
    slides = [parts[f"ppt/slides/slide{i}.xml"] for i in range(1, len(deck.parts) + 2)]
    asked, shown = slides[2], slides[3]
    assert "<a:t>The tail is 248\u00a0ms.</a:t>" in asked and ">Exercise</a:t>" in asked and look["Exercise"].upper() in asked
    assert 'descr="A line that rises from 0 to 1."' in shown and "And read." in shown and ">Exercise<" not in shown
    notes = "".join(t for n, t in parts.items() if n.startswith("ppt/notesSlides/"))
    assert notes.count("Say what the slide does not") == len(deck.slides) and "Ask: Is 248\u00a0ms much?" in notes
    assert f'<a:lt1><a:srgbClr val="{look["Paper"].upper()}"/></a:lt1>' in parts["ppt/theme/theme1.xml"]


def test_a_slide_that_pptx_would_part_is_refused(tmp_path, outputs):  # noqa: F811
    deck = read(tmp_path, slide("Two", "{{figure: line}}\n\n| a | b |\n|---|---|\n| 1 | 2 |"))
    with pytest.raises(SlideError, match="a slide has one figure or table at most"):
        pptx.make(deck, outputs, LINE, crimson(), SLIDES)


def test_a_formula_in_a_table_is_text_in_pptx_and_one_that_cannot_be_is_refused(tmp_path, outputs):  # noqa: F811
    deck = read(tmp_path, slide("A table", "| cut of $A_1$ | then |\n|---|---|\n| rows | $f(x) \\times 2$ |"))
    with zipfile.ZipFile(io.BytesIO(pptx.make(deck, outputs, LINE, crimson(), SLIDES))) as whole:
        parts = [ElementTree.fromstring(whole.read(n)) for n in whole.namelist() if re.fullmatch(r"ppt/slides/slide\d+.xml", n)]
    cells = ["".join(cell.itertext()) for part in parts for cell in part.iter("{http://schemas.openxmlformats.org/drawingml/2006/main}tc")]
    assert cells == ["cut of A₁", "then", "rows", "f(x)\u2005×\u20052"]
    deck = read(tmp_path, slide("A table", "| a |\n|---|\n| $\\sqrt{\\frac{a}{b}}$ |"))
    with pytest.raises(SlideError, match=r"the formula \$.sqrt.* of a table cannot be text"):
        pptx.make(deck, outputs, LINE, crimson(), SLIDES)


def test_a_presentation_that_no_program_would_open_is_refused():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as whole:
        whole.writestr("ppt/slides/slide1.xml", "<a:b/>")
    with pytest.raises(SlideError, match="slide1.xml of a presentation is no XML .unbound prefix"):
        pptx._rewritten(made.getvalue(), lambda name, text: text)


def page_of(chromium, folder, name, check):
    """Open a deck as a file and ask `check(page)` -> its answer. No request may leave the folder."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        asked, faults = [], []
        page.on("request", lambda r: asked.append(r.url))
        page.on("requestfailed", lambda r: faults.append(r.url))
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.goto((folder / name).as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        answer = check(page)
        browser.close()
    assert not faults and asked and all(a.startswith(("file:", "data:", "about:", "blob:")) for a in asked), (faults, asked)
    return answer


OVERFULL = """() => Reveal.getSlides().filter(s => { const i = Reveal.getIndices(s); Reveal.slide(i.h, i.v);
  return s.scrollHeight > s.clientHeight + 1 || s.scrollWidth > s.clientWidth + 1; }).map(s => s.id)"""


@pytest.fixture
def placed(tmp_path):
    """A folder with reveal.js where a deck looks for it -> function that puts a deck there."""
    build._reveal(SLIDES, tmp_path)

    def place(name, data):
        (tmp_path / "deck").mkdir(exist_ok=True)
        (tmp_path / "deck" / name).write_bytes(data)
        return tmp_path / "deck"

    return place


@pytest.mark.browser
def test_html_moves_by_key_shows_numbers_and_figures_and_keeps_its_notes(tmp_path, outputs, placed, chromium):  # noqa: F811
    deck = read(tmp_path, slide("First", "The tail is {{tail}}.\n\n{{figure: line}}\n\n{{figure: line, 20%}}"))
    folder = placed("crimson.html", html.make(deck, outputs, LINE, crimson(), SLIDES))

    def check(page):
        heading = "() => Reveal.getCurrentSlide().querySelector('h1, h2').innerText.trim()"
        seen = [page.evaluate(heading)]
        for _ in range(3):
            page.keyboard.press("ArrowRight")
            seen.append(page.evaluate(heading))
        page.keyboard.press("ArrowLeft")
        text = page.evaluate("() => Reveal.getCurrentSlide().innerText")
        notes = page.evaluate("() => Reveal.getSlideNotes()")
        ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
        with page.expect_popup() as popup:
            page.keyboard.press("s")
        return seen, text, notes, ids, popup.value.title()

    seen, text, notes, ids, speaker = page_of(chromium, folder, "crimson.html", check)
    assert seen[:3] == ["A title", "A part", "First"] and re.fullmatch(r"PREDICT\s+Slide 2|Slide 2\s+PREDICT", seen[3])
    assert "248\u00a0ms" in text and "Figure 13.1" in text and "Likely error: Reading the axis" in notes
    assert len(ids) == len(set(ids)) and "peaker" in speaker


@pytest.mark.browser
def test_the_browser_sees_a_slide_that_is_too_full(tmp_path, outputs, placed, chromium):  # noqa: F811
    folder = placed("crimson.html", html.make(read(tmp_path, slide("Far too much", LONG)), outputs, LINE, crimson(), SLIDES))
    assert page_of(chromium, folder, "crimson.html", lambda page: page.evaluate(OVERFULL)) == ["far-too-much"]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Every deck of the book in one theme, and one deck in all."""
    course, out = catalogue.load(ROOT), tmp_path_factory.mktemp("slides") / "slides"
    decks, made = build.build(course, out=out)
    _, more = build.build(course, ["V1-13"], themes=theme.NAMES, out=out)
    return SimpleNamespace(course=course, out=out, decks=decks, made=made, more=more)


@pytest.mark.slow
def test_every_deck_becomes_every_format_and_one_deck_every_theme(real):
    assert len(real.made) == 3 * len(real.decks) and all(m.changed for m in real.made)
    assert [m.changed for m in real.more] == [False] * 3 + [True] * 9
    for file in [*real.made, *real.more]:
        head = {".pdf": b"%PDF-", ".html": b"<!DOC", ".pptx": b"PK\x03\x04"}[file.path.suffix]
        assert file.path.read_bytes().startswith(head)
    index = (real.out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', index)
    assert len(links) == len(set(links)) == 3 * len(real.decks) + 9 and all((real.out / link).is_file() for link in links)


@pytest.mark.slow
def test_only_what_has_changed_is_made_again(real):
    _, again = build.build(real.course, ["V1-13"], formats=("html",), out=real.out)
    assert [m.changed for m in again] == [False]
    again[0].path.unlink()
    _, again = build.build(real.course, ["V1-13"], formats=("html",), out=real.out)
    assert [m.changed for m in again] == [True]


@pytest.mark.slow
@pytest.mark.browser
def test_no_slide_of_any_deck_overflows_in_a_browser(real, chromium):
    pages = sorted(real.out.glob("vol*/*.html"))
    assert len(pages) == len(real.decks) + 3

    def check(page):
        full = {}
        for path in pages:
            page.goto(path.as_uri())
            page.wait_for_function("window.Reveal && Reveal.isReady()")
            full[f"{path.parent.name}/{path.name}"] = page.evaluate(OVERFULL)
        return full

    full = page_of(chromium, pages[0].parent, pages[0].name, check)
    assert not any(full.values()), full


@pytest.mark.slow
def test_no_number_is_left_unfilled(real):
    for page in real.out.glob("vol*/*.html"):
        assert "{{" not in re.sub(r"<svg.*?</svg>", "", page.read_text(encoding="utf-8"), flags=re.S)
    for deck in real.decks:
        assert all(fill.used(deck)), deck.name


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SlideError, match="is there and holds no slides"):
        build.build(catalogue.load(ROOT), out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_chapter_without_a_deck_is_named():
    with pytest.raises(SlideError, match=r"V2-17 has no deck in book/slides; there are .*V1-13"):
        build.decks(catalogue.load(ROOT), ["V2-17"])
