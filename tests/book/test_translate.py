"""Translations: what is taken out of a page goes back into it, and what must be the same in every language is."""

import json
import re
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from lxml import html as parser

from mlsysbook import catalogue
from mlsysbook.book import languages, translate
from mlsysbook.companion import build

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(p.relative_to(ROOT / "book").with_suffix("").as_posix() for p in (ROOT / "book").glob("vol*/*.md"))
PAGE = """\
---
title: Not to be translated
---
(here)=
# A page

First line of
a paragraph with `code`, $x^2$ and {eq}`eq-a`.

$$ x = y $$ (eq-a)

1. **One**
   and a half
2. Two

| name | value |
|---|---|
| speed | `a` or b |

:::{admonition} A title
:class: note
Inside it.
:::

```{code-cell} python
:tags: [hide-input]
fig = draw("not this")
figure(fig, "a", alt=f"A curve that rises to {3:.1f} at the right.", caption="It rises "
       "without an end.")
number("n", 3, "million", low=1, high=4)
```
"""


def course_with(tmp_path, text=PAGE):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "page.md").write_text(text, encoding="utf-8")
    return SimpleNamespace(root=tmp_path)


def translated(course, said, name="page", language="ja"):
    path = translate.update(course, language, name)
    catalogue_ = translate.read(path, language)
    for m in catalogue_:
        if m.id in said:
            m.string = said[m.id]
            m.flags.discard("fuzzy")
    translate.write(path, language, catalogue_)
    return path


def test_a_page_gives_its_blocks_and_what_its_cells_say():
    wanted = ["A page", "First line of a paragraph with `code`, $x^2$ and {eq}`eq-a`.", "**One** and a half", "Two", "name", "value", "speed",
              "`a` or b", "A title", "Inside it."]  # fmt: skip
    assert [t for b in translate.blocks(PAGE) for t in b.texts] == wanted
    assert translate.drawn(PAGE) == [("alt", "A curve that rises to {1} at the right."), ("caption", "It rises without an end."),
                                     ("unit after a number", "million")]


def test_only_the_text_of_a_page_changes():
    text = translate.put_back(PAGE, {"A page": "頁", "**One** and a half": "**一**と半分", "speed": "速さ|度", "A title": "題"}, lambda t: f"<{t}>")
    assert "# 頁\n" in text and "1. **一**と半分\n2. <Two>" in text and "| 速さ\\|度 | <`a` or b> |" in text and ":::{admonition} 題\n:class: note" in text
    for kept in ("(here)=\n", "$$ x = y $$ (eq-a)", "title: Not to be translated", PAGE[PAGE.index("```{code-cell}"):]):
        assert kept in text


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_chapter_can_be_taken_apart_and_put_together(page):
    text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
    blocks = translate.blocks(text, page)
    back = translate.put_back(text, {}, lambda t: t)
    assert [b.texts for b in translate.blocks(back, page)] == [b.texts for b in blocks] and blocks
    assert re.findall(r"^```\{code-cell\}.*?^```", back, re.M | re.S) == re.findall(r"^```\{code-cell\}.*?^```", text, re.M | re.S)
    assert sorted(translate.flat(back)) == sorted(translate.flat(text)) or "|" in text      # spaces in tables may go


def test_a_directive_that_nobody_knows_stops_the_extraction():
    with pytest.raises(translate.TranslationError, match=r"page.md:3: directive \{riddle\}"):
        translate.blocks("a\n\n:::{riddle}\nb\n:::\n", "page.md")


