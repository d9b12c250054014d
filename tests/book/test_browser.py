"""The site in a real browser: home, a chapter, dark mode, search, a live figure by keyboard, a phone, below a path, on paper.

Every page here must stay on its own server, find every file, and log no error. Screenshots: build/artefacts/book/.
"""

import json
import urllib.request
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from mlsysbook.book.serve import background

SHOTS = Path(__file__).parents[2] / "build" / "artefacts" / "book"
CHAPTER = "vol1/13_model_serving.html"
TERM = "Little's law"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def shots():
    SHOTS.mkdir(parents=True, exist_ok=True)


def typeset(page):
    page.evaluate("() => window.MathJax ? MathJax.startup.promise.then(() => null) : null")


# Every visible text, with the colours that it is painted with; what is painted over something see-through is skipped.
CONTRAST = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return {rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1}; };
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const under = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c.rgb;
    if (c.a > 0) return null; } return document.documentElement.dataset.theme === 'dark' ? [18, 18, 18] : [255, 255, 255]; };
  const poor = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || e.closest('script, style, noscript, mjx-assistive-mml, .visually-hidden, .sr-only, [aria-hidden=true], svg')) continue;
    if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const s = getComputedStyle(e), fg = parse(s.color), bg = under(e);
    if (!bg || fg.a < 1) continue;
    seen += 1;
    const [a, b] = [light(fg.rgb), light(bg)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(s.fontSize), large = size >= 24 || (size >= 18.66 && parseInt(s.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${s.color} on ${bg} ${e.tagName}.${e.className}: ${text.slice(0, 40)}`);
  }
  return {seen, poor: [...new Set(poor)]};
}"""

# What has no name for someone who does not see it, and headings that skip a level.
NAMELESS = """() => {
  const bad = [], name = e => (e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.getAttribute('title') ||
    e.textContent || e.querySelector('img[alt]')?.alt || '').trim();
  for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) bad.push('no alt: ' + e.src);
  for (const e of document.querySelectorAll('article figure svg, article svg[role=img]'))
    if (!e.getAttribute('aria-label') && !e.querySelector('title')) bad.push('svg without a text: ' + e.outerHTML.slice(0, 80));
  for (const e of document.querySelectorAll('a[href], button')) if (e.checkVisibility() && !name(e)) bad.push('no name: ' + e.outerHTML.slice(0, 120));
  for (const e of document.querySelectorAll('article input:not([type=hidden]), article select'))
    if (!e.labels?.length && !e.getAttribute('aria-label')) bad.push('no label: ' + e.outerHTML.slice(0, 120));
  let last = 0;
  for (const h of document.querySelectorAll('article h1, article h2, article h3, article h4')) {
    const level = +h.tagName[1];
    if (level > last + 1) bad.push(`h${last} is followed by h${level}: ${h.innerText}`);
    last = level;
  }
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id), twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  if (twice.length) bad.push('id given twice: ' + [...new Set(twice)]);
  if (!document.documentElement.lang) bad.push('no language');
  return bad;
}"""


def test_home_shows_the_loop_and_leads_into_every_path(open_page, address):
    page = open_page(f"{address}/index.html")
    page.screenshot(path=SHOTS / "home.png", full_page=True)
    steps = page.locator(".loop > ol > li > p > strong:first-child, .loop > ol > li > strong:first-child")
    assert steps.all_inner_texts() == ["Read", "Explore", "Build", "Model", "Deploy", "Practise", "Teach"]
    assert page.locator(".search-button-field:visible, .search-button:visible, input[type=search]:visible").count() == 1, "one search box"
    assert "CC BY 4.0" in page.locator(".bd-footer-content").inner_text()
    for name in ("student", "self_learner", "instructor", "contributor"):
        page.goto(f"{address}/index.html")
        page.locator(".sd-card", has=page.locator(f"a[href$='paths/{name}.html']")).click()
        playwright.expect(page.locator("article h1")).to_be_visible()
        assert page.url.endswith(f"/paths/{name}.html")


def test_a_chapter_has_its_formulas_figures_and_notebook(open_page, address):
    page = open_page(f"{address}/{CHAPTER}")
    typeset(page)
    page.screenshot(path=SHOTS / "chapter.png", full_page=True)
    assert page.locator("mjx-container").count() > 0 and page.locator("mjx-merror, mjx-mtext[style*=red]").count() == 0
    assert page.locator("figure.mls-figure svg").count() >= 6
    # A computed number is part of a sentence, not a name of one.
    assert page.locator("article .pasted-text").count() > 20
    link = page.locator("a.btn-download-notebook-button, a[href*='notebooks/']").first.get_attribute("href")
    with urllib.request.urlopen(f"{address}/{CHAPTER.rpartition('/')[0]}/{link}", timeout=20) as reply:
        assert json.load(reply)["nbformat"] == 4
    assert page.locator("a[href*='git-pull']").count() == 0, "no hub is configured"


def test_dark_mode_is_a_button_away_and_stays(open_page, address):
    page = open_page(f"{address}/{CHAPTER}", color_scheme="light")
    html, button = page.locator("html"), page.locator("button.theme-switch-button:visible").first
    while html.get_attribute("data-mode") != "dark":
        before = html.get_attribute("data-mode")
        button.click()
        assert html.get_attribute("data-mode") != before
    page.goto(f"{address}/index.html")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.screenshot(path=SHOTS / "home_dark.png", full_page=True)
    page.goto(f"{address}/{CHAPTER}")
    typeset(page)
    page.screenshot(path=SHOTS / "chapter_dark.png", full_page=True)


def test_search_finds_a_term_from_the_keyboard(open_page, address):
    page = open_page(f"{address}/index.html")
    page.keyboard.press("Control+k")
    box = page.locator("input[type=search]:visible")
    playwright.expect(box).to_be_focused()
    box.fill(TERM)
    box.press("Enter")
    page.locator(f"#search-results li a[href*='{CHAPTER.rpartition('/')[2]}']").first.wait_for()     # hits come one by one
    page.screenshot(path=SHOTS / "search.png")


def test_a_live_figure_moves_by_keyboard_and_says_so(open_page, address):
    page = open_page(f"{address}/{CHAPTER}")
    figure = page.locator(".mls-live").first
    slider = figure.locator("input[type=range]").first
    slider.focus()
    before = figure.locator(".mls-say").inner_text(), figure.locator("svg").inner_html(), slider.get_attribute("aria-valuetext")
    for _ in range(2):
        slider.press("ArrowRight")
    playwright.expect(figure.locator(".mls-say")).not_to_have_text(before[0])
    assert figure.locator("svg").inner_html() != before[1] and slider.get_attribute("aria-valuetext") != before[2]
    assert figure.locator("[aria-live]").count() == 1
    figure.screenshot(path=SHOTS / "live.png")


def test_a_page_without_scripts_still_has_its_text_and_pictures(open_page, address):
    page = open_page(f"{address}/{CHAPTER}", java_script_enabled=False)
    playwright.expect(page.locator(".mls-live svg").first).to_be_visible()
    playwright.expect(page.locator(".mls-live .mls-say").first).to_be_visible()
    playwright.expect(page.locator(".mls-controls").first).to_be_hidden()


@pytest.mark.parametrize("name", ["index.html", CHAPTER, "paths/instructor.html", "map.html"])
def test_nothing_is_wider_than_a_phone(name, open_page, address):
    page = open_page(f"{address}/{name}", viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, is_mobile=True)
    typeset(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=SHOTS / f"phone_{Path(name).stem}.png", full_page=True)
    if name == "index.html":
        page.locator("button.primary-toggle:visible, label.primary-toggle:visible").first.click()
        playwright.expect(page.locator(".bd-sidebar-primary a", has_text="Student").first).to_be_in_viewport()
        page.screenshot(path=SHOTS / "phone_menu.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", CHAPTER, "paths/self_learner.html", "map.html"])
def test_text_can_be_read_and_everything_has_a_name(name, theme, open_page, address):
    page = open_page(f"{address}/{name}", color_scheme=theme)
    typeset(page)
    page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(300)          # colours that fade in
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 20 and found["poor"] == []
    assert page.evaluate(NAMELESS) == []


def test_the_keyboard_reaches_the_text_first_and_shows_where_it_is(open_page, address):
    page = open_page(f"{address}/{CHAPTER}")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.innerText + ' ' + document.activeElement.hash")
    assert "skip" in focused.lower() and "#main-content" in focused
    page.keyboard.press("Enter")
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("""() => { const e = document.activeElement, s = getComputedStyle(e);
            return `${s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2} ${e.outerHTML.slice(0, 90)}`; }"""))
    assert len(seen) > 3 and all(s.startswith("true") for s in seen), seen


def test_the_site_works_below_a_path(open_page, site, tmp_path):
    (tmp_path / "term" / "2026").mkdir(parents=True)
    (tmp_path / "term" / "2026" / "book").symlink_to(site)
    with background(tmp_path) as at:
        page = open_page(f"{at}/term/2026/book/{CHAPTER}")
        typeset(page)
        page.goto(f"{at}/term/2026/book/search.html?q=queue")
        page.locator("#search-results li a").first.click()
        page.wait_for_url("**/term/2026/book/vol*/*.html*")
        playwright.expect(page.locator("article h1")).to_be_visible()


def test_paper_has_the_text_and_none_of_the_furniture(open_page, address):
    page = open_page(f"{address}/{CHAPTER}")
    typeset(page)
    page.emulate_media(media="print")
    page.screenshot(path=SHOTS / "print.png", full_page=True)
    for furniture in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", ".mls-controls", ".headerlink"):
        assert all(not e.is_visible() for e in page.locator(furniture).all()), furniture
    assert page.locator("h1:visible").count() == 1 and page.locator("figure.mls-figure svg").first.is_visible()
