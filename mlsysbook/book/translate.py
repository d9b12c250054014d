"""The book in other languages: text is taken out of pages block by block, translated in gettext catalogues, and put back.

A block is a paragraph, a heading, a cell of a table, the title of a box: what a reader translates as one. Its text is the msgid;
code, maths on lines of their own, labels and options never leave the page, so they are the same in every language. What is inside
a sentence (code, maths, roles, the target of a link) is compared between msgid and msgstr by the parser that reads the page.

A catalogue is book/locale/LANGUAGE/LC_MESSAGES/PAGE.po, as sphinx-intl lays them out; `sphinx-intl stat` reads them as well.
"""

import ast
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from html import unescape

import yaml

from ..errors import CourseError

LANGUAGES = {"zh_CN": "中文", "ja": "日本語", "ko": "한국어"}
PAGES = ("index", "paths/student", "paths/self_learner", "paths/instructor", "paths/contributor", "map", "vol1/01_introduction")
README, SITE, TITLES = "README", "site", "titles"      # catalogues that are no page: README.md, words of the site, titles of course.yml
COMPANION = "companion/"                                # and questions and cards of a chapter, such as companion/v1_01
WIDTH = 110                                             # of a line in a catalogue
STALE = 0.10                                            # share of a translated page's words that may have changed
PICTURED = "word in a picture"                          # messages that no source shows: cells compute them, catalogues keep them
SPACE = "\u00a0"                                        # between a computed number and its unit
TIGHT = {"ja", "ko"}                                    # languages that write a unit in their own letters without it

# Powers of ten: units that scale a number in English, and words that a translation's unit may begin with.
SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
OTHER_SCALES = {"千": 3, "천": 3, "万": 4, "만": 4, "百万": 6, "백만": 6, "億": 8, "亿": 8, "억": 8, "十亿": 9, "十億": 9, "십억": 9,
                "万亿": 12, "兆": 12, "조": 12, "× 10³": 3, "× 10⁶": 6, "× 10⁹": 9, "× 10¹²": 12}

# Directives by what their body holds. One that is in neither list stops the extraction: nobody knows whether it has text.
TEXT = {"admonition", "attention", "card", "caution", "container", "danger", "dropdown", "epigraph", "exercise", "grid", "grid-item",
        "grid-item-card", "hint", "important", "margin", "note", "seealso", "sidebar", "solution", "tab-item", "tab-set", "tip", "warning"}
TITLED = {"admonition", "card", "dropdown", "grid-item-card", "sidebar", "tab-item"}
NO_TEXT = {"bibliography", "code-block", "code-cell", "companion", "contents", "course-map", "for-teachers", "glossary", "glue", "glue:",
           "glue:figure", "key-terms", "math", "raw", "toctree", "where-used"}
DIRECTIVE = re.compile(r"^\{([\w:+.-]+)\}\s*(.*?)\s*$")
OPTION = re.compile(r"^\s*:[\w-]+:(\s|$)")


class TranslationError(CourseError):
    """A catalogue or a page that cannot be translated; one line a fault."""


@dataclass(frozen=True)
class Block:
    """Text on lines first..last (from 0, last exclusive) of a source; for a row of a table, its cells."""

    first: int
    last: int
    kind: str
    texts: tuple
    start: str = ""         # how the text starts on its first line, after marks of lists and headings


@dataclass
class Messages:
    """What of one page is to be translated: {msgid: where it stands}, in the order of the page."""

    name: str
    kinds: dict = field(default_factory=dict)

    def add(self, text, kind):
        if _has_words(text):
            self.kinds.setdefault(text, kind)


@cache
def _parser():
    """The parser of the book's pages, with the extensions of _config.yml that change where a block or a word ends."""
    from markdown_it.renderer import RendererHTML
    from myst_parser.config.main import MdParserConfig
    from myst_parser.parsers.mdit import create_md_parser

    extensions = {"amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist", "tasklist"}
    return create_md_parser(MdParserConfig(enable_extensions=extensions), RendererHTML)