@pytest.mark.parametrize("msgid, msgstr, wanted", [
    ("A `b` in {glue:text}`n` of $x$", "{glue:text}`n` の $x$ にある `b`", []),
    ("A `b`", "`c`", ["has 0 of `b`; the English has 1", "has 1 of `c`; the English has 0"]),
    ("{doc}`a map <map>`, [a](map)", "{doc}`地図 <map>`、[あ](map)", []),
    ("{doc}`a map <map>`", "{doc}`地図 <maps>`", ["has 0 of {doc}`map`; the English has 1", "has 1 of {doc}`maps`; the English has 0"]),
    ("**The end.** It", "**終わり。**それ", ["has 0 of **text**; the English has 1"]),          # a mark between 。 and a letter does not close
    ("**The end.** It", "**終わり**。それ", []),
    ("rises to {1}, {2}", "{2} から {1}", []),
    ("rises to {1}", "上がる", ["has 0 of {1}; the English has 1"]),
    ("20,000 of 96", "2万の 96", ["lacks the number 20,000"]),
    ("billion", "10 億", []), ("million USD", "100 万 USD | 0.01 億 USD", []), ("thousand", "千", []), ("trillion", "万亿", []),
    ("billion", "億", ["has '億', which is not billion; wants a factor and a unit of the language, such as '10 億'"]),
    ("million", "100 万 | 0.1 億", ["has '0.1 億', which is not million; wants a factor and a unit of the language, such as '100 万'"]),
    ("million", "many", ["has 'many', which is not million; wants a factor and a unit of the language, such as '100 万'"]),
    ("a", "１つ\n", ["has a line break; a translation is one line", "has full-width １; wants the plain characters"]),
])  # fmt: skip
def test_what_must_not_differ_between_languages(msgid, msgstr, wanted):
    assert translate.faults(msgid, msgstr) == wanted


def test_a_catalogue_is_the_same_bytes_without_dates_or_machines(tmp_path):
    course = course_with(tmp_path)
    path = translated(course, {"Two": "二"})
    first = path.read_bytes()
    assert translate.update(course, "ja", "page").read_bytes() == first
    assert not re.search(rb"Date|POT-|#: |20\d\d-|/tmp", first)


def test_a_change_of_the_english_marks_its_translation_and_too_much_of_it_fails(tmp_path):
    course = course_with(tmp_path)
    said = {t: "訳 " + t for t in translate.messages(course, "page").kinds}
    translated(course, said)
    state = translate.state(course, "ja", "page")
    assert state.translated == state.words and not state.stale
    page = tmp_path / "book" / "page.md"
    page.write_text(PAGE.replace("2. Two", "2. Three"), encoding="utf-8")
    assert 0 < translate.state(course, "ja", "page").changed <= 0.1 * state.words and not translate.state(course, "ja", "page").stale
    page.write_text(PAGE.replace("2. Two", "2. Two\n\nSomething else, at some length, that nobody has seen yet."), encoding="utf-8")
    assert translate.state(course, "ja", "page").stale
    translate.update(course, "ja", "page")
    assert translate.state(course, "ja", "page").stale, "a catalogue that was only updated has not been translated"
    assert "Something else, at some length, that nobody has seen yet." not in translate.strings(tmp_path, "ja", "page")


def test_what_cells_say_is_translated_by_its_template():
    fill = translate.Filler({"rises to {1} at {2}.": "{2} で {1} になる。", "million": "百万", "speed": "速さ"})
    assert fill("rises to 3.5 at the right.") == "the right で 3.5 になる。"
    assert fill("4.9\u00a0million") == "4.9\u00a0百万" and fill("speed") == "速さ" and fill("falls") is None


@pytest.mark.parametrize("number, unit, wanted", [
    ("24", "10 亿", "240 亿"), ("8.03", "10 亿", "80.3 亿"), ("600", "100 万 | 0.01 亿", "6 亿"), ("4.9", "100 万 | 0.01 亿", "490 万"),
    ("1,700", "10 億 | 0.001 兆", "1.7 兆"), ("\u2212250", "100 万 | 0.01 亿", "\u22122.5 亿"), ("0", "10 亿", "0 亿"), ("222", "千", "222 千"),
])  # fmt: skip
def test_a_unit_scales_its_number(number, unit, wanted):
    assert translate.scaled(number, unit) == wanted.replace(" ", "\u00a0")


