"""A syllabus as Markdown, HTML, iCalendar, CSV and JSON."""

import csv
import hashlib
import io
import json
from dataclasses import asdict
from datetime import timedelta
from html import escape

from .calendar import DAYS, SyllabusError
from .syllabus import hours

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
FORMATS = ("md", "html", "ics", "csv", "json")
COLUMNS = (("Read", ("read", "paper")), ("Explore and practise", ("lab", "practise", "deploy")), ("Build", ("build",)))
CSV_COLUMNS = ("number", "meetings", "lost", "kind", "key", "title", "state", "minutes", "due", "session_minutes")


def write(syllabus, form):
    """The text of a syllabus in one of FORMATS."""
    return {"md": markdown, "html": page, "ics": ics, "csv": table, "json": data}[form](syllabus)


def rows(s):
    """A row a session: number, dates, what is read, explored and built, what is due, effort. Texts."""
    for x in s.sessions:
        dates = [", ".join(map(_day, x.meetings))] + [f"no class on {_day(d)}: {name}" for d, name in x.lost]
        due = [i.title for i in x.due]
        head = [f"by {_day(x.due_on)}"] if due and x.due_on else []
        yield (x, ["; ".join(dates)] if s.start else [], [[i.label for i in x.begins if i.kind in kinds] for _, kinds in COLUMNS],
               head, due, f"{hours(x.minutes)}{' (heavy)' if x.heavy else ''}")


def _day(d):
    """ "Mon 25 Jan", in English whatever the locale."""
    return f"{DAYS[d.weekday()].capitalize()} {d.day} {_MONTHS[d.month - 1]}"


def header(s):
    return [s.unit.capitalize(), *(["Class"] if s.start else []), *(name for name, _ in COLUMNS), "Due", "Work"]


def preface(s):
    """Sentences above the table."""
    first = ("Times are of the whole day." if s.unit == "day" else
             "Labs follow their chapter by a week. What is due is due at the end of the week; work is outside class.")
    if s.start and s.unit == "week":
        first = "Labs follow their chapter by a week. Work is outside class, and what is due is due at the end of the day that is named."
    return [f"{len(s.sessions)} {s.unit}s, {hours(s.minutes)} of work in all. {first}", *s.notes]


def markdown(s, level=1):
    """With pipe tables, for any Markdown reader."""
    lines = [f"{'#' * level} {_md(s.title)}", "", *(f"{line}\n" for line in map(_md, preface(s))),
             f"| {' | '.join(header(s))} |", f"|{'---|' * len(header(s))}"]
    for x, dates, columns, head, due, work in rows(s):
        cells = [str(x.number), *dates, *("; ".join(c) for c in columns), ": ".join([*head, "; ".join(due)]), work]
        lines.append(f"| {' | '.join(_md(c).replace('|', chr(92) + '|') for c in cells)} |")
    if s.weights:
        lines += ["", "| Part of the grade | per cent |", "|---|---|", *(f"| {name} | {share} |" for name, share in s.weights.items())]
    return "\n".join(lines) + "\n"


def _md(text):
    return "".join(f"\\{c}" if c in "*_`[]<>" else c for c in str(text))


_STYLE = """body { font: 1rem/1.45 sans-serif; max-width: 75rem; margin: 1rem auto; padding: 0 1rem;
 color: #1a1a1a; background: #fff; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: bold; padding: .4rem 0; }
th, td { border: 1px solid #767676; padding: .35rem .5rem; text-align: left; vertical-align: top; } thead th { background: #eee; }
ul { margin: 0; padding-left: 1.1rem; } tr { break-inside: avoid; }
@media (max-width: 45rem) { thead { position: absolute; left: -999rem; } tr, td, tbody th { display: block; border: 0; }
 tr { border: 1px solid #767676; margin: .7rem 0; } td:empty { display: none; }
 td::before { content: attr(data-label) ": "; font-weight: bold; } }
"""