def blocks(text, place="page"):
    """Blocks of a MyST text in order. Raises TranslationError for a directive of which nobody said whether it holds text."""
    return _blocks(text.split("\n"), 0, place)


def _blocks(lines, offset, place):
    tokens, found = _parser().parse("\n".join(lines)), []
    for i, token in enumerate(tokens):
        if token.type in ("paragraph_open", "heading_open", "dt_open") and tokens[i + 1].type == "inline":
            inline = tokens[i + 1]
            kind = "heading" if token.type == "heading_open" else "paragraph"
            start = inline.content.strip().split("\n")[0]
            found.append(Block(offset + token.map[0], offset + token.map[1], kind, (flat(inline.content),), start))
        elif token.type == "tr_open":
            cells, j = [], i
            while tokens[j].type != "tr_close":
                if tokens[j].type == "inline":
                    cells.append(flat(tokens[j].content))
                j += 1
            found.append(Block(offset + token.map[0], offset + token.map[0] + 1, "row", tuple(cells)))
        elif token.type in ("fence", "colon_fence") and (match := DIRECTIVE.match(token.info.strip())):
            first, name = token.map[0], match[1]
            if name in NO_TEXT:
                continue
            if name not in TEXT:
                raise TranslationError(f"{place}:{offset + first + 1}: directive {{{name}}} is in neither TEXT nor NO_TEXT of "
                                       "translate.py; add it to the one that says what it holds")  # fmt: skip
            if name in TITLED and match[2]:
                found.append(Block(offset + first, offset + first + 1, "title", (flat(match[2]),), match[2]))
            body = lines[first + 1:token.map[1] - 1]
            skip = 0
            if body and body[0].strip() == "---":
                skip = 1 + next((n for n, line in enumerate(body[1:], 1) if line.strip() == "---"), 0)
            while skip < len(body) and OPTION.match(body[skip]):
                skip += 1
            found += _blocks(body[skip:], offset + first + 1 + skip, place)
    return found


def put_back(text, known, otherwise=lambda text: text, place="page"):
    """A MyST text with its blocks from {msgid: msgstr}; otherwise() makes something of a block that is not there."""
    lines = text.split("\n")

    def said(each):
        return known.get(each) or (otherwise(each) if _has_words(each) else each)

    for block in reversed(blocks(text, place)):
        line = lines[block.first]
        if block.kind == "row":
            cells = [re.sub(r"(?<!\\)\|", r"\|", said(each)) for each in block.texts]
            lines[block.first] = f"{line[:line.index('|')]}| {' | '.join(cells)} |"
        else:
            lines[block.first:block.last] = [line[:line.rindex(block.start)] + said(block.texts[0])]
    return "\n".join(lines)


def flat(text):
    """A text on one line; spaces that may not break stay."""
    return re.sub(r"[ \t\n]+", " ", text.strip(" \t\n"))


def plain(text):
    """A block as it reads, without its marks."""
    return "".join(t.content for t in _parser().parseInline(text)[0].children if t.type in ("text", "code_inline", "math_inline"))


def _has_words(text):
    """Whether there is anything to translate: letters outside code, maths, roles without a text, and targets."""
    text = re.sub(r"\{(?:glue[\w:]*|eq|cite[\w:]*|numref)\}`[^`]*`|\{\{[\w -]+\}\}", "", text)
    text = re.sub(r"(`+)(?!`).+?\1|\$[^$]+\$|\]\([^)]*\)|<[^>]*>|\{\d+\}", "", text)
    return bool(re.search(r"[A-Za-z]{2}|[A-Za-z] [A-Za-z]", text))


