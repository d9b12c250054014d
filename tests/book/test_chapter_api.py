"""What a chapter calls: numbers with guards, keys of exercises, figures, live figures; and the script that moves them."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from mlsysbook.book import figures, numbers
from mlsysbook.book.figures import figure
from mlsysbook.book.numbers import ChapterError, GuardError, exercise_key, number, written
from mlsysbook.book.sliders import _Scale, live

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "book" / "_static" / "live.js"
TEXTS = {"alt": "A line that rises from one to nine while x goes from one to three.", "caption": "Squares grow faster than what is squared."}


@pytest.fixture(autouse=True)
def page(monkeypatch):
    """What a chapter would have shown, in order, as (bundle, metadata)."""
    shown = []
    monkeypatch.setattr(numbers, "_taken", {})
    for module in (numbers, figures):
        monkeypatch.setattr(module, "show", lambda bundle, metadata=None: shown.append((bundle, metadata or {})))
    return shown


def glued(page):
    prefix = "application/papermill.record/"
    return {m["scrapbook"]["name"]: {k.removeprefix(prefix): v for k, v in b.items()} for b, m in page if "scrapbook" in m}


def test_a_number_in_its_range_reaches_the_prose(page):
    number("tail", 46.0517, "ms", low=44, high=48)
    assert glued(page)["tail"]["text/plain"] == "'46.1\\xa0ms'"


def test_a_number_out_of_its_range_stops_the_build_with_file_name_value_and_range(page):
    with pytest.raises(GuardError) as caught:
        number("tail", 51.2, "ms", low=44, high=48)
    error = caught.value
    assert (error.name, error.value, error.range) == ("tail", 51.2, (44, 48)) and re.search(r"test_chapter_api.py:\d+$", error.file)
    assert not page and "51.2" in str(error) and "from 44 to 48" in str(error)


def test_a_number_that_is_none_stops_the_build():
    with pytest.raises(GuardError):
        number("tail", float("nan"), low=1, high=2)


@pytest.mark.parametrize(("low", "high"), [(1, 100), (-100, -1), (2, 1), (0, float("inf"))])
def test_a_range_that_guards_nothing_is_refused(low, high):
    with pytest.raises(ChapterError):
        number("tail", low, low=low, high=high)


def test_a_name_stands_for_one_thing():
    number("tail", 1, low=0.5, high=2)
    with pytest.raises(ChapterError, match="already"):
        number("tail", 1, low=0.5, high=2)


@pytest.mark.parametrize(("value", "unit", "digits", "text"), [
    (1789.6, "token/s", 3, "1,790\u00a0token/s"), (0.0731, "", 2, "0.073"), (99.96, "%", 3, "100%"), (-3.14159, "", 3, "−3.14"),
    (0, "s", 3, "0\u00a0s"), (2.5e-7, "", 2, "2.5\u00a0×\u00a010⁻⁷"), (12, "", 1, "10"), (65536, "", 5, "65,536")])  # fmt: skip
def test_numbers_are_written_for_reading(value, unit, digits, text):
    assert written(value, unit, digits) == text


def test_a_guard_names_the_line_of_its_chapter(tmp_path, monkeypatch):
    """In a kernel, started in the chapter's folder as MyST-NB does."""
    nbclient, nbformat = pytest.importorskip("nbclient", reason="nbclient comes with nbgrader"), pytest.importorskip("nbformat")
    cell = 'from mlsysbook.book import number\nnumber("a", 1, low=0.5, high=2)\nnumber("b", 9, low=1, high=2)'
    (tmp_path / "07_other.md").write_text("nothing here\n")
    (tmp_path / "13_x.md").write_text(f"# A chapter\n\n```{{code-cell}}\n:tags: [hide-input]\n\n{cell}\n```\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(nbclient.exceptions.CellExecutionError) as caught:
        nbclient.NotebookClient(book, resources={"metadata": {"path": str(tmp_path)}}, kernel_name="python3").execute()
    assert "GuardError: 13_x.md:8: b is 9" in str(caught.value) and "Traceback" not in caught.value.traceback
    assert [o["metadata"]["scrapbook"]["name"] for o in book.cells[0].outputs if o.output_type == "display_data"] == ["a"]


def test_a_figure_says_what_it_shows_and_takes_the_colours_of_the_page(page):
    import matplotlib.pyplot as plt

    plt.close("all")        # what other tests left open
    fig, ax = plt.subplots()
    ax.plot([1, 2, 3], [1, 4, 9])
    ax.set_xlabel("black text")
    figure(ax, "squares", **TEXTS)
    html = page[-1][0]["text/html"]
    tree = ET.fromstring(html)
    assert tree.attrib["id"] == "fig-squares" and tree.find(".//{http://www.w3.org/2000/svg}svg").attrib["aria-label"] == TEXTS["alt"]
    assert "currentColor" in html and figures.INK not in html and "http-equiv" not in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)) and all(i.startswith(("squares-", "fig-squares")) for i in ids)
    assert "fig-squares" in glued(page) and not plt.get_fignums()


