"""A build in another language: blocks from its catalogue, outputs of cells by their templates, names of sections as in English.

The English build passes through none of this. Cells are never touched, so their outputs come from the cache.
"""

import json
import posixpath
import re
from html import escape, unescape
from pathlib import Path

from docutils import nodes
from sphinx import addnodes, search

from .contents import course

BOOK = Path(__file__).resolve().parents[2]
MARK = "{.language-en .mls-english}"        # docutils makes lang="en" of the first


class Bigrams(search.SearchLanguage):
    """Words of Chinese, Japanese and Korean by pairs of characters, the same in the index and in a query; others as they are."""

    _run = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
    js_splitter_code = r"""
function splitQuery(query) {
  const cjk = "\\u3040-\\u30ff\\u3400-\\u9fff\\uac00-\\ud7af";
  const runs = query.match(new RegExp(`[${cjk}]+|(?:(?![${cjk}])[\\p{Letter}\\p{Number}_])+`, "gu")) || [];
  return runs.flatMap((run) => {
    if (!new RegExp(`[${cjk}]`).test(run) || run.length < 2) return [run];
    return Array.from({length: run.length - 1}, (_, i) => run.slice(i, i + 2));
  });
}
"""

    def split(self, input):
        found = []
        for run in self._run.findall(input.lower()):
            found += [run[i:i + 2] for i in range(len(run) - 1)] + [run[-1]] if "\u3040" <= run[0] and len(run) > 1 else [run]
        return found

    def word_filter(self, word):
        return bool(word)


def setup(app):
    app.connect("config-inited", speak, priority=100)
    app.connect("source-read", put_back, priority=900)
    app.connect("doctree-read", keep_names, priority=100)
    app.connect("doctree-read", tell_share, priority=150)
    app.connect("doctree-read", fill_outputs, priority=200)
    app.connect("doctree-read", lead_to_english, priority=150)
    app.connect("missing-reference", lead_to_term)


def language(app):
    from mlsysbook.book import translate

    return app.config.language if app.config.language in translate.LANGUAGES else None


def speak(app, config):
    """Words of the theme's options, and how its search parts a text into words."""
    course()                                # where plain Sphinx has no mlsysbook, it finds it from here on
    from mlsysbook.book import translate

    if here := language(app):
        say = translate.words(BOOK.parent, here)
        for key in translate.THEME:
            config.html_theme_options[key] = say(translate.flat(config.html_theme_options[key]))
        config.nb_code_prompt_show, config.nb_code_prompt_hide = say("Show code cell source"), say("Hide code cell source")
        config.togglebutton_hint, config.togglebutton_hint_hide = say("Click to show"), say("Click to hide")
        search.languages[here] = type(f"Bigrams_{here}", (Bigrams,), {"lang": here, "language_name": here})
        config.html_search_language = here


def put_back(app, docname, source):
    from mlsysbook.book import translate

    if here := language(app):
        known = translate.strings(BOOK.parent, here, docname)
        source[0] = translate.put_back(source[0], known, lambda text: f"[{text}]{MARK}", f"book/{docname}.md")


def keep_names(app, doctree):
    """Sections are called as in English: an address with # leads to the same place in every language."""
    from mlsysbook.book import translate

    if not language(app):
        return
    text = (BOOK / f"{app.env.docname}.md").read_text(encoding="utf-8")
    titles = [b.texts[0] for b in translate.blocks(text, app.env.docname) if b.kind == "heading"]
    sections = [s for s in doctree.findall(nodes.section) if not any(i.startswith(("exercise-", "solution-")) for i in s["ids"])]
    taken = {i for node in doctree.findall(nodes.Element) for i in node.get("ids", ())}
    for section, title in zip(sections, titles, strict=True):
        name = nodes.make_id(translate.plain(title))
        if name and name not in section["ids"]:
            number, free = 0, name
            while free in taken:
                number += 1
                free = f"id{number}"
            section["ids"].insert(0, free)
            doctree.ids[free] = section
            taken.add(free)


def tell_share(app, doctree):
    """How much of a page is translated, below its title, unless it is all."""
    from mlsysbook.book import site, translate

    if here := language(app):
        say, share = translate.words(BOOK.parent, here), translate.share(BOOK.parent, here, app.env.docname)
        title = next(doctree.findall(nodes.title), None)
        if share < 0.995 and title is not None:
            told = site.fill(say("Of this page {1} % of the words are translated; the rest is in English."), int(100 * share))
            title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", told, classes=["mls-partly"]))


