"""The companion in a real browser. Every page here must stay on its own server and log no error. Screenshots: build/artefacts/companion/."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from mlsysbook.companion.build import unscript

from .conftest import ROOT, VENDOR

SHOTS = ROOT / "build" / "artefacts" / "companion"
CHAPTER, DATA = "vol1/13_model_serving.html", "_static/companion/v1_13.js"
CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'none'"
NOW = datetime(2027, 1, 25, 9, 0)

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.node]
expect = playwright.expect


@pytest.fixture(scope="module", autouse=True)
def shots():
    SHOTS.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def data(site):
    return unscript((site / DATA).read_text(encoding="utf-8"))


@pytest.fixture
def chapter(open_page, address):
    """chapter(**context) -> the chapter's page, at nine o'clock on a Monday."""
    return lambda **options: open_page(f"{address}/{CHAPTER}", before=lambda page: page.clock.install(time=NOW), **options)


def question(page, data, kind):
    """(the first question of a kind, its form in the text, opened)."""
    found = next(q for q in data["questions"] if q["kind"] == kind)
    details = page.locator(f".mlc-check[data-section='{found['section']}']")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    return found, details.locator(f".mlc-question[aria-labelledby='mlc-here-{found['id'].split('/')[1]}-ask']")


def choose(form, question, rights):
    for choice in question["choices"]:
        if choice["right"] == rights:
            form.locator(f"input[value='{choice['n']}']").check()
            if question["kind"] == "choice":
                return choice


def tab(page, name):
    if not page.locator("#mlc-panel").is_visible():
        page.locator(".mlc-open").click()
    page.get_by_role("tab", name=name).click()


def state(page):
    return json.loads(page.evaluate("localStorage.getItem('mlsys-companion')") or "null")


def test_nothing_is_loaded_until_it_is_used(open_page, address):
    asked = []
    page = open_page(f"{address}/{CHAPTER}", before=lambda page: page.on("request", lambda r: asked.append(r.url.rpartition("/")[2].partition("?")[0])))
    page.wait_for_load_state("networkidle")
    assert "load.js" in asked and not {"companion.js", "v1_13.js", "course.js"} & set(asked)
    page.locator(".mlc-check summary").first.click()
    page.locator(".mlc-question").first.wait_for()
    assert {"companion.js", "v1_13.js"} <= set(asked) and "passages.js" not in asked


def test_every_numbered_section_ends_with_its_questions(chapter, data):
    page = chapter()
    numbered = page.evaluate("""() => [...document.querySelectorAll('article h2')].filter(h => /^\\d+\\. /.test(h.textContent)).map(h => h.parentElement.id)""")
    shown = page.evaluate("() => [...document.querySelectorAll('.mlc-check')].map(d => d.dataset.section)")
    assert len(numbered) > 8 and set(numbered) <= set(shown) and len(shown) == len(set(shown))
    assert all(page.evaluate("() => [...document.querySelectorAll('.mlc-check')].map(d => d.parentElement.id === d.dataset.section)"))


def test_an_answer_gets_its_own_feedback_and_is_remembered(chapter, data):
    page = chapter()
    found, form = question(page, data, "choice")
    wrong = choose(form, found, False)
    form.get_by_role("button", name="Check").click()
    expect(form.locator(".mlc-feedback")).to_contain_text("Not this one")
    expect(form.locator(".mlc-no .mlc-why")).to_be_visible()
    assert wrong["why"].split("<")[0][:40] in form.locator(".mlc-no .mlc-why").inner_text()
    expect(form.locator(".mlc-feedback")).to_contain_text("one of your cards")
    form.screenshot(path=SHOTS / "wrong.png")
    choose(form, found, True)
    expect(form.locator(".mlc-feedback")).to_be_empty()
    form.get_by_role("button", name="Check").click()
    expect(form.locator(".mlc-feedback")).to_contain_text("Right.")
    assert [a["right"] for a in state(page)["answers"][found["id"]]] == [False, True]
    page.reload()
    _, form = question(page, data, "choice")
    expect(form.locator(".mlc-feedback")).to_contain_text("Right.")
    expect(form.locator("input:checked")).to_have_count(1)
    expect(page.locator(f".mlc-check[data-section='{found['section']}'] .mlc-standing")).to_contain_text("1 of")
    tab(page, "Cards")
    expect(page.locator(".mlc-front")).to_contain_text(form.locator(".mlc-ask").inner_text()[:30])


def test_a_number_is_typed_by_keyboard_in_any_unit_and_a_mistake_is_explained(chapter, data):
    page = chapter()
    found, form = question(page, data, "number")
    field = form.locator("input[type=text]")
    field.fill(str(found["mistakes"][0]["value"]))
    field.press("Enter")
    expect(form.locator(".mlc-feedback")).to_contain_text("Not yet")
    assert found["mistakes"][0]["why"].split("<")[0][:40] in form.locator(".mlc-feedback").inner_text()
    field.fill("no idea")
    field.press("Enter")
    expect(form.locator(".mlc-feedback")).to_contain_text("Type a number")
    field.fill(f"{found['value']!r} {found['unit']}")
    field.press("Enter")
    expect(form.locator(".mlc-feedback")).to_contain_text("Right.")
    assert [a["right"] for a in state(page)["answers"][found["id"]]] == [False, True], "what is no number is no attempt"
    assert form.locator(".mlc-feedback").get_attribute("aria-live") == "polite"


def test_a_card_rated_good_is_due_tomorrow_and_undo_takes_it_back(chapter, data):
    page = chapter()
    tab(page, "Cards")
    front = page.locator(".mlc-front")
    first = front.inner_text()
    front.focus()
    page.keyboard.press(" ")
    expect(page.locator(".mlc-ratings button")).to_have_text(["Again 10 min", "Hard 12 h", "Good 1 day", "Easy 8 days"])
    page.screenshot(path=SHOTS / "card.png")
    page.keyboard.press("3")
    expect(page.locator(".mlc-live")).to_have_text("Good: due tomorrow.")
    expect(front).not_to_have_text(first)
    expect(front).to_be_focused()
    page.keyboard.press("u")
    expect(front).to_have_text(first)
    assert state(page)["reviews"] == {}
    page.keyboard.press("Enter")
    page.keyboard.press("3")
    expect(front).not_to_have_text(first)
    page.clock.set_system_time(datetime(2027, 1, 25, 23, 50))
    page.reload()
    tab(page, "Cards")
    expect(page.locator(".mlc-deck .mlc-note").first).to_contain_text("0 due")
    page.clock.set_system_time(datetime(2027, 1, 26, 0, 10))
    page.reload()
    tab(page, "Cards")
    expect(page.locator(".mlc-deck .mlc-note").first).to_contain_text("1 due")
    expect(front).to_have_text(first)


def test_progress_goes_out_is_deleted_and_comes_in_again(chapter, data, tmp_path):
    page = chapter()
    found, form = question(page, data, "choice")
    choose(form, found, True)
    form.get_by_role("button", name="Check").click()
    expect(form.locator(".mlc-feedback")).to_contain_text("Right.")
    before = state(page)
    tab(page, "Data")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "progress.json"
    download.value.save_as(file)
    assert json.loads(file.read_text()) == before
    page.get_by_role("button", name="Delete my progress").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("#mlc-panel [role=status]")).to_contain_text("Deleted")
    assert state(page) is None
    page.locator("#mlc-file").set_input_files(file)
    expect(page.locator("#mlc-panel [role=status]")).to_contain_text("1 answer")
    assert state(page) == before
    file.write_text("{")
    page.locator("#mlc-file").set_input_files(file)
    expect(page.locator("#mlc-panel [role=status]")).to_contain_text("not JSON")
    assert state(page) == before


def test_two_tabs_see_each_other(chapter, data):
    page = chapter()
    other = page.context.new_page()
    other.goto(page.url)
    tab(other, "Progress")
    found, form = question(page, data, "choice")
    choose(form, found, True)
    form.get_by_role("button", name="Check").click()
    expect(other.locator(f".mlc-check[data-section='{found['section']}'] .mlc-standing")).to_contain_text("1 right")


def bare(site, page):
    """Serve companion/bare.html: what the dashboard's page has of the companion, without the theme, under a strict policy."""
    whole = (site / "companion/index.html").read_text(encoding="utf-8")
    info = whole[whole.index('<script type="application/json" id="mlsys-companion">'):]
    info = info[:info.index("</script>") + 9]
    html = f"""<!DOCTYPE html><html lang="en" data-theme="light"><head><title>t</title><meta http-equiv="Content-Security-Policy" content="{CSP}">{info}
      <link rel="icon" href="data:,"><link rel="stylesheet" href="../_static/companion/companion.css"></head>
      <body><article><div id="mlsys-companion-dashboard"></div></article><script src="../_static/companion/load.js"></script></body></html>"""
    page.route("**/companion/bare.html", lambda route: route.fulfill(body=html, content_type="text/html"))


