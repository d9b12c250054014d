"""Ask the book, highlight and a reader's own endpoint in a real browser: what is found, what is sent, what is shown and how it is reached.

The endpoint is a fake, book/companion/test/fake_endpoint.js. Every page stays on this machine. Screenshots: build/artefacts/companion/.
"""

import json
import re
import subprocess

import pytest
import yaml
from playwright import sync_api as playwright

from tests.browsing import patient

from .conftest import ROOT, VENDOR

SHOTS = ROOT / "build" / "artefacts" / "companion"
CHAPTER = "vol1/13_model_serving.html"
FAKE = ROOT / "book" / "companion" / "test" / "fake_endpoint.js"
QUESTIONS = yaml.safe_load((ROOT / "tests" / "companion" / "questions.yml").read_text(encoding="utf-8"))

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.node]


@pytest.fixture(scope="module")
def endpoint():
    process = subprocess.Popen(["node", FAKE], stdout=subprocess.PIPE, text=True)
    yield json.loads(process.stdout.readline())
    process.terminate()
    process.wait()


@pytest.fixture
def open_page(browser, address):
    """open_page(path, **context) -> a page of the site; what it asked for is in page.asked, what it logged in page.logged.

    A browser logs an endpoint's refusals as errors, so that they cannot fail a test here.
    """
    SHOTS.mkdir(parents=True, exist_ok=True)
    contexts, strangers = [], []

    def open_(path=CHAPTER, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options))
        contexts.append(context)
        patient(context)

        def gate(route):
            local = re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:)", route.request.url)
            strangers.extend([] if local else [route.request.url])
            route.continue_() if local else route.abort()

        context.route("**/*", gate)
        page = context.new_page()
        page.asked, page.logged = [], []
        page.on("request", lambda r: page.asked.append(r.url))
        page.on("console", lambda m: page.logged.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.logged.append(str(e)))
        page.goto(f"{address}/{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert strangers == []


def ask(page, question):
    """Type a question into the companion -> its answer's element."""
    if not page.locator("#mlc-question").count():
        page.locator(".mlc-open").click()
        page.get_by_role("tab", name="Ask").click()
    page.locator("#mlc-question").fill(question)
    page.locator("#mlc-question").press("Enter")
    answer = page.locator(".mlc-passages, .mlc-refused").first
    answer.wait_for()                       # the index may still be on its way, and count() does not wait
    return answer


def configure(page, url, model, key, remember=False):
    page.locator(".mlc-settings summary").click()
    page.locator("#mlc-url").fill(url)
    page.locator("#mlc-model").fill(model)
    page.locator("#mlc-key").fill(key)
    if remember:
        page.locator("#mlc-remember").check()
    page.get_by_role("button", name="Use it").click()


def written(page):
    """The model's whole answer, when it is there."""
    page.locator(".mlc-model[aria-busy=false]").wait_for()
    return page.locator(".mlc-model")


def highlight(page, words):
    """Select these words of the chapter, as a drag would."""
    page.evaluate("""words => { const walk = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) { const at = walk.currentNode.data.indexOf(words); if (at < 0) continue;
          walk.currentNode.parentElement.scrollIntoView({block: 'center'});
          const range = document.createRange(); range.setStart(walk.currentNode, at); range.setEnd(walk.currentNode, at + words.length);
          getSelection().removeAllRanges(); getSelection().addRange(range); return; }
        throw new Error('not on this page: ' + words); }""", words)
    page.locator(".mlc-toolbar").wait_for()
    return page.locator(".mlc-toolbar")


def serious(page, scope):
    """What axe-core finds wrong in a part of the page, the serious things only."""
    page.evaluate((VENDOR / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("scope => axe.run(scope).then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact)).map(v => v.id + ': ' + v.nodes[0].html))", scope)
    return found


def test_twenty_questions_find_their_section_and_five_are_refused(open_page):
    page = open_page("index.html")
    right, refused = [], []
    for case in QUESTIONS["answered"]:
        answer = ask(page, case["ask"])
        link = answer.locator("a").first
        if link.count() and "mlc-passages" in answer.get_attribute("class"):
            href = link.get_attribute("href").removeprefix("./")
            place = re.sub(r"^(?:vol\d/\d\d_)?(.+)\.html#", r"\1#", href)
            right.append(place in case["right"])
    for question in QUESTIONS["refused"]:
        refused.append("does not answer" in ask(page, question).inner_text())
    assert sum(right) >= 18 and len(refused) == 5 and all(refused), (right, refused)
    assert page.logged == [] and sum("passages.js" in url for url in page.asked) == 1


def test_the_index_is_loaded_when_it_is_needed_and_a_citation_leads_to_its_section(open_page):
    page = open_page("index.html")
    assert not [url for url in page.asked if "passages.js" in url]
    answer = ask(page, "Why is a server at 95% load so much worse than one at 50%?")
    assert answer.locator("li").count() in (1, 2, 3)
    assert re.search(r"\d", answer.locator("blockquote").first.inner_text()), "the number that the reader sees"
    page.screenshot(path=SHOTS / "ask.png")
    assert serious(page, "#mlc-panel") == []
    answer.locator("a").first.click()
    page.wait_for_url(f"**/{CHAPTER}#how-busy-is-too-busy")
    playwright.expect(page.locator("#how-busy-is-too-busy h3")).to_be_in_viewport()


def test_highlighted_text_is_explained_from_the_keyboard(open_page):
    page = open_page()
    bar = highlight(page, "Chunked prefill")
    page.screenshot(path=SHOTS / "toolbar.png")
    page.keyboard.press("Tab")
    playwright.expect(bar.get_by_role("button", name="Explain")).to_be_focused()
    page.keyboard.press("ArrowRight")
    playwright.expect(bar.get_by_role("button", name="Quiz me")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    panel = page.locator("#mlc-panel")
    panel.locator(".mlc-passages li").first.wait_for()
    assert "Prompts in pieces" in panel.locator(".mlc-defined").inner_text()
    playwright.expect(panel.get_by_role("tab", name="Ask")).to_be_focused()
    page.screenshot(path=SHOTS / "explain.png")
    page.keyboard.press("Escape")
    playwright.expect(panel).to_be_hidden()
    assert page.logged == []


@pytest.mark.parametrize("name, options", [("dark", {"color_scheme": "dark"}),
                                           ("phone", {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True})])  # fmt: skip
def test_in_the_dark_and_on_a_phone_nothing_is_lost(open_page, name, options):
    page = open_page("glossary.html", **options)
    bar = highlight(page, "Optimizer state, gradients and weights divided among replicas")
    page.screenshot(path=SHOTS / f"toolbar_{name}.png")
    box = bar.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page, ".mlc-toolbar") == []
    bar.get_by_role("button", name="Explain").click()
    page.locator("#mlc-panel .mlc-passages li").first.wait_for()
    page.screenshot(path=SHOTS / f"explain_{name}.png")
    assert serious(page, "#mlc-panel") == [] and page.logged == []


def test_questions_that_cannot_be_loaded_are_not_said_to_be_none(open_page):
    page = open_page()
    page.route("**/v1_13.js*", lambda route: route.abort())
    highlight(page, "draw a bar for each request").get_by_role("button", name="Quiz me").click()
    page.locator("#mlc-panel").get_by_text("This cannot be shown").wait_for()
    assert "no questions" not in page.locator("#mlc-panel").inner_text()


def test_highlighted_text_asks_its_questions_and_says_where_next(open_page):
    page = open_page()
    highlight(page, "draw a bar for each request").get_by_role("button", name="Quiz me").click()
    asked = page.locator("#mlc-panel .mlc-question")
    asked.first.wait_for()
    assert 1 <= asked.count() <= 3 and "inside" in " ".join(asked.all_inner_texts())
    page.screenshot(path=SHOTS / "quiz_me.png")
    highlight(page, "The cure is").get_by_role("button", name="Where next").click()
    panel = page.locator("#mlc-panel")
    panel.get_by_text("With this chapter:").wait_for()
    text = panel.inner_text()
    assert "Lab V1-13" in text and "TinyTorch 18" in text and "drills/serving" in text and "V1-14 ML Operations" in text
    page.screenshot(path=SHOTS / "where_next.png")
    bar = highlight(page, "Llama 3.1 8B has 32 layers")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    playwright.expect(bar).to_be_hidden()
    assert page.logged == []


def test_a_model_of_ones_own_is_off_then_cites_what_it_was_sent(open_page, endpoint):
    page = open_page("index.html")
    ask(page, "Why is a server at 95% load so much worse than one at 50%?").wait_for()
    assert page.get_by_role("button", name="Ask good").count() == 0 and not [url for url in page.asked if endpoint["open"] in url]
    configure(page, endpoint["open"], "good", endpoint["key"])
    page.get_by_role("button", name="Ask good").click()
    answer = written(page)
    assert answer.locator(".mlc-written").inner_text() == "Waiting grows with one over the spare capacity [P1]. Pooling helps [P2][P1]."
    assert answer.locator("a").first.get_attribute("href").endswith("13_model_serving.html#how-busy-is-too-busy")
    assert answer.locator(".mlc-problem, .mlc-unverified").count() == 0
    page.screenshot(path=SHOTS / "endpoint.png")
    assert serious(page, "#mlc-panel") == []
    stored = page.evaluate("[JSON.stringify(localStorage), sessionStorage.getItem('mlsys-companion-key')]")
    assert endpoint["key"] not in stored[0] and endpoint["key"] in stored[1], "the key is in this tab only"
    page.evaluate("""url => { const state = JSON.parse(localStorage.getItem('mlsys-companion')); state.settings.endpoint.url = url;
        localStorage.setItem('mlsys-companion', JSON.stringify(state)); }""", endpoint["shut"])      # as an import may
    page.reload()
    ask(page, "What is chunked prefill for?").wait_for()
    assert page.locator("#mlc-key").input_value() == "", "and belongs to the address that it was entered for"
    page.locator(".mlc-settings summary").click()
    page.get_by_role("button", name="Forget it").click()
    assert endpoint["key"] not in page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
    playwright.expect(page.locator(".mlc-settings summary")).to_have_text("Your own model (off)")


def test_what_a_model_cannot_show_is_marked(open_page, endpoint):
    page = open_page("index.html")
    ask(page, "What is chunked prefill for?").wait_for()
    for model, key, words in [("unknown", None, "P9: no passage of that name was sent"), ("uncited", None, "cites none of the passages"),
                              ("good", "wrong", "does not accept this key (401)"), ("cut", None, "broke off"),
                              ("nothing", None, "no model nothing (404)"), ("page", None, "not in the OpenAI format")]:  # fmt: skip
        configure(page, endpoint["open"], model, key or endpoint["key"], remember=True)
        assert json.loads(page.evaluate("localStorage.getItem('mlsys-companion-key')"))["key"] == (key or endpoint["key"])
        page.get_by_role("button", name=f"Ask {model}").click()
        playwright.expect(written(page).locator(".mlc-problem")).to_contain_text(words)
        assert page.locator(".mlc-unverified").count() == (model == "unknown")
        if model == "unknown":
            page.screenshot(path=SHOTS / "unverified.png")


def test_a_model_that_writes_markup_changes_nothing_and_one_that_never_ends_is_stopped(open_page, endpoint):
    page = open_page("index.html")
    title = page.title()
    ask(page, "What is chunked prefill for?").wait_for()
    configure(page, endpoint["open"], "script", endpoint["key"])
    page.get_by_role("button", name="Ask script").click()
    answer = written(page)
    assert "<img src=x onerror" in answer.inner_text() and answer.locator("img, script").count() == 0 and page.title() == title
    page.locator(".mlc-settings summary").click()
    page.locator("#mlc-model").fill("endless")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Ask endless").click()
    playwright.expect(page.locator(".mlc-written")).to_contain_text("and on and on")
    page.get_by_role("button", name="Stop").click()
    assert "Stopped." in written(page).inner_text()
    assert page.locator(".mlc-problem:visible").count() == 0


def test_an_endpoint_that_does_not_allow_this_page_is_explained(open_page, endpoint):
    page = open_page("index.html")
    ask(page, "What is chunked prefill for?").wait_for()
    configure(page, "http://models.example.org/v1", "good", endpoint["key"])
    playwright.expect(page.locator(".mlc-settings [role=status]")).to_contain_text("unencrypted")
    page.locator("#mlc-url").fill(endpoint["shut"])
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Ask good").click()
    playwright.expect(written(page).locator(".mlc-problem")).to_contain_text("CORS")
