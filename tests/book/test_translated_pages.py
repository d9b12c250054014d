"""Translated pages in a real browser: there and back by the list of languages, search, a phone. Nothing leaves this server."""

import re
from pathlib import Path

import pytest
from playwright import sync_api as playwright

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "artefacts" / "book"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def shots():
    SHOTS.mkdir(parents=True, exist_ok=True)


def typeset(page):
    page.evaluate("() => window.MathJax ? MathJax.startup.promise.then(() => null) : null")


INTRODUCTION = "vol1/01_introduction.html"
KANA = "[...document.querySelector('article').innerText].filter(c => c >= '\u3040' && c <= '\u30ff').length"


def test_the_list_of_languages_leads_to_the_same_page_and_back(open_page, address):
    page = open_page(f"{address}/{INTRODUCTION}")
    assert page.evaluate("document.documentElement.lang") == "en" and page.evaluate(KANA) == 0
    page.locator(".mls-languages summary").focus()
    page.keyboard.press("Enter")
    names = page.locator(".mls-languages a")
    assert names.all_inner_texts() == ["English", "\u4e2d\u6587", "\u65e5\u672c\u8a9e", "\ud55c\uad6d\uc5b4"]
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ja/{INTRODUCTION}")
    typeset(page)
    assert page.evaluate("document.documentElement.lang") == "ja" and page.evaluate(KANA) > 2000
    assert page.locator("mjx-container").count() > 0 and page.locator("figure.mls-figure svg").count() >= 6
    page.screenshot(path=SHOTS / "chapter_ja.png", full_page=True)
    slider = page.locator(".mls-live input[type=range]").first
    before = page.locator(".mls-live .mls-say").first.inner_text()
    slider.press("ArrowLeft")
    playwright.expect(page.locator(".mls-live .mls-say").first).not_to_have_text(before)
    assert re.search("[\u3040-\u30ff]", page.locator(".mls-live .mls-say").first.inner_text()), "it goes on in Japanese"
    page.locator(".mls-languages summary").click()
    page.locator(".mls-languages a", has_text="English").click()
    page.wait_for_url(f"{address}/{INTRODUCTION}")
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_companion_speaks_the_language_of_the_page_and_marks_what_is_english(open_page, address):
    page = open_page(f"{address}/ja/{INTRODUCTION}")
    opener = page.locator(".mlc-open")
    assert re.search("[\u3040-\u9fff]", opener.inner_text()), "its button"
    assert not re.search("[A-Za-z]", page.locator(".mlc-check summary").first.inner_text())
    page.locator(".mlc-check summary").first.click()
    form = page.locator(".mlc-check form").first
    form.wait_for()
    assert form.locator(".mlc-ask > [lang=ja]").count() == 1 and form.locator(".mlc-ask").get_attribute("lang") is None
    assert not re.search("[A-Za-z]", form.locator(".mlc-number").inner_text())
    assert re.search("[\u3040-\u30ff]", form.locator(".mlc-choice").first.inner_text()), "questions of a translated chapter are in its language"
    form.locator("button[type=submit]").click()
    assert re.search("[\u3040-\u30ff]", form.locator(".mlc-feedback").inner_text())
    opener.click()
    tabs = page.locator(".mlc-tabs [role=tab]")
    assert tabs.count() == 5 and not re.search("[A-Za-z]", " ".join(tabs.all_inner_texts()))
    page.screenshot(path=SHOTS / "companion_ja.png")


def test_search_finds_japanese_words_in_a_text_without_spaces(open_page, address):
    page = open_page(f"{address}/ja/{INTRODUCTION}")
    word = page.locator("article h2").first.inner_text().strip("# \n\u00b6")
    word = re.search(r"[\u3040-\u9fff]{3,}", word)[0][:4]
    page.goto(f"{address}/ja/search.html?q={word}")
    page.locator("#search-results li a[href*='01_introduction']").first.wait_for()
    page.screenshot(path=SHOTS / "search_ja.png")


@pytest.mark.parametrize("name", ["index.html", INTRODUCTION])
def test_a_translated_page_fits_a_phone_and_names_its_list_of_languages(name, open_page, address):
    page = open_page(f"{address}/ja/{name}", viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, is_mobile=True)
    typeset(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=SHOTS / f"phone_ja_{Path(name).stem}.png")
    names = page.locator(".mls-languages summary").get_attribute("aria-label")
    assert names.endswith(": 日本語") and not re.search("[A-Za-z]", names)