def test_a_browser_that_keeps_nothing_says_so(site, open_page, address):
    def without(page):
        bare(site, page)
        page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})")

    page = open_page(f"{address}/companion/bare.html", before=without)
    expect(page.locator("#mlsys-companion-dashboard .mlc-problem")).to_contain_text("keeps nothing")


def test_the_dashboard_counts_what_was_done_beside_every_chart(open_page, address, data):
    asked = [q["id"] for q in data["questions"]]
    made = {"version": 1, "settings": {},
            "answers": {asked[0]: [{"at": "2027-01-20T08:00:00.000Z", "given": [0], "right": False}], asked[1]: [{"at": "2027-01-20T08:00:00.000Z", "given": [0], "right": True}]},
            "reviews": {data["cards"][0]["id"]: [{"at": "2027-01-20T08:00:00.000Z", "day": "2027-01-20", "rating": 3}],
                        data["cards"][1]["id"]: [{"at": "2027-01-25T08:00:00.000Z", "day": "2027-01-25", "rating": 3}]}}

    def before(page):
        page.clock.install(time=NOW)
        page.add_init_script(f"localStorage.setItem('mlsys-companion', {json.dumps(json.dumps(made))})")

    page = open_page(f"{address}/companion/index.html", before=before)
    body = page.locator("#mlsys-companion-dashboard")
    expect(body.locator(".mlc-summary")).to_contain_text("You have answered 2 of")
    expect(body.locator(".mlc-summary")).to_contain_text("1 of them right at the first try. You have met 2 cards: 1 due now, 1 tomorrow.")
    row = body.locator("tr", has=page.locator("th", has_text="V1-13")).first
    expect(row).to_contain_text(f"2 of {len(asked)}")
    assert body.locator(".mlc-forecast").get_attribute("aria-label") == "Cards due a day: Mon, Jan 25: 1; Tue, Jan 26: 1"
    expect(body).to_contain_text("In words: Mon, Jan 25: 1; Tue, Jan 26: 1.")
    node = body.locator(".mlc-node[aria-label^='V1-13']")
    assert node.get_attribute("aria-label") == "V1-13 Model Serving: begun, 1 card due"
    node.focus()
    page.keyboard.press("Enter")
    expect(body.locator(".mlc-terms dt", has_text="goodput")).to_be_visible()
    assert body.locator("details li").count() == 33
    page.screenshot(path=SHOTS / "dashboard.png", full_page=True)