def page_messages(root, page):
    """Messages of a page of the book, or of README.md."""
    path = _source(root, page)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TranslationError(f"{path}: cannot be read ({error.strerror})") from None
    if page == README:
        text = text.replace(f"{_languages_line('')}\n\n", "", 1)
    found = Messages(page)
    for block in blocks(text, path.relative_to(root).as_posix()):
        for each in block.texts:
            found.add(each, block.kind)
    for kind, each in drawn(text):
        found.add(each, kind)
    return found


def _source(root, page):
    return root / "README.md" if page == README else root / "book" / f"{page}.md"


# ---- What cells draw: captions, alternative texts, sentences of live figures, words in pictures

_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```", re.M | re.S)


def drawn(text):
    """(kind, template) of each text that the cells of a page hand to figures; {1}, {2} stand for what is computed."""
    trees = []
    for cell in _CELL.findall(text):
        code = re.sub(r"\A(?:---\n.*?\n---\n|(?:[ \t]*:[\w-]+:.*\n)+)", "", cell, flags=re.S if cell.startswith("---") else 0)
        trees.append(ast.parse(code))
    functions = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found, named = [], {}
    for tree in trees:
        _assigned(tree.body, named)
    for tree in trees:
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            given = {k.arg: k.value for k in call.keywords}
            if name in ("figure", "live"):
                found += [said for kind in ("alt", "caption") if kind in given for said in _sentence(kind, given[kind], named)]
            if name == "live":
                found += [("label", template(e)) for key in ("x", "y", "limit") if key in given for e in _firsts(given[key])]
                if isinstance(given.get("controls"), ast.Dict):
                    found += [("label", template(e)) for value in given["controls"].values for e in _firsts(value)]
                say = functions.get(getattr(given.get("say"), "id", None))
                inside = _assigned(ast.walk(say), dict(named)) if say else {}
                for back in (n for n in ast.walk(say) if isinstance(n, ast.Return)) if say else ():
                    found += _sentence("sentence", back.value, inside)
            if name in ("number", "exercise_key"):
                found += [("unit after a number", unit) for e in call.args[2:3] if re.search("[a-z]{4}", unit := template(e))]
                found += [("number in words", template(given["text"]))] if "text" in given else []
                if name == "exercise_key" and len(call.args) > 1 and isinstance(call.args[1], ast.Dict | ast.DictComp):
                    keys = call.args[1].keys if isinstance(call.args[1], ast.Dict) else [call.args[1].key]
                    found += [("choice of an exercise", template(key)) for key in keys]
            elif name not in ("figure", "live"):
                found += [("label", template(given[k])) for k in ("label", "title", "xlabel", "ylabel") if k in given]
                if name in ("annotate", "text", "set_title", "set_xlabel", "set_ylabel"):
                    found += [("label", template(a)) for a in call.args[:3]]
    return [(kind, text) for kind, text in found if text]


def _firsts(node):
    return [node.elts[0]] if isinstance(node, ast.Tuple) and node.elts else [node] if isinstance(node, ast.Constant) else []


def _assigned(nodes, found):
    """Texts that names stand for, {name: [node]}: what a sentence is put together from."""
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.JoinedStr | ast.IfExp | ast.BinOp):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def _sentence(kind, node, named, within=()):
    """(kind, template) of a text and of the clauses that fill its places: both sides of a choice, the parts of a joined list, and what
    a name was given in the same function or page."""
    if isinstance(node, ast.IfExp):
        return _sentence(kind, node.body, named, within) + _sentence(kind, node.orelse, named, within)
    if isinstance(node, ast.FormattedValue):
        return _sentence(kind, node.value, named, within)
    if isinstance(node, ast.Name):
        return [s for each in named.get(node.id, ()) if node.id not in within for s in _sentence(kind, each, named, (*within, node.id))]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join" and node.args:
        between, parts = node.func.value, node.args[0]
        joined = [(kind, f"{{1}}{between.value}{{2}}")] if isinstance(between, ast.Constant) and re.search("[a-z]", between.value) else []
        return joined + (_sentence(kind, parts.elt, named, within) if isinstance(parts, ast.GeneratorExp | ast.ListComp) else [])
    text, places = _taken_apart(node)
    return ([(kind, text)] if text else []) + [s for each in places if each is not node for s in _sentence(kind, each, named, within)]


def template(node):
    """A text of Python source with numbered places for what is computed; empty if nothing of it is written out."""
    return _taken_apart(node)[0]


def _taken_apart(node):
    """(template, nodes of its places)."""
    parts, places = [], []

    def walk(node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            for value in node.values:
                walk(value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            walk(node.left)
            walk(node.right)
        else:
            places.append(node)
            parts.append(f"{{{len(places)}}}")

    walk(node)
    text = flat("".join(parts))
    return (text if _has_words(text) else ""), places


def pictured(course, page):
    """Words that the executed figures of a chapter draw, and that no message of its source covers, in order: names of curves, of
    tasks, of choices, which come from data. Raises BookError where a cell fails. Proper names with digits are no words."""
    number = next((c.number for c in getattr(course, "chapters", ()) if c.file == page), None)
    if number is None:
        return []
    from . import outputs

    known = page_messages(course.root, page).kinds
    fill, found = Filler({text: text for text in known}), {}
    for picture in outputs.outputs(course, number).figures.values():
        for text in (*re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg), *picture.choices):
            text = flat(unescape(text))
            if re.search("[a-z]{3}", text) and not re.fullmatch(r"\S*\d\S*", text) and fill(text) is None:
                found.setdefault(text)
    return list(found)


class Filler:
    """Texts that cells made, in another language: whole, by their template and what fills it, or number by number and unit by unit."""

    def __init__(self, known, language=""):
        self.space = "" if language in TIGHT else SPACE
        self.units = {text: there for text, there in known.items() if _scale(text)}
        self.whole = {text: there for text, there in known.items() if "{1}" not in text and text not in self.units}
        self.comma, self.colon = known.get(", ", ", "), known.get(": ", ": ")
        self.parts = []
        self.joints = {m[1]: known[t] for t in known if (m := re.fullmatch(r"\{1\}( \w+ )\{2\}", t))}      # " to " between parts
        for text in sorted((t for t in known if "{1}" in t and t[3:-3] not in self.joints), key=len, reverse=True):
            places = re.findall(r"\{(\d+)\}", text)
            pattern = re.sub(r"\\\{\d+\\\}", lambda _: "(.+?)", re.escape(text))
            pattern = pattern.replace(r"(.+?)\ (.+?)", r"(.+?)\ ([-\u2212]?[\d.,e+]+)")         # a name, then its number
            self.parts.append((re.compile(pattern, re.S), places, known[text]))

    def __call__(self, text):
        """The translation of a text, or None."""
        text = flat(text)
        if text in self.whole:
            return self.whole[text]
        for pattern, places, there in self.parts:       # the longest first
            if match := pattern.fullmatch(text):
                for place, value in zip(places, match.groups(), strict=True):
                    there = there.replace(f"{{{place}}}", self._placed(value) or value)
                return there
        number, space, unit = text.partition(SPACE)
        if unit in self.units:
            return self._spaced(scaled(number, self.units[unit]))
        return self._spaced(f"{number}{space}{self.whole[unit]}") if unit in self.whole else None

    def _spaced(self, text):
        """A number and its unit, with the space that the language has between them."""
        return text and re.sub(rf"{SPACE}(?=[\u3040-\u9fff\uac00-\ud7af])", self.space, text)

    def _placed(self, text):
        """What fills a place: a message, a list of messages, or a list with some, such as names before numbers; None if none is."""
        return (self.whole.get(text) or self._joined(text) or self._listed(text, all) or self(text) or self._listed(text, any)
                or self._counted(text))

    def _joined(self, text):
        """"a to b to c", if each part is a message: many a text has a "to" in it."""
        for word, there in self.joints.items():
            parts = [self(part) for part in text.split(word)]
            if len(parts) > 1 and all(parts):
                told = parts[-1]
                for part in reversed(parts[:-1]):
                    told = there.replace("{1}", part).replace("{2}", told)
                return told
        return None

    def _listed(self, text, enough):
        for mark, there in (("; ", None), (", ", self.comma)):
            parts = text.split(mark)
            filled = [self(p) or self._counted(p) for p in parts] if len(parts) > 1 else []
            if filled and enough(filled):
                return (there or mark).join(new or old for new, old in zip(filled, parts, strict=True))
        return None

    def _counted(self, text):
        """"chat: 5, 81" with its name translated."""
        numbers = r"[-\u2212]?\d[\d., e+%-]*"
        match = re.fullmatch(rf"(.*)(: {numbers})", text, re.S) or re.fullmatch(rf"(.*?[^\d\s.,:])( {numbers})", text, re.S)
        return f"{name}{match[2].replace(': ', self.colon)}" if match and (name := self.whole.get(match[1])) else None


def _scale(text):
    """The power of ten of a unit such as "billion" or "million USD"; None for what scales nothing."""
    return SCALES.get(text.split(" ")[0]) if text.count(" ") < 2 else None


def _forms(unit):
    """[(factor, unit)] of a translated unit: "10 亿" multiplies the number by ten; "100 万 | 0.01 亿" gives a choice by size."""
    matches = [re.fullmatch(r"(?:(\d+(?:\.\d+)?) )?(\D.*)", form) for form in unit.split(" | ")]
    return [(Decimal(m[1] or 1), m[2]) for m in matches] if all(matches) else []


def scaled(number, unit):
    """A number and its translated unit, the number multiplied by the unit's factor: ("24", "10 亿") -> 240 亿. Of several forms it is
    the last that leaves 1 or more. None for a number that is not in plain digits."""
    if not re.fullmatch(r"[-\u2212]?\d[\d,]*(\.\d+)?", number):
        return None
    value = Decimal(number.replace(",", "").replace("\u2212", "-"))
    every = [(value * factor, name) for factor, name in _forms(unit)]
    value, name = next((each for each in reversed(every) if abs(each[0]) >= 1), every[0])
    text = f"{value:,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text.replace('-', chr(0x2212))}{SPACE}{name}"


# ---- Words of the site, and titles of the catalogue

# What the cells' own helpers write on a page (mlsysbook/book/{numbers,figures}.py).
THEME = ("search_bar_text", "toc_title", "extra_footer")         # of html_theme_options in _config.yml
HELPERS = ("Your answer", "Check", "for", "Figure {1}")
CAPTIONS = ("Choose your path", "Teaching", "Reference")        # parts of the table of contents
# What the theme's templates write and its own catalogues leave in English.
TEMPLATES = ("Skip to main content", "Back to top", "Version warning", "Main", "Page", "Toggle primary sidebar", "Toggle secondary sidebar",
             "next page", "previous page", "Please activate JavaScript to enable the search functionality.")


def site_messages(root):
    """Words of the site: `_("...")` in what makes pages and in their scripts, and what helpers of cells write."""
    found = Messages(SITE)
    sources = [root / "mlsysbook/book/site.py", *sorted((root / "book/_ext/mlsys_site").glob("*.py"))]
    sources += [root / "mlsysbook/book/languages.py"]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("_", "say") and node.args:
                if isinstance(node.args[0], ast.Constant):
                    found.kinds.setdefault(node.args[0].value, path.name)
    for text, name in script_words(root).items():
        found.kinds.setdefault(text, name)
    settings = yaml.safe_load((root / "book" / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]["html_theme_options"]
    for key in THEME:
        found.add(flat(settings[key]), "theme")
    for caption in CAPTIONS:
        found.add(caption, "contents")
    for text in TEMPLATES:
        found.add(text, "theme")
    for title in _english_titles(root):
        found.add(title, "title of a page that is in English only")
    for text in HELPERS:
        found.kinds.setdefault(text, "answer fields and figures")
    return found


def script_words(root):
    """What the scripts of a page say, {text: script}; a page brings it in its language."""
    found = {}
    for path in (*sorted((root / "book/_static").glob("*.js")), *sorted((root / "book/companion/js").glob("*.js"))):
        source = path.read_text(encoding="utf-8")
        counted = re.findall(r'\bcounted\(.*?, "([a-z ]+)"\)', source)
        texts = [*re.findall(r'\b_\("((?:[^"\\]|\\.)*)"', source), *(f"{{1}} {noun}{s}" for noun in counted for s in ("", "s"))]
        for text in texts:
            found.setdefault(text, path.name)
    return found


def _english_titles(root):
    """Headings of the pages that the table of contents leads to and no language has."""
    from .languages import heading
    from .site import INSTRUCTORS, REFERENCE

    pages = [*(f"instructors/{name}" for name in INSTRUCTORS), *(name for name in REFERENCE if name not in PAGES), "newsletter/index"]
    return [heading(root, page) for page in pages if (root / "book" / f"{page}.md").is_file()]


def title_messages(course):
    """Titles of chapters, parts, labs, modules, kits and drills."""
    found = Messages(TITLES)
    for c in course.chapters:
        found.add(f"Volume {'I' * c.volume}: {c.part}", "part of a volume")
    for c in course.chapters:
        found.add(c.title, f"chapter {c.number}")
    for what, things in (("lab", course.labs), ("TinyTorch module", course.modules), ("hardware kit", course.kits)):
        for thing in things:
            found.add(thing.title, what)
    for drill in sorted({d for c in course.chapters for d in c.drills}):
        found.add(course.find(drill).title.removeprefix("Drill: "), "drill")
    return found


def companion_messages(course, name):
    """Questions and cards of a chapter, from book/companion/content."""
    from ..companion import content

    number = next((n for n, path in content.files(course).items() if path.stem == name.removeprefix(COMPANION)), None)
    if number is None:
        there = ", ".join(f"{COMPANION}{path.stem}" for path in content.files(course).values())
        raise TranslationError(f"{name}: no chapter has these questions and cards; there are {there}")
    found = Messages(name)
    for kind, text in content.texts(content.read(course, number)):
        found.add(flat(text), kind)
    return found


def messages(course, name):
    """Messages of a catalogue by its name: a page, README, site, titles, or questions and cards as in companion/v1_01."""
    if name == SITE:
        return site_messages(course.root)
    if name.startswith(COMPANION) and not (course.root / "book" / f"{name}.md").is_file():
        return companion_messages(course, name)
    return title_messages(course) if name == TITLES else page_messages(course.root, name)


# ---- Catalogues

def catalogues(root, language):
    """Names of the catalogues of a language, {name: path}."""
    folder = root / "book" / "locale" / language / "LC_MESSAGES"
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in sorted(folder.rglob("*.po"))}


def read(path, language):
    """A catalogue. Raises TranslationError for a file that is none."""
    from babel.messages import pofile

    try:
        with open(path, "rb") as file:
            return pofile.read_po(file, locale=language, abort_invalid=True)
    except (OSError, ValueError, pofile.PoFileError) as error:
        raise TranslationError(f"{path}: is no catalogue ({' '.join(str(error).split())})") from None


def write(path, language, catalogue):
    """Write a catalogue: the same bytes for the same messages, without dates or names."""
    from babel.messages import pofile

    for m in catalogue:
        m.flags &= {"fuzzy"}            # no format of Python's: braces are roles, per cents are per cents
    out = io.BytesIO()
    pofile.write_po(out, catalogue, width=WIDTH, no_location=True, omit_header=True, ignore_obsolete=True)
    head = (f'msgid ""\nmsgstr ""\n"Language: {language}\\n"\n"MIME-Version: 1.0\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
            '"Content-Transfer-Encoding: 8bit\\n"\n\n')  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.encode() + out.getvalue().strip() + b"\n")


def update(course, language, name):
    """Bring a catalogue up to its source, or start it -> path. A changed text keeps its translation, marked fuzzy; a new one in
    a catalogue that has translations is fuzzy and empty, so that both count as changed until someone looks."""
    from babel.messages.catalog import Catalog

    path = course.root / "book" / "locale" / language / "LC_MESSAGES" / f"{name}.po"
    fresh = Catalog(locale=language, fuzzy=False)
    kinds = messages(course, name).kinds | dict.fromkeys(pictured(course, name), PICTURED)
    for text, kind in kinds.items():
        fresh.add(text, auto_comments=[kind])
    if path.is_file():
        old = read(path, language)
        known, begun = {m.id for m in old if m.id}, any(m.string for m in old if m.id)
        kept = {m.id: m for m in old if m.id}
        old.update(fresh, update_creation_date=False)
        merged = Catalog(locale=language, fuzzy=False)
        for text, kind in kinds.items():
            m = kept.get(text) or old[text]
            flags = {"fuzzy"} if m.fuzzy or (text not in known and begun) else set()
            merged.add(text, m.string, flags=flags, auto_comments=[kind], user_comments=m.user_comments)
        fresh = merged
    write(path, language, fresh)
    return path


def words(root, language):
    """A function from an English text of the site, or a title of the catalogue, to that of a language; English where there is none."""
    known = strings(root, language, TITLES) | strings(root, language, SITE) if language in LANGUAGES else {}
    return lambda text: known.get(text) or text


@cache
def _strings(path, stamp, language):
    return {m.id: m.string for m in read(path, language) if m.id and m.string and not m.fuzzy}


def strings(root, language, name):
    """{msgid: msgstr} of what is translated and current in a catalogue."""
    path = root / "book" / "locale" / language / "LC_MESSAGES" / f"{name}.po"
    return _strings(path, path.stat().st_mtime_ns, language) if path.is_file() else {}


def chapter_titles(root, language):
    """English titles of the chapters, as the catalogue of titles has them."""
    there = catalogues(root, language).get(TITLES)
    return [m.id for m in read(there, language) if any(c.startswith("chapter ") for c in m.auto_comments)] if there else []


# ---- README.md, which no builder reads

def readme(root, language):
    """README.md in a language: what is not translated stays English and says so; code blocks as they are."""
    english, known = (root / "README.md").read_text(encoding="utf-8"), strings(root, language, README)
    english = english.replace(f"{_languages_line('')}\n\n", "", 1)
    text = put_back(english, known, lambda each: f"[EN] {each}", "README.md")
    head, _, rest = text.partition("\n")
    made = f"<!-- Made by `mlsys translate readme` from README.md and book/locale/{language}; change those. -->"
    return f"{made}\n{head}\n{_languages_line(language)}\n\n{rest}"


def _languages_line(language):
    """The links from README in one language ("" for English) to the others."""
    names = {"": "English"} | LANGUAGES
    return " · ".join(name if code == language else f"[{name}](README{'.' if code else ''}{code}.md)" for code, name in names.items())


# ---- Checks

@dataclass(frozen=True)
class State:
    """Words of a page's source, by what became of them in a language."""

    language: str
    name: str
    words: int
    translated: int
    changed: int            # fuzzy, or not in the catalogue yet
    begun: bool

    @property
    def stale(self):
        """Whether a translated page has changed by more than a reader should find out by himself."""
        return self.begun and self.changed > STALE * self.words


def state(course, language, name):
    """State of one catalogue against its source as it is now."""
    catalogue = {m.id: m for m in read(catalogues(course.root, language)[name], language) if m.id}
    words = translated = changed = 0
    computed = [m.id for m in catalogue.values() if PICTURED in m.auto_comments]
    for text in (*messages(course, name).kinds, *computed):
        n, m = len(text.split()), catalogue.get(text)
        words += n
        if m is None or m.fuzzy:
            changed += n
        elif m.string:
            translated += n
    return State(language, name, words, translated, changed, any(m.string for m in catalogue.values()))


def faults(msgid, msgstr):
    """What a translation has lost or added that must be the same in every language: one line each."""
    wrong, ours, theirs = [], _marks(msgid), _marks(msgstr)
    if "\n" in msgstr:
        wrong.append("has a line break; a translation is one line")
    if full := re.findall(r"[０-９＄｀｛｝]", msgstr):
        wrong.append(f"has full-width {''.join(full)}; wants the plain characters")
    for mark in sorted((ours - theirs) | (theirs - ours)):
        wrong.append(f"has {theirs[mark]} of {mark}; the English has {ours[mark]}")
    if (power := _scale(msgid)) is not None:
        return wrong + [f"has {form!r}, which is not {msgid}; wants a factor and a unit of the language, such as {_example(power)!r}"
                        for form in msgstr.split(" | ") if not _worth(form, power)]  # fmt: skip
    here, there = Counter(_numbers(msgid)), Counter(_numbers(msgstr))
    wrong += [f"lacks the number {n}" for n in sorted(here - there)]
    return wrong


def _worth(form, power):
    """Whether a factor and a unit of another language make this power of ten."""
    for factor, unit in _forms(form):
        scale = max((word for word in OTHER_SCALES if unit.startswith(word)), key=len, default=None)
        return scale is not None and factor * 10 ** OTHER_SCALES[scale] == 10**power
    return False


def _example(power):
    return {3: "千", 6: "100 万", 9: "10 億", 12: "兆"}[power]


def _marks(text):
    """Code, maths, roles, targets, emphasis and places of a text, as the parser of the page finds them."""
    found = Counter(re.findall(r"\{\{[\w -]+\}\}|\{\d+\}", text))
    for token in _parser().parseInline(text)[0].children or []:
        if token.type == "myst_role":
            body = token.content
            target = re.search(r"<([^<>]*)>\s*$", body)
            found[f"{{{token.meta['name']}}}`{target[1] if target else body}`"] += 1
        elif token.type == "code_inline":
            found[f"`{token.content}`"] += 1
        elif token.type.startswith("math_inline"):
            found[f"${token.content}$"] += 1
        elif token.type == "link_open":
            found[f"]({token.attrs['href']})"] += 1
        elif token.type in ("strong_open", "em_open"):
            found[token.markup + "text" + token.markup] += 1
        elif token.type in ("html_inline", "footnote_ref", "image"):
            found[token.content or token.type] += 1
    return found


def _numbers(text):
    text = re.sub(r"\{[\w:]+\}`[^`]*`|(`+)(?!`).+?\1|\$[^$]+\$|\]\([^)]*\)|\{\{[\w -]+\}\}|\{\d+\}", " ", text)
    return re.findall(r"\d+(?:[.,]\d+)*", text)


def check(root, language, name):
    """Faults of one catalogue, as `file: msgid: what`. Fuzzy messages are not on the site and are not checked."""
    path, wrong = catalogues(root, language)[name], []
    for m in read(path, language):
        if m.id and m.string and not m.fuzzy:
            wrong += [f"{path.relative_to(root).as_posix()}: {m.id[:60]!r}: {fault}" for fault in faults(m.id, m.string)]
    return wrong


def share(root, language, page):
    """Which part of the words of a page is translated, from 0 to 1."""
    known, every = strings(root, language, page), page_messages(root, page).kinds
    return sum(len(text.split()) for text in every if text in known) / sum(len(text.split()) for text in every)


def check_readme(root, language):
    """A fault if README.LANGUAGE.md is not what README.md and its catalogue make, as a list."""
    there = root / f"README.{language}.md"
    if not strings(root, language, README) or there.is_file() and there.read_text(encoding="utf-8") == readme(root, language):
        return []
    return [f"{there.name}: is not what its catalogue makes of README.md; run `mlsys translate readme`"]
