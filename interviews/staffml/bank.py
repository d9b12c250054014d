"""The question bank as pages: one page of Markdown a template with one worked variant, an index, and a page to search.

Markdown keeps to what CommonMark with pipe tables reads, so that Sphinx, MyST and a plain viewer show the same. find.html holds
every variant itself and needs neither network nor the other pages. The same templates give the same bytes.
"""

import html
import re
from pathlib import Path

from mlsysbook import atomic

from .pools import draws, variant
from .session import chapter
from .taxonomy import AREAS, LEVELS, TOPICS, TRACKS
from .worked import worked

_MARK = "<!-- made by staffml bank -->"


class BankError(ValueError):
    """A folder that cannot take the bank. One line."""


def write(folder, templates, ending="md"):
    """Write the pages of templates into a folder -> ([path], [removed path]). ending: of the pages that find.html links to.

    Pages of an earlier run whose template is gone are removed. Raises BankError, before anything is written, where a file stands
    in the way that this did not make.
    """
    folder, made = Path(folder), pages(templates, ending)
    old = [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".md", ".html") and _MARK in p.read_text("utf-8", "replace")[:200]]
    foreign = [name for name in made if (folder / name).exists() and folder / name not in old]
    if foreign:
        raise BankError(f"{folder / foreign[0]} is in the way and was not made by staffml bank; choose another folder, or move it")
    for name, text in made.items():
        atomic.write(folder / name, text)
    gone = [path for path in old if path.relative_to(folder).as_posix() not in made]
    for path in gone:
        path.unlink()
    return [folder / name for name in made], gone


def pages(templates, ending="md"):
    """All pages -> {path in the folder: text}."""
    found = [(t, worked(t, i, variant(t, i))) for t in templates for i in draws(t.name)["draws"][:1]]
    return {"index.md": _index(templates), "find.html": _find(found, ending),
            **{f"{t.name}.md": _page(t, w, {x.name for x in templates}) for t, w in found}}


# Markdown

def _page(t, w, there):
    facts = [("Area", f"{t.area}, {t.topic}"), ("Level", f"{t.level}, {LEVELS[t.level]}"), ("Track", t.track), ("Time", f"{t.minutes} min")]
    facts += [("Chapter", _md(chapter(t.chapter)))] if t.chapter else []
    facts += [("Comes after", ", ".join(f"[{_md(r)}](../{r}.md)" if r in there else _md(r) for r in t.requires))] if t.requires else []
    lines = [f"# {_md(t.title)}", _MARK, _rows([["", ""], *([k, v] for k, v in facts)]), "## The question",
             *map(_md, w["prompt"].split("\n\n"))]
    if w["table"]:
        lines.append(_rows([[_md(c) for c in row] for row in (w["table"]["columns"], *w["table"]["rows"])]))
    for n, part in enumerate(w["parts"], 1):
        lines.append(f"{n}. {_md(part['question'])} *({_md(part['form'])})*" + "".join(
            f"\n   {i}. {_md(choice)}" for i, choice in enumerate(part["choices"], 1)))
    lines.append("## The answers")
    for n, part in enumerate(w["parts"], 1):
        lines.append(f"### {n}. {_md(part['name'])}")
        if part["answer"]:
            lines.append(f"**{_md(part['answer'])}**" + (f", from {_md(' and '.join(part['steps']))}." if part["steps"] else ""))
        if part["wrong"]:
            lines.append(_rows([["Who answers", "earns", "and hears"], *([_md(x) for x in row] for row in _wrong(part))]))
        if part["rubric"]:
            lines.append(_rows([["Points", "for an answer that"], *([f"{100 * share:g} %", _md(text)] for share, text in part["rubric"])]))
    lines.append(f"With other numbers: `staffml drill --template {t.name}`. All templates: [question bank](../index.md).")
    return "\n\n".join(lines) + "\n"