def test_a_unit_stands_as_its_language_writes_it():
    known = {"billion": "10 億", "points": "%p", "years": "年"}
    assert [translate.Filler(known, "ja")(t) for t in ("24\u00a0billion", "1\u00a0points", "12\u00a0years")] == ["240億", "1\u00a0%p", "12年"]
    assert translate.Filler(known, "zh_CN")("24\u00a0billion") == "240\u00a0億"


def test_a_number_in_powers_of_ten_keeps_its_english_unit():
    assert translate.Filler({"billion": "10 亿"})("3\u00a0×\u00a010⁹\u00a0billion") is None
    assert translate.Filler({"million": "100 万"})("million") is None, "the unit of an answer field cannot scale what a reader types"


CLAUSES = """\
```{code-cell} python
def told(x, chip):
    last = f"up to {x[-1]} looks" if x.size else "no rate lasts"
    return f"{chip} is {last}."

live("a", model, say=told, alt="Curves: " + ", ".join(f"{k} {v:.0f} times" for k, v in grown.items()) + " to the right",
     caption="From " + " to ".join(f"{v} USD" for v in spent))
```
"""


def test_clauses_that_fill_a_sentence_are_messages_of_their_own():
    wanted = {"{1} is {2}.", "up to {1} looks", "no rate lasts", "Curves: {1} to the right", "{1} {2} times", "From {1}", "{1} to {2}", "{1} USD"}
    assert {text for _, text in translate.drawn(CLAUSES)} == wanted
    fill = translate.Filler({"{1} is {2}.": "{1}：{2}。", "up to {1} looks": "最大 {1} 回", "no rate lasts": "なし", "Curves: {1} to the right":
                             "右へ {1}", "{1} {2} times": "{1}が {2} 倍", "From {1}": "{1}", "{1} to {2}": "{1} から {2}", "{1} USD": "{1} ドル",
                             "memory width": "帯域", ", ": "、"})  # fmt: skip
    assert fill("nRF5340 is up to 96 looks.") == "nRF5340：最大 96 回。" and fill("nRF5340 is no rate lasts.") == "nRF5340：なし。"
    assert fill("Curves: memory width 3.5 times, H100 PCIe 12 times to the right") == "右へ 帯域が 3.5 倍、H100 PCIeが 12 倍"
    assert fill("From 1 USD to 20 USD to 300 USD") == "1 ドル から 20 ドル から 300 ドル"
    assert fill("time to first token") is None
    fill = translate.Filler({"Tasks: {1}.": "仕事：{1}。", "chat, a prompt of 4,096": "会話", "image": "画像", "{1} {2} ms and {3} mJ": "{1} {2} ms・{3} mJ"})
    assert fill("Tasks: image: 1, 2.5; chat, a prompt of 4,096: 88, 10, 1.") == "仕事：画像: 1, 2.5; 会話: 88, 10, 1。"
    assert fill("Tasks: image 3 ms and 4 mJ, H100 0.2 ms and 37 mJ.") == "仕事：画像 3 ms・4 mJ, H100 0.2 ms・37 mJ。"


def test_every_translation_has_the_same_code_maths_roles_links_and_numbers():
    names = [(language, name) for language in translate.LANGUAGES for name in translate.catalogues(ROOT, language)]
    assert {language for language, _ in names} == set(translate.LANGUAGES)
    assert [fault for language, name in names for fault in translate.check(ROOT, language, name)] == []
    assert [fault for language in translate.LANGUAGES for fault in translate.check_readme(ROOT, language)] == []


def test_no_translated_page_is_out_of_date():
    course = catalogue.load(ROOT)
    stale = [f"{s.language}/{s.name}: {s.changed} of {s.words} words" for language in translate.LANGUAGES
             for s in (translate.state(course, language, name) for name in translate.catalogues(ROOT, language)) if s.stale]
    assert stale == []