def test_the_companion_needs_no_more_than_the_sites_own_files(site, open_page, address):
    """Under a policy without inline scripts, styles or connections."""
    page = open_page(f"{address}/companion/bare.html", before=lambda page: bare(site, page))
    expect(page.locator(".mlc-summary")).to_be_visible()
    tab(page, "Cards")
    page.locator("#mlc-deck").select_option("V1-13")
    expect(page.locator(".mlc-front")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(theme, chapter, open_page, address, data):
    source = (Path(VENDOR) / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def violations(page, *places):
        page.wait_for_timeout(300)
        page.evaluate(source)
        options = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if theme == "dark" else {})     # all else is alike
        found = page.evaluate("([places, options]) => axe.run({include: places}, options)", [[[p] for p in places], options])
        return [(v["id"], v["impact"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found["violations"] if v["impact"] in ("serious", "critical")]

    page = chapter(color_scheme=theme)
    found, form = question(page, data, "many")
    choose(form, found, False)
    form.get_by_role("button", name="Check").click()
    # axe reads all of a page whatever it is asked about, and this chapter has 16,000 elements: sections without the question go.
    page.evaluate("""kept => document.querySelectorAll('article section').forEach(s => s.contains(kept) || kept.contains(s) || s.remove())""",
                  form.locator("xpath=ancestor::section[1]").element_handle())
    for name in ("Quiz", "Cards", "Progress", "Data"):
        tab(page, name)
        if name == "Cards":
            page.locator(".mlc-front").focus()
            page.keyboard.press(" ")
        page.screenshot(path=SHOTS / f"{name.lower()}_{theme}.png")
        assert violations(page, "#mlc-panel", *([".mlc-check", ".mlc-open"] if name == "Quiz" else [])) == [], name
    page.keyboard.press("Escape")
    expect(page.locator("#mlc-panel")).to_be_hidden()
    expect(page.locator(".mlc-open")).to_have_attribute("aria-expanded", "false")
    page.goto(f"{address}/companion/index.html")
    page.locator(".mlc-summary").wait_for()
    assert violations(page, "article") == []
    page.screenshot(path=SHOTS / f"dashboard_{theme}.png", full_page=True)


def test_on_a_phone_the_panel_fills_the_screen_and_nothing_is_wider(chapter, data, address):
    page = chapter(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    found, form = question(page, data, "many")
    choose(form, found, True)
    form.get_by_role("button", name="Check").click()
    form.screenshot(path=SHOTS / "phone_question.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tab(page, "Cards")
    page.locator(".mlc-deck").get_by_role("button", name="Show the answer").click()
    page.screenshot(path=SHOTS / "phone_card.png")
    box = page.locator("#mlc-panel").bounding_box()
    assert (box["x"], box["width"]) == (0, 390)
    page.goto(f"{address}/companion/index.html")
    page.locator(".mlc-summary").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=SHOTS / "phone_dashboard.png", full_page=True)