def _index(templates):
    lines = ["# Question bank", _MARK,
             f'{len(templates)} templates, one worked variant each. <a href="find.html">Search them</a> by words, area, level, track and '
             "topic."]
    for area in AREAS:
        of = [t for t in templates if t.area == area]
        if of:
            lines += [f"## {area.capitalize()}", _rows([["Template", "Level", "Track", "Topic", "Minutes"], *(
                [f"[{_md(t.title)}]({t.name}.md)", t.level, t.track, t.topic, str(t.minutes)] for t in _sorted(of))])]
    return "\n\n".join(lines) + "\n"


def _sorted(templates):
    return sorted(templates, key=lambda t: (AREAS.index(t.area), tuple(LEVELS).index(t.level), t.name))


def _rows(rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def _md(text):
    return re.sub(r"^%", r"\\%", re.sub(r"([\\`*_<>|$~\[\]{}])", r"\\\1", str(text)))


# HTML

def _find(found, ending):
    def options(values):
        return "".join(f'<option value="{_h(v)}">{_h(v)}</option>' for v in values)

    there = {k: {getattr(t, k) for t, _ in found} for k in ("area", "level", "track", "topic")}
    topics = "".join(f'<optgroup label="{area}">{options(x for x in TOPICS[area] if x in there["topic"])}</optgroup>'
                     for area in AREAS if area in there["area"])
    order = {t.name: i for i, t in enumerate(_sorted([t for t, _ in found]))}
    entries = [_entry(t, w, ending) for t, w in sorted(found, key=lambda f: order[f[0].name])]
    fields = {"areas": options(a for a in AREAS if a in there["area"]), "levels": options(x for x in LEVELS if x in there["level"]),
              "tracks": options(x for x in TRACKS if x in there["track"]), "topics": topics, "count": str(len(found)),
              "entries": "\n".join(entries)}
    page = (Path(__file__).parent / "bank.html").read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda m: fields[m[1]], page)


def _entry(t, w, ending):
    facts = ", ".join((t.area, t.level, t.track, t.topic, f"{t.minutes} min"))
    body = [f"<p>{_h(text)}</p>" for text in w["prompt"].split("\n\n")]
    if w["table"]:
        body.append(_table(w["table"]["columns"], w["table"]["rows"]))
    body.append("<ol>" + "".join(_question(part) for part in w["parts"]) + "</ol>")
    answers = []
    for n, part in enumerate(w["parts"], 1):
        answers.append(f"<h3>{n}. {_h(part['name'])}</h3>")
        if part["answer"]:
            steps = f", from {_h(' and '.join(part['steps']))}" if part["steps"] else ""
            answers.append(f'<p><span class="answer">{_h(part["answer"])}</span>{steps}</p>')
        if part["wrong"]:
            answers.append(_table(["Who answers", "earns", "and hears"], _wrong(part)))
        if part["rubric"]:
            answers.append(_table(["Points", "for an answer that"], [[f"{100 * share:g} %", text] for share, text in part["rubric"]]))
    body.append(f"<details><summary>Answers</summary>{''.join(answers)}</details>")
    body.append(f'<p class="facts">{_h(chapter(t.chapter))} <a href="{t.name}.{ending}">Its page</a></p>')
    data = " ".join(f'data-{k}="{_h(getattr(t, k))}"' for k in ("area", "level", "track", "topic"))
    head = f'<h2>{_h(t.title)}</h2> <span class="facts">{_h(facts)}</span>'
    return f'<article id="{t.name.replace("/", "-")}" {data}><details><summary>{head}</summary>{"".join(body)}</details></article>'


def _question(part):
    choices = "".join(f"<li>{_h(choice)}</li>" for choice in part["choices"])
    return f"<li>{_h(part['question'])} <i>({_h(part['form'])})</i>{f'<ol>{choices}</ol>' if choices else ''}</li>"


def _table(head, rows):
    cells = "".join("<tr>" + "".join(f"<td>{_h(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{_h(cell)}</th>" for cell in head)}</tr>{cells}</table></div>'


def _wrong(part):
    return [[f"{number}) {value}" if number else value, f"{100 * credit:g} %", f"{name}: {why}" if why else name]
            for number, value, credit, name, why in part["wrong"]]


def _h(text):
    return html.escape(str(text))