def test_a_readme_keeps_its_code_and_leads_to_the_other_languages(tmp_path):
    course = course_with(tmp_path)
    (tmp_path / "README.md").write_text("# Title\nA line.\n\n```sh\nmake all\n```\n\nAnother line.\n", encoding="utf-8")
    translated(course, {"A line.": "一行。"}, "README")
    text = translate.readme(tmp_path, "ja")
    assert "[English](README.md) · [中文](README.zh_CN.md) · 日本語 · [한국어](README.ko.md)" in text
    assert "一行。" in text and "[EN] Another line." in text and "```sh\nmake all\n```" in text


# ---- the built site: each page in its languages

def pages(site, language):
    return sorted(p.relative_to(site / language).as_posix() for p in (site / language).rglob("*.html")
                  if "_static" not in p.parts and (ROOT / "book" / p.relative_to(site / language).with_suffix(".md")).is_file())


def shape(path):
    """What a page has that no language may change."""
    page = parser.parse(str(path))
    article = page.xpath('//article[contains(@class, "bd-article")]')[0]
    svgs = [re.sub(r"\s+", " ", d) for d in article.xpath(".//svg//path/@d")]
    return {
        "names": {i for i in article.xpath(".//@id") if not re.fullmatch(r"id\d+", i)},
        "maths": sorted("".join(e.itertext()) for e in article.xpath('.//*[contains(concat(" ", @class, " "), " math ")]')),
        "code": ["".join(e.itertext()) for e in article.xpath(".//pre")],
        "keys": article.xpath(".//@data-keys"), "choices": [o.get("value", o.text) for o in article.xpath(".//option")], "curves": svgs,
        "numbers": len(article.xpath('.//span[contains(@class, "pasted-text")]')), "cells": len(article.xpath(".//td")),
        "cites": article.xpath('.//a[contains(@href, "#id") or contains(@href, "citation")]/text()'),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("language", translate.LANGUAGES)
def test_a_page_is_the_same_in_every_language_but_for_its_words(site, language):
    there = pages(site, language)
    assert set(there) == {f"{page}.html" for page in languages.pages(ROOT, language)}
    for name in there:
        ours, theirs = shape(site / name), shape(site / language / name)
        assert ours.pop("names") - theirs.pop("names") == set(), name
        assert theirs == ours, name


@pytest.mark.slow
@pytest.mark.parametrize("language", translate.LANGUAGES)
def test_questions_and_cards_are_the_same_in_every_language_but_for_their_words(site, language):
    """V1-01's: the same questions in the same order with the same right answers and numbers; every sentence in the language."""
    def data(folder, name="v1_01"):
        return build.unscript((folder / build.FOLDER / f"{name}.js").read_text(encoding="utf-8"))

    english, there, code = data(site), data(site / language), languages.tag(language)
    seen = 0
    for kind in ("questions", "cards"):
        for ours, theirs in zip(english[kind], there[kind], strict=True):
            for key in ours.keys() - {"ask", "why", "shown", "unit", "units", "mistakes", "choices", "front", "back"}:
                assert theirs[key] == ours[key], (ours["id"], key)
            pairs = list(zip(ours.get("choices", []), theirs.get("choices", []), strict=True))
            pairs += zip(ours.get("mistakes", []), theirs.get("mistakes", []), strict=True)
            for one, other in pairs:
                assert {k: v for k, v in one.items() if k not in ("text", "why")} == {k: v for k, v in other.items() if k not in ("text", "why")}
            for one, other in [(ours, theirs), *pairs]:
                for key in one.keys() & {"ask", "why", "text", "front", "back"}:
                    if re.search("[a-z]{4}", re.sub("<[^>]*>", "", one[key])):
                        assert other[key].startswith((f'<span lang="{code}">', f'<div lang="{code}">')), (ours["id"], key)
                        assert one[key].count('class="math') == other[key].count('class="math')
                        seen += 1
    assert seen > 150 and there["title"] != english["title"]
    assert not (site / language / build.FOLDER / "v1_13.js").exists(), "other chapters' come from the English site"


@pytest.mark.parametrize("language", translate.LANGUAGES)
def test_every_page_names_its_language_leads_to_the_others_and_marks_what_is_english(site, language):
    for name in pages(site, language):
        page, text = parser.parse(str(site / language / name)), (site / language / name).read_text(encoding="utf-8")
        assert page.getroot().get("lang") == languages.tag(language)
        assert page.xpath('count(//details[@class="mls-languages"])') == 1 and "english://" not in text
        for a in page.xpath('//details[@class="mls-languages"]//a | //link[@rel="alternate"]'):
            target = (site / language / name).parent / a.get("href")
            assert target.resolve().is_file() and a.get("hreflang")
            assert a.tag == "a" or target.resolve().name == Path(name).name
        english = page.xpath('//article//*[contains(@class, "mls-english")]')
        assert all(e.get("lang") == "en" for e in english)
        share = translate.share(ROOT, language, name.removesuffix(".html"))
        assert bool(page.xpath('//p[@class="mls-partly"]')) == (share < 0.995)
        for a in page.xpath('//a[contains(@class, "mls-in-english")]'):
            target = ((site / language / name).parent / a.get("href").partition("#")[0]).resolve()
            assert target.is_file() and language not in target.relative_to(site.resolve()).parts


@pytest.mark.slow
def test_english_pages_lead_to_their_translations(site):
    page = parser.parse(str(site / "index.html"))
    assert [a.text for a in page.xpath('//details[@class="mls-languages"]//a')] == ["English", *translate.LANGUAGES.values()]
    assert sorted(page.xpath('//link[@rel="alternate"]/@hreflang')) == sorted(["en", *map(languages.tag, translate.LANGUAGES)])
    assert not (site / "ja" / "_static" / "vendor").exists(), "one copy of the formulas' scripts is enough"


POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12, "千": 3, "천": 3, "万亿": 12, "万": 4, "만": 4, "亿": 8, "億": 8, "억": 8,
          "兆": 12, "조": 12}  # fmt: skip