def fill_outputs(app, doctree):
    """Computed numbers and what figures say."""
    from mlsysbook.book import translate

    if not (here := language(app)):
        return
    known = translate.strings(BOOK.parent, here, app.env.docname) | translate.strings(BOOK.parent, here, translate.SITE)
    fill = translate.Filler(known, here)
    for node in doctree.findall(nodes.inline):
        if "pasted-text" in node["classes"] and (there := fill(node.astext())):
            node.children = []
            node += nodes.Text(there)
    for node in list(doctree.findall(nodes.raw)):
        if node.get("format") == "html" and re.search(r'class="mls-|href="#fig-', node.astext()):
            node.children = []
            node.rawsource = html(node.astext() or node.rawsource, fill)
            node += nodes.Text(node.rawsource)


def html(text, fill):
    """The HTML of a figure, of its number or of an answer field, with its texts in the language of `fill`."""
    def inside(match):
        if there := fill(unescape(match[2])):
            return f"{match[1]}{escape(there)}{match[3]}"
        english = f'<span lang="en" class="mls-english">{match[2]}</span>' if re.search("[A-Za-z]{3}", match[2]) else match[2]
        return f"{match[1]}{english}{match[3]}"

    def quiet(match):
        """A text where no other element can stand."""
        after = fill.colon if match[3] == ": " else match[3]
        return f"{match[1]}{escape(fill(unescape(match[2])) or unescape(match[2]))}{after}"

    text = re.sub(r"(>)(Figure [\d.]*\d)(\.?<)", quiet, text)
    text = re.sub(r'(<figcaption>.*?</span> )(.*?)(</figcaption>)', inside, text, flags=re.S)
    text = re.sub(r'(<p class="mls-say"[^>]*>)(.*?)(</p>)', inside, text, flags=re.S)
    def named(match):
        """A picture, or a text in one: English where it has no translation."""
        there = fill(unescape(match[3]))
        english = ' lang="en"' if there is None and re.search("[A-Za-z]{3}", match[3]) else ""
        return f"{match[1]}{english}{match[2]}{escape(there) if there else match[3]}{match[4]}"

    text = re.sub(r'(<svg)([^>]*? aria-label=")([^"]*)(")', named, text)
    text = re.sub(r"(<text)([^>]*>)([^<]*)(</text>)", named, text)
    text = re.sub(r"(<label[^>]*>)([^<:]+?)((?:: |</label>| ?<))", quiet, text)
    text = re.sub(r'(<button type="button">)([^<]*)(</button>)', quiet, text)
    text = re.sub(r"<option( selected)?>([^<]*)</option>",
                  lambda m: f'<option{m[1] or ""} value="{m[2]}">{escape(fill(unescape(m[2])) or unescape(m[2]))}</option>', text)
    text = re.sub(r"(</label> )([^<]+?)( <button)", quiet, text)
    return re.sub(r'("say":)("(?:[^"\\]|\\.)*")', lambda m: m[1] + _said(m[2], fill), text)


def _said(literal, fill):
    sentence = json.loads(literal.replace("<\\/", "</"))
    return json.dumps(fill(sentence) or sentence, ensure_ascii=False).replace("</", "<\\/")


def lead_to_english(app, doctree):
    """References to pages that this language has not; before MyST and Sphinx look for them."""
    if not language(app):
        return
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node["reftype"] in ("doc", "myst"):
            target, _, anchor = node["reftarget"].partition("#")
            page = posixpath.normpath(posixpath.join("/", posixpath.dirname(app.env.docname), target)).lstrip("/").removesuffix(".md")
            if target and page not in app.env.found_docs and (BOOK / f"{page}.md").is_file():
                inner, address = [child.deepcopy() for child in node.children], f"english://{page}{'#' if anchor else ''}{anchor}"
                node.replace_self(nodes.reference("", "", *inner, refuri=address, internal=True))


def lead_to_term(app, env, node, contnode):
    """A term of the English glossary."""
    if language(app) and node.get("reftype") == "term":
        return nodes.reference("", "", contnode, refuri=f"english://glossary#term-{nodes.make_id(node['reftarget'])}", internal=True)
    return None
