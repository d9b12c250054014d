"""The site in several languages: each is a build of its own in a folder of the English one, which holds what has no translation.

A translated build has the pages that have a catalogue. What it says of other pages leads to the English ones: a link to
english://PAGE until the site is put together, when each page also gets the list of its languages.
"""

import json
import os
import re
import shutil
from html import escape

import yaml

from . import site, translate
from .build import BookError

SCHEME = "english://"
NAMES = {"en": "English"} | translate.LANGUAGES
_BUTTONS = '<div class="article-header-buttons">'


def tag(language):
    """A language as HTML and browsers call it."""
    return {"zh_CN": "zh-Hans"}.get(language, language)


def pages(root, language):
    """Pages of the book with at least one translated block, and the landing page."""
    known = [name for name in translate.catalogues(root, language) if (root / "book" / f"{name}.md").is_file()]
    return ["index", *(name for name in known if name != "index" and translate.strings(root, language, name))]


def contents(course, language):
    """The table of contents of a translated build, as _toc.yml has it."""
    toc = yaml.safe_load(site.toc(course))
    say, here = translate.words(course.root, language), set(pages(course.root, language))

    def entry(e):
        page, title = e["file"], e.get("title")
        if title:
            number, _, words = title.rpartition(" ") if " " not in title else title.partition(" ")
            title = f"{number} {say(words)}".strip()
        elif page not in here:
            title = say(heading(course.root, page))
        under = {"sections": [entry(x) for x in e["sections"]]} if "sections" in e else {}
        led = {"file": page} if page in here else {"url": f"{SCHEME}{page}"}
        return led | ({"title": title} if title else {}) | under

    parts = [p | {"caption": say(p["caption"]), "chapters": [entry(e) for e in p["chapters"]]} for p in toc["parts"]]
    return yaml.safe_dump(toc | {"parts": parts}, allow_unicode=True, sort_keys=False)


def heading(root, page):
    """First heading of a page of the book."""
    text = (root / "book" / f"{page}.md").read_text(encoding="utf-8")
    return re.search(r"^# (.+?) *$", text, re.M)[1]


def assemble(root, html, builds):
    """Put translated builds, {language: folder}, into the English site `html`, and the list of languages on every page of all."""
    for language, folder in builds.items():
        shutil.copytree(folder, html / language, ignore=shutil.ignore_patterns("vendor", ".mlsys-book"))
    there = {"en": html} | {language: html / language for language in builds}
    found = {language: {p.relative_to(top).as_posix() for p in top.rglob("*.html")
                        if "_static" not in p.parts and not (language == "en" and p.relative_to(top).parts[0] in builds)}
             for language, top in there.items()}  # fmt: skip
    for language, top in there.items():
        say = translate.words(root, language)
        spoken = [*translate.script_words(root), *translate.chapter_titles(root, language)] if language != "en" else ()
        brought = {text: there for text in spoken if (there := say(text)) != text}
        for name in sorted(found[language]):
            path = top / name
            text = path.read_text(encoding="utf-8")
            if language != "en":
                text = _lead_home(_framed(text, say), name, found["en"], say)
                text = text.replace("</head>", f'<script id="mls-words" type="application/json">{_json(brought)}</script>\n</head>', 1)
                text = re.sub(r'<html lang="[^"]*"', f'<html lang="{tag(language)}"', text, count=1)
            text = text.replace("</head>", _alternates(name, language, found) + "</head>", 1)
            if text.count(_BUTTONS) == 1:
                text = text.replace(_BUTTONS, _switcher(name, language, found, say) + _BUTTONS)
            elif '<article class="bd-article"' in text:
                raise BookError(f"{language}/{name}: has {text.count(_BUTTONS)} places for the list of languages; wants one")
            path.write_text(text, encoding="utf-8")


def _json(data):
    return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")).replace("</", "<\\/")


def _from(name, language, other, target):
    """Address of a page of another language, from a page of this one."""
    start = os.path.dirname(f"{'' if language == 'en' else language + '/'}{name}")
    return os.path.relpath(f"{'' if other == 'en' else other + '/'}{target}", start or ".")


def _framed(text, say):
    """What the theme's templates write round the article."""
    head, article, rest = text.partition("<article")
    article, end, rest = (article + rest).partition("</article>")

    words = "|".join(map(re.escape, translate.TEMPLATES))

    def frame(part):
        return re.sub(rf'(>\s*|\b(?:title|aria-label)=")({words})(?=\s*<|")', lambda m: m[1] + escape(say(m[2])), part)

    return frame(head) + article + end + frame(rest)


def _lead_home(text, name, english, say):
    """English pages where this language has none, marked; scripts that all languages share."""
    up = "../" * name.count("/")

    def link(match):
        page, _, anchor = match[2].partition("#")
        target = f"{page}.html"
        if target not in english:
            raise BookError(f"{name}: leads to {page}, which the English book has not")
        attributes = re.sub(r'\s*(class|title)="[^"]*"', "", match[1] + match[3])
        address = escape(f"{up}../{target}{'#' + anchor if anchor else ''}")
        marks = f'class="reference internal mls-in-english" hreflang="en" title="{escape(say("in English"))}"'
        return f'<a {marks} href="{address}"{attributes}>'

    text = re.sub(rf'<a\b([^>]*?) href="{SCHEME}([^"]+)"([^>]*)>', link, text)
    return text.replace(f'"{up}_static/vendor/', f'"{up}../_static/vendor/')


def _alternates(name, language, found):
    links = [(other, _from(name, language, other, name)) for other in found if name in found[other]]
    if len(links) < 2:
        return ""
    return "".join(f'<link rel="alternate" hreflang="{tag(other)}" href="{escape(address)}" />\n' for other, address in links)


def _switcher(name, language, found, say):
    """The list of languages: links, in a box that opens without a script."""
    items = []
    for other, title in NAMES.items():
        if other not in found:
            continue
        here = name if name in found[other] else "index.html"
        note = "" if here == name else f' title="{escape(site.fill(say("{1} (start page; this page is not translated)"), title))}"'
        current = ' aria-current="true"' if other == language else ""
        address, code = escape(_from(name, language, other, here)), tag(other)
        items.append(f'<li><a href="{address}" lang="{code}" hreflang="{code}"{note}{current}>{title}</a></li>')
    return (f'<details class="mls-languages"><summary aria-label="{escape(say("Language"))}: {NAMES[language]}">'
            f'<span lang="{tag(language)}">{NAMES[language]}</span></summary><ul>{"".join(items)}</ul></details>\n')  # fmt: skip