def worth(text):
    """A number as a page writes it, "240\u00a0亿", as the number it is."""
    number, unit = re.fullmatch(r"([-\u2212]?[\d.,]+)\u00a0?(.*)", text).groups()
    power = next((POWERS[word] for word in sorted(POWERS, key=len, reverse=True) if unit.startswith(word)), 0)
    return Decimal(number.replace(",", "").replace("\u2212", "-")) * 10**power


@pytest.mark.slow
@pytest.mark.parametrize("language", translate.LANGUAGES)
def test_computed_numbers_are_worth_the_same_in_every_language(site, language):
    def numbers(folder):
        page = parser.parse(str(folder / "vol1" / "01_introduction.html"))
        return ["".join(e.itertext()) for e in page.xpath('//article//span[contains(@class, "pasted-text")]') if not e.xpath(".//a | .//label")]

    ours, theirs = numbers(site), numbers(site / language)
    assert len(ours) > 80 and any("billion" in text for text in ours) and not any(re.search("(m|b|tr)illion|thousand", text) for text in theirs)
    assert sorted(map(worth, theirs)) == sorted(map(worth, ours))


@pytest.mark.slow
def test_catalogues_have_the_words_that_figures_draw(site):
    course = catalogue.load(ROOT)
    for page in (name for name in translate.PAGES if name.startswith("vol")):
        drawn = set(translate.pictured(course, page))
        assert {"memory bandwidth", "as bought", "one billion parameters"} <= drawn or page != "vol1/01_introduction"
        for language in translate.LANGUAGES:
            computed = {m.id for m in translate.read(translate.catalogues(ROOT, language)[page], language) if translate.PICTURED in m.auto_comments}
            assert computed == drawn, f"{language}/{page}: run `mlsys translate update {page}`"


@pytest.mark.slow
@pytest.mark.parametrize("language", translate.LANGUAGES)
def test_sentences_of_live_figures_are_whole_in_a_language(site, language):
    page = parser.parse(str(site / language / "vol1" / "01_introduction.html"))
    states = [state for script in page.xpath('//figure//script[@type="application/json"]/text()') for state in json.loads(script)["states"]]
    english = [s["say"] for s in states if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", s["say"])]
    assert len(states) > 100 and english == []