def test_a_figure_is_the_same_at_every_build():
    import matplotlib.pyplot as plt

    def draw():
        fig, ax = plt.subplots()
        ax.fill_between([1, 2], [1, 2])
        ax.plot([1, 2], [2, 1])
        text = figures.svg(fig, "twice", "alt")
        plt.close(fig)
        return text

    assert draw() == draw()


@pytest.mark.parametrize("texts", [{"alt": "A plot.", "caption": TEXTS["caption"]}, {"alt": TEXTS["alt"], "caption": TEXTS["alt"]}])
def test_a_figure_without_words_is_refused(texts):
    import matplotlib.pyplot as plt

    with pytest.raises(ChapterError):
        figure(plt.figure(), "squares", **texts)
    plt.close("all")


@pytest.mark.parametrize("ground", ["#ffffff", "#14181e", "#121212"])
def test_every_colour_stands_out_on_light_and_on_dark(ground):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    for colour in figures.PALETTE:
        a, b = sorted((luminance(colour), luminance(ground)))
        assert (b + 0.05) / (a + 0.05) >= 3, colour


def squares(x, power, kind):
    return {"curve": x**power if kind == "up" else 10 - x}


def show_squares(name="moving", **changed):
    options = {"controls": {"power": [1, 2, 3], "kind": ("Which way", ["up", "down"])}, "x": ("x", [1, 2, 3]), "y": ("y", 0, 12),
               "say": lambda x, y, power, kind: f"With {power} {kind} it ends at {y['curve'][-1]:g}.", "start": {"power": 2}} | TEXTS  # fmt: skip
    options |= changed
    live(name, options.pop("model", squares), **options)


def test_a_live_figure_is_complete_without_its_script(page):
    show_squares()
    html = page[-1][0]["text/html"]
    assert '<div class="mls-controls" hidden>' in html
    tree = ET.fromstring(re.sub(r" hidden| selected", "", re.sub(r"<script.*?</script>|<input[^>]*>", "", html)))
    assert tree.find(".//p[@aria-live]").text == "With 2 up it ends at 9."
    curve = next(e for e in tree.iter() if e.attrib.get("class") == "mls-curve")
    assert curve.attrib["d"].startswith("M72 ")


def test_a_live_figure_holds_every_setting_in_the_order_of_its_sliders(page):
    show_squares()
    data = json.loads(re.search(r"<script[^>]*>(.*?)</script>", page[-1][0]["text/html"])[1])
    assert data["counts"] == [3, 2]
    assert [s["say"] for s in data["states"]] == [f"With {p} {k} it ends at {y}." for p, k, y in [
        (1, "up", 3), (1, "down", 7), (2, "up", 9), (2, "down", 7), (3, "up", 27), (3, "down", 7)]]  # fmt: skip


def test_a_curve_is_cut_at_the_frame_and_parted_at_gaps(page):
    show_squares(model=lambda x, power, kind: np.array([4.0, np.nan, 20.0 if kind == "up" else power]), say=lambda x, y, power, kind: f"{power}{kind}")
    data = json.loads(re.search(r"<script[^>]*>(.*?)</script>", page[-1][0]["text/html"])[1])
    heights = [float(h) for s in data["states"] for h in re.findall(r"[ML]\d+ ([\d.]+)", s["d"][0])]
    assert all(14 <= h <= 288 for h in heights) and data["states"][1]["d"][0].count("M") == 2


