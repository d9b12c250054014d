"""The practice panel in JupyterLab, and the page that searches the question bank, in a real browser.

Screenshots: build/artefacts/panel/.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from mlsysim import units
from staffml import bank, load
from staffml.parts import Choice, Diagnosis
from staffml.pools import variant
from staffml.practice import Answer, Practice
from staffml.session import every
from staffml.text import render
from tests.browsing import patient
from tests.jupyter import jupyterlab

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "artefacts" / "panel"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def shots():
    SHOTS.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def page(browser):
    """A page whose requests stay on this machine."""
    context, away = browser.new_context(viewport={"width": 1280, "height": 900}), []

    def gate(route):
        local = re.match(r"(http://127\.0\.0\.1[:/]|file:|data:|blob:)", route.request.url)
        away.extend([] if local else [route.request.url])
        route.continue_() if local else route.abort()

    context.route("**/*", gate)
    patient(context)
    yield context.new_page()
    context.close()
    assert away == []


@pytest.fixture
def lab(tmp_path):
    """A notebook that shows the panel, with a practice file of its own -> its address."""
    with jupyterlab(tmp_path, "from staffml import panel\npanel()", "--LabApp.expose_app_in_browser=True", STAFFML_DATA=str(tmp_path)) as at:
        yield at


def right(part, p, answers):
    """What to type for a part, by the key."""
    if isinstance(part, Choice | Diagnosis):
        options = part.options(p, answers) if isinstance(part, Choice) else part.options(p)
        return str(next(i for i, (_, wrong) in enumerate(options, 1) if wrong is None))
    return units.format(answers[part.name], part.unit, digits=9)


def test_the_panel_drills_interviews_and_shows_progress(page, lab, tmp_path):
    file = tmp_path / "practice.sqlite"
    with Practice(file) as practice:                                        # long ago, so a review is due
        practice.record(load("power/duty_cycle"), 3, [Answer("energy", "number", "1 J", 1.0, 0.0)], 5, at=datetime(2026, 1, 1, tzinfo=UTC))
    page.goto(lab)
    page.wait_for_selector("#jp-main-statusbar >> text=/Python 3.*Idle/", timeout=120_000)
    page.locator(".jp-Notebook .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    panel = page.locator(".jp-OutputArea-output .widget-vbox").first
    panel.locator("button:has-text('Review due')").wait_for()
    latest, line = panel.locator("[role=status]"), panel.locator("input[type=text]")
    playwright.expect(latest).to_contain_text("choose what to do")

    # A review by keyboard alone.
    panel.locator("button:has-text('Drill')").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(latest).to_contain_text("Battery life of a duty cycle")
    playwright.expect(line).to_be_focused()
    page.keyboard.type("lots")
    page.keyboard.press("Enter")
    playwright.expect(latest).to_contain_text("'lots'")                     # cannot be read, so it is no answer
    for typed, then in (("1 kJ", "how sure"), ("80", "mean power")):
        playwright.expect(line).to_be_focused()
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        playwright.expect(panel).to_contain_text(then)
    page.screenshot(path=SHOTS / "1-review.png")
    for _ in range(2):
        panel.locator("button:has-text('Pass')").click()
    playwright.expect(latest).to_contain_text("to be asked again")
    playwright.expect(latest).to_contain_text("wanted")
    playwright.expect(panel.locator("button:has-text('Review due')")).to_be_focused()
    page.screenshot(path=SHOTS / "2-reviewed.png")
    with Practice(file) as practice:
        attempt = practice.attempts()[-1]
    assert [(a["text"], a["confidence"]) for a in attempt["answers"]] == [("1 kJ", 0.8), ("", None), ("", None)]

    # Another process writes to the same file meanwhile; the mock interview runs beside it, stops, and goes on.
    with Practice(file) as practice:
        practice.record(load("power/duty_cycle"), 3, [Answer("energy", "number", "1 J", 1.0, 1.0)], 5)
    for select, value in zip(range(3), ("power", "L3", "tiny"), strict=True):
        panel.locator("select").nth(select).select_option(label=value)
    panel.locator("button:has-text('Mock interview')").click()
    clock = panel.locator("text=/\\d+:\\d\\d left for this item, \\d+:\\d\\d in all/")
    clock.wait_for()
    before = clock.inner_text()
    playwright.expect(clock).not_to_have_text(before)                       # it runs
    panel.locator("button:has-text('Stop')").click()
    playwright.expect(latest).to_contain_text("nothing is lost")
    panel.locator("button:has-text('Mock interview')").click()
    playwright.expect(latest).to_contain_text("goes on, with the limits")
    with Practice(file) as practice:
        it = practice.mock()["items"][-1]
    template = load(it["template"])
    p = variant(template, it["draw"])
    for part in template.parts:
        playwright.expect(latest).to_contain_text(render(part.question, p))
        playwright.expect(line).to_be_focused()
        page.keyboard.type(right(part, p, template.answers(p)))
        page.keyboard.press("Enter")
        more = panel.locator("label:visible", has_text=re.compile("^(how sure|an interval)"))
        playwright.expect(more).to_be_visible()
        panel.locator("button:has-text('Pass')").click()
        playwright.expect(more).not_to_be_visible()
    with Practice(file) as practice:
        items = practice.mocks()[0]["items"]
    assert items[0]["template"] == it["template"] and {a["share"] for a in items[0]["attempt"]["answers"] if a["kind"] != "fermi"} == {1}
    page.screenshot(path=SHOTS / "3-mock.png")

    if panel.locator("button:has-text('Stop')").is_visible():
        panel.locator("button:has-text('Stop')").click()
    panel.locator("button:has-text('Progress')").click()
    image = panel.locator("img")
    image.wait_for()
    assert "Points by area: power " in image.get_attribute("alt") and "sure 80 %, right 0 %" in image.get_attribute("alt")
    assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") > 300
    image.scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "4-progress.png")


def test_the_question_bank_is_searched_by_words_and_by_kind(page, tmp_path):
    bank.write(tmp_path, every())
    page.goto((tmp_path / "find.html").as_uri())
    shown = page.locator("article:visible")
    count = page.locator("#count")
    total = len(every())
    assert shown.count() == total and count.inner_text() == f"{total} of {total} templates"
    for kind in ("area", "level", "track", "topic"):
        values = {getattr(t, kind) for t in every()}
        assert set(page.locator(f"[name={kind}] option").evaluate_all("o => o.map(x => x.value).filter(Boolean)")) == values
        value = sorted(values)[0]
        page.select_option(f"[name={kind}]", value)
        assert shown.count() == sum(getattr(t, kind) == value for t in every())
        page.click("text=Show all")
        playwright.expect(count).to_have_text(f"{total} of {total} templates")
    page.keyboard.press("Tab")
    page.fill("[name=words]", "KV cache")
    page.select_option("[name=area]", "memory")
    ids = shown.evaluate_all("e => e.map(x => x.id)")
    assert "memory-kv_cache" in ids and all(i.startswith("memory-") for i in ids) and len(ids) < sum(t.area == "memory" for t in every())
    page.fill("[name=words]", "no such words at all")
    assert shown.count() == 0 and count.inner_text() == f"0 of {total} templates"
    page.click("text=Show all")
    playwright.expect(count).to_have_text(f"{total} of {total} templates")
    summary = page.locator("#memory-kv_cache > details > summary")
    summary.focus()
    page.keyboard.press("Enter")                                            # opens by keyboard
    page.locator("#memory-kv_cache details summary:has-text('Answers')").click()
    playwright.expect(page.locator("#memory-kv_cache")).to_contain_text("Only the KV heads are stored.")
    page.goto((tmp_path / "find.html").as_uri() + "?track=tiny#power-duty_cycle")
    assert shown.count() == sum(t.track == "tiny" for t in every())
    assert page.locator("#power-duty_cycle > details").evaluate("e => e.open")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    page.screenshot(path=SHOTS / "5-bank.png")