def page(s):
    """A page of its own, readable by a screen reader, on a phone and on paper. No script, nothing from elsewhere."""
    names = header(s)
    lines = ['<!doctype html>', '<html lang="en">', '<head>', '<meta charset="utf-8">',
             '<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>{escape(s.title)}</title>",
             f"<style>{_STYLE}</style>", "</head>", "<body>", "<main>", f"<h1>{escape(s.title)}</h1>",
             *(f"<p>{escape(line)}</p>" for line in preface(s)),
             '<div class="wide" tabindex="0" role="region" aria-label="Schedule">', "<table>",
             f"<caption>Schedule by {s.unit}</caption>",
             "<thead><tr>" + "".join(f'<th scope="col">{escape(n)}</th>' for n in names) + "</tr></thead>", "<tbody>"]
    for x, dates, columns, head, due, work in rows(s):
        cells = [*map(escape, dates), *(_list(c) for c in columns), "".join(map(escape, head)) + _list(due), escape(work)]
        lines.append(f'<tr><th scope="row">{escape(s.unit.capitalize())} {x.number}</th>'
                     + "".join(f'<td data-label="{escape(n)}">{c}</td>' for n, c in zip(names[1:], cells, strict=True)) + "</tr>")
    lines += ["</tbody>", "</table>", "</div>"]
    if s.weights:
        lines += ["<table>", "<caption>Parts of the grade</caption>",
                  '<thead><tr><th scope="col">Part</th><th scope="col">Per cent</th></tr></thead>', "<tbody>",
                  *(f'<tr><th scope="row">{escape(n)}</th><td>{v}</td></tr>' for n, v in s.weights.items()), "</tbody></table>"]
    return "\n".join([*lines, "</main>", "</body>", "</html>"]) + "\n"


def _list(texts):
    return f"<ul>{''.join(f'<li>{escape(t)}</li>' for t in texts)}</ul>" if texts else ""


def table(s):
    """CSV: a row for each thing that is read or set."""
    from ..grading.export import cell

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    ends = {i.key: x.due_on for x in s.sessions for i in x.due}
    for x in s.sessions:
        for i in x.begins:
            due = ends.get(i.key) if i.graded else None
            row = (x.number, " ".join(map(str, x.meetings)), "; ".join(f"{d} {n}" for d, n in x.lost), i.kind, i.key, i.title, i.state,
                   i.minutes, due, x.minutes)
            writer.writerow([cell(v) for v in row])
    return out.getvalue()


def data(s):
    """JSON, for other programs."""
    sessions = []
    for x in s.sessions:
        sessions.append({"number": x.number, "meetings": [str(d) for d in x.meetings], "lost": [[str(d), n] for d, n in x.lost],
                         "due_on": x.due_on and str(x.due_on), "minutes": x.minutes, "heavy": x.heavy,
                         "begins": [asdict(i) for i in x.begins], "due": [i.key for i in x.due]})
    found = {"name": s.name, "title": s.title, "unit": s.unit, "start": s.start and str(s.start), "load": s.load, "notes": list(s.notes),
             "weights": s.weights, "sessions": sessions}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


# iCalendar, RFC 5545

def ics(s):
    """All-day events: each class, and each day on which something is due. UIDs stay when dates move, so a calendar updates."""
    if not s.start:
        raise SyllabusError("a calendar file wants a --start, such as 2027-01-25")
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//ML Systems//mlsys syllabus//EN", "CALSCALE:GREGORIAN",
             f"X-WR-CALNAME:{_text(s.title)}"]
    for x in s.sessions:
        what = [i.label for i in x.begins]
        for n, day in enumerate(x.meetings):
            head = next((i.title for i in x.begins if i.kind == "read"), "work on what is set")
            more = f", class {n + 1} of {len(x.meetings)}" if len(x.meetings) > 1 else ""
            lines += _event(s, f"class/{x.number}/{n}", day, f"{s.unit.capitalize()} {x.number}: {head}{more}", "\n".join(what))
        for i in x.due:
            planned = " (planned)" if i.state == "planned" else ""
            lines += _event(s, f"due/{i.key}", x.due_on, f"Due: {i.title}{planned}", f"mlsys class release {i.assignment}")
    return "".join(f"{_fold(line)}\r\n" for line in [*lines, "END:VCALENDAR"])


def _event(s, key, day, summary, description):
    uid = hashlib.sha256(f"{s.name}/{s.start.year}-{s.start.month:02}/{key}".encode()).hexdigest()[:32]
    return ["BEGIN:VEVENT", f"UID:{uid}@mlsys", f"DTSTAMP:{s.start:%Y%m%d}T000000Z", f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
            f"DTEND;VALUE=DATE:{day + timedelta(days=1):%Y%m%d}", f"SUMMARY:{_text(summary)}", f"DESCRIPTION:{_text(description)}",
            "TRANSP:TRANSPARENT", "END:VEVENT"]


def _text(text):
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return text


def _fold(line):
    """Lines of at most 75 octets, broken between characters."""
    parts, size = [""], 0
    for c in line:
        n = len(c.encode())
        if size + n > 75:
            parts, size = [*parts, " "], 1
        parts[-1] += c
        size += n
    return "\r\n".join(parts)
