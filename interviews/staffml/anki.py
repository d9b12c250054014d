"""Variants as Anki cards: the question in front, the key and what each wrong way leads to behind.

A card is one variant, with its numbers, because Anki cannot draw new ones; `staffml due` can. Identifiers are hashes of names and
dates are fixed, so the same choice gives the same bytes, and importing a newer export changes notes in place.
"""

import hashlib
import html
import io
import zipfile

from .problem import Problem
from .variants import baked
from .worked import worked

_STAMP = 1_577_836_800                  # 2020-01-01 UTC, in every export: Anki compares notes by their identifiers
_STYLE = """.card { font-family: sans-serif; font-size: 17px; text-align: left; line-height: 1.4; max-width: 44em; margin: 1em auto; }
table { border-collapse: collapse; } td, th { padding: .15em .7em; text-align: right; border-bottom: 1px solid; }
td:first-child, th:first-child { text-align: left; } .facts { font-size: 80%; }"""


def deck(variants):
    """[(template, draw, its variant)] -> the bytes of an .apkg file, one note each.

    Raises ValueError when the package genanki is not installed.
    """
    try:
        import genanki
    except ImportError:
        raise ValueError("Anki export needs the package genanki: pip install 'mlsys-course[anki]'") from None
    model = genanki.Model(_number("model"), "StaffML drill", css=_STYLE, fields=[{"name": "front"}, {"name": "back"}], templates=[
        {"name": "drill", "qfmt": "{{front}}", "afmt": '{{front}}<hr id="answer">{{back}}'}])
    cards = genanki.Deck(_number("deck"), "StaffML")
    for template, draw, p in variants:
        front, back = card(template, draw, p)
        cards.add_note(genanki.Note(model, [front, back], guid=hashlib.sha256(f"{template.name}\x1f{draw}".encode()).hexdigest()[:20],
                                    tags=[f"area::{template.area}", f"level::{template.level}", f"track::{template.track}",
                                          f"topic::{template.topic}"]))
    made = io.BytesIO()
    genanki.Package(cards).write_to_file(made, timestamp=_STAMP)
    return _undated(made)


def card(template, draw, p):
    """One variant as the HTML of both sides -> (front, back)."""
    shown, found = Problem(baked(template, draw, p)), worked(template, draw, p)
    front = [f"<p><b>{_(template.title)}</b><br><span class=facts>{_(template.area)}, {_(template.level)}, {_(template.track)}, "
             f"{template.minutes} min</span></p>", *(f"<p>{_(text)}</p>" for text in found["prompt"].split("\n\n"))]
    if shown.table:
        head, *rows = [shown.table["columns"], *shown.table["rows"]]
        front.append("<table><tr>" + "".join(f"<th>{_(cell)}</th>" for cell in head) + "</tr>"
                     + "".join("<tr>" + "".join(f"<td>{_(cell)}</td>" for cell in row) + "</tr>" for row in rows) + "</table>")
    front.append("<ol>" + "".join(f"<li>{_(part['question'])} <i>({_(part['form'])})</i>{_list(map(_, part['choices']), 'ol')}</li>"
                                  for part in found["parts"]) + "</ol>")
    return "".join(front), "<ol>" + "".join(f"<li>{_answer(part)}</li>" for part in found["parts"]) + "</ol>"


def _answer(part):
    said = [f"{_(value)}: {_(why or name)} ({100 * credit:g} %)" for _n, value, credit, name, why in part["wrong"]]
    said += [f"{100 * share:g} %: {_(text)}" for share, text in part["rubric"]]
    return (f"<b>{_(part['answer'])}</b>" if part["answer"] else _(part["form"])) + _list(said, "ul")


def _list(texts, kind):
    items = "".join(f"<li>{text}</li>" for text in texts)
    return f"<{kind}>{items}</{kind}>" if items else ""


def _(text):
    return html.escape(str(text), quote=False)


def _number(name):
    """A stable identifier in the range that Anki takes."""
    return 1 << 30 | int.from_bytes(hashlib.sha256(f"staffml {name}".encode()).digest()[:3], "big")


def _undated(package):
    """The same archive with fixed dates."""
    made = io.BytesIO()
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED)
    return made.getvalue()