@pytest.mark.parametrize(("changed", "message"), [
    ({"controls": {"power": [1, 2], "idle": [1, 2]}, "model": lambda x, power, idle: x**power, "say": lambda x, y, power, idle: f"{power}"}, "idle"),
    ({"start": {"power": 7}}, "starts at 7"), ({"y": ("y", 100, 200)}, "no point"), ({"alt": "A plot."}, "alt")])  # fmt: skip
def test_a_live_figure_that_would_mislead_is_refused(changed, message):
    with pytest.raises(ChapterError, match=message):
        show_squares(**changed)


def test_a_live_figure_is_light():
    with pytest.raises(ChapterError, match="fewer"):
        show_squares(model=lambda x, power, kind: {"curve": 1 + x * power / 300}, controls={"power": list(range(2, 900)), "kind": ["up", "down"]}, x=("x", np.linspace(1, 3, 60)))


def node(code):
    assert shutil.which("node"), "needs Node"
    run = subprocess.run(["node", "-e", f"const live = require({json.dumps(str(SCRIPT))});\n{code}"], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.node
def test_the_page_marks_a_typed_answer_as_the_build_meant_it(page):
    exercise_key("wait", 46.05, "ms", 0.02)
    exercise_key("loss", {"10 /s": -0.25, "20 /s": 12000.0}, "USD", 0.05)
    fields = {n: re.search(r'data-step="([^"]+)" data-keys="([^"]+)"', b["text/html"]) for n, b in glued(page).items()}
    import html

    tries = [("wait", "", "46.05"), ("wait", "", "45.2"), ("wait", "", "46,9"), ("wait", "", "47.2"), ("wait", "", "-46"),
             ("loss", "10 /s", "-0.26"), ("loss", "10 /s", "0.25"), ("loss", "20 /s", "12,100"), ("loss", "20 /s", "-0.25"), ("loss", "20 /s", "1e3")]  # fmt: skip
    calls = [f"live.accepts({json.dumps(n)}, {json.dumps(c)}, live.readNumber({json.dumps(t)}), {fields[n][1]}, ({html.unescape(fields[n][2])})[{json.dumps(c)}])"
             for n, c, t in tries]  # fmt: skip
    assert node(f"console.log(JSON.stringify([{','.join(calls)}]))") == [True, True, True, False, False, True, False, True, False, False]
    assert all("46.0" not in b["text/html"] for b in glued(page).values())


@pytest.mark.node
def test_the_page_finds_the_state_of_its_sliders():
    assert node("console.log(JSON.stringify([0,1,2].flatMap(a => [0,1].map(b => live.stateIndex([3, 2], [a, b])))))") == [0, 1, 2, 3, 4, 5]


@pytest.mark.node
def test_script_and_build_hash_alike():
    texts = ["", "a", "wait||1047", "loss|Füße|−3"]
    assert node(f"console.log(JSON.stringify({json.dumps(texts)}.map(live.fnv1a)))") == [numbers.fnv1a(t) for t in texts]


@pytest.mark.node
def test_what_is_no_number_is_not_marked():
    answers = node("console.log(JSON.stringify(['', 'ten', '1 2', '1.2.3', '12 ms', '\\u22123'].map(t => { const v = live.readNumber(t); return isNaN(v) ? null : v; })))")
    assert answers == [None, None, None, None, None, -3]


@pytest.mark.parametrize(("value", "tolerance"), [(0, 0.02), (float("inf"), 0.02), (3, 0), (3, 2), ({}, 0.02)])
def test_a_key_that_cannot_be_checked_is_refused(value, tolerance):
    with pytest.raises(ChapterError):
        exercise_key("wait", value, "ms", tolerance)


def test_ticks_of_many_decades_lie_within_the_frame():
    ticks = _Scale(1e5, 1e15, 0, 100, True).ticks()
    assert ticks[0] == 1e5 and ticks[-1] == 1e15
    assert _Scale(0, 1, 0, 100, False).ticks()[0] == 0


def test_a_slider_tells_its_value_to_the_last_digit(page):
    live("shape", lambda x, rows: rows * x, controls={"rows": [1024, 16384]}, x=("columns", [1.0, 2.0]), y="area", caption="The area of a rectangle over its columns.",
         alt="A straight line that rises with the columns, to 2,048 at two columns and 1,024 rows.", say=lambda x, y, rows: f"{rows} rows.")
    html = str(page)
    assert "1,024" in html and "16,384" in html
