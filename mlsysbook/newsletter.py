"""The newsletter: one Markdown file an issue becomes a page of the book, a mail in HTML and in text, a message, and an entry of a feed.

An issue is book/newsletter/YYYY-MM-slug.md. Its front matter has title, date, summary and `let`: Python that computes what the text
writes as {{name}}, from committed benchmarks and from the libraries, and asserts what the sentences claim. Everything is made offline
and is the same at every run; addresses are examples, to be replaced by whoever sends it.
"""

import datetime as dt
import re
import sys
import textwrap
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from pathlib import Path

import yaml

from .errors import CourseError

NAME = re.compile(r"(\d{4}-\d{2})-([a-z0-9-]+)")
AUTHORITY = "newsletter.example,2026"                                  # of tag: URIs (RFC 4151), which name and do not lead anywhere
SENDER, READERS = "ML Systems newsletter <newsletter@course.example>", "readers@course.example"
TITLE, TAGLINE = "ML Systems newsletter", "What the course measures, an issue at a time"
WIDTH = 72                                                             # of the text version
FIELDS = {"title", "date", "summary", "let"}


class IssueError(CourseError):
    """An issue that cannot be published. The message starts with its file."""


@dataclass(frozen=True)
class Issue:
    """One issue, its figures filled in. text is Markdown without the title; date is its day."""

    slug: str
    title: str
    date: dt.date
    summary: str
    text: str

    @property
    def id(self):
        return f"tag:{AUTHORITY}:{self.slug}"


def issues(root):
    """All issues of a course's folder, the newest first."""
    found = [load(path, root) for path in sorted((root / "book" / "newsletter").glob("[0-9]*.md"))]
    return sorted(found, key=lambda issue: (issue.date, issue.slug), reverse=True)


def inputs(root):
    """Files besides the issues, and the libraries that chapters compute with, that a figure may come from."""
    if not (root / "book" / "newsletter").is_dir():
        return []
    return [root / "mlsysbook" / "newsletter.py", root / "mlsysbook" / "box" / "limits.py", root / "kits" / "README.md",
            *sorted((root / "benchmarks").glob("*.md")), *sorted((root / "tests" / "attacks").glob("*.py"))]  # fmt: skip


def load(path, root):
    """Read an issue and compute its figures. Raises IssueError, one line, for what is missing, false or not used."""
    where = f"book/newsletter/{path.name}"
    if not (name := NAME.fullmatch(path.stem)):
        raise IssueError(f"{where}: is called {path.stem!r}; wants YYYY-MM-slug.md")
    head, text = _parts(path.read_text(encoding="utf-8"), where)
    if not isinstance(head.get("date"), dt.date) or f"{head['date']:%Y-%m}" != name[1]:
        raise IssueError(f"{where}: has the date {head.get('date')!r}; wants a day of {name[1]}")
    figures = _figures(head["let"], root, where)
    text = _filled(text, figures, where)
    title, gap, text = text.strip().partition("\n")
    if title != f"# {head['title']}" or not gap:
        raise IssueError(f"{where}: starts with {title[:60]!r}; wants '# {head['title']}', the title of its front matter")
    return Issue(path.stem, head["title"], head["date"], _filled(head["summary"], figures, where), text.strip())


def _parts(source, where):
    match = re.match(r"---\n(.*?)\n---\n(.*)", source, re.S)
    try:
        head = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        raise IssueError(f"{where}: its front matter is not YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(head, dict) or set(head) != FIELDS:
        got = ", ".join(sorted(head)) if isinstance(head, dict) else "none"
        raise IssueError(f"{where}: front matter has {got}; wants {', '.join(sorted(FIELDS))}")
    return head, match[2]


def _figures(code, root, where):
    """Names and texts that the `let` of an issue computes, with benchmark() at hand."""
    from .book.numbers import written

    names = {"benchmark": lambda name: benchmark(root, name), "written": written, "ROOT": root}
    added = [str(p) for p in (root, root / "sim") if str(p) not in sys.path]           # plain Sphinx runs where neither is installed
    sys.path[:0] = added
    try:
        exec(compile(code, where, "exec"), names)                      # an author's own, as the cells of a chapter are
    except Exception as error:
        line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else getattr(error, "lineno", 0)
        told = str(error) or code.splitlines()[line - 1].strip()
        raise IssueError(f"{where}: line {line} of let: {type(error).__name__}: {told}") from None
    finally:
        sys.path[:] = [p for p in sys.path if p not in added]
    return {name: value for name, value in names.items() if isinstance(value, str) and not name.startswith("_")}


def _filled(text, figures, where):
    for name in dict.fromkeys(re.findall(r"\{\{([^{}]*)\}\}", text)):
        if name not in figures:
            raise IssueError(f"{where}: writes {{{{{name}}}}}; its let computes {', '.join(sorted(figures))}")
    return re.sub(r"\{\{([^{}]*)\}\}", lambda m: figures[m[1]], text)


def benchmark(root, name):
    """Tables of a committed benchmark, benchmarks/NAME.md: for each, its rows as {column: text}, without emphasis."""
    path, tables, head = root / "benchmarks" / f"{name}.md", [], None
    for line in path.read_text(encoding="utf-8").split("\n"):
        cells = [c.strip().strip("*").strip() for c in line.strip().strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            head = None
        elif head is None:
            head = cells
            tables.append([])
        elif not set("".join(cells)) <= set("-: "):
            tables[-1].append(dict(zip(head, cells, strict=True)))
    return tables


# ---- The page in the book

def page(root, docname, source):
    """Source of a page of book/newsletter as Sphinx reads it: an issue with its figures, or the index with its list."""
    path = root / "book" / f"{docname}.md"
    if NAME.fullmatch(path.stem):
        issue = load(path, root)
        return f"# {issue.title}\n\n*{day(issue.date)}.* {issue.summary}\n\n{issue.text}\n"
    listed = "\n".join(f"- {day(i.date)}: [{i.title}]({i.slug}). {i.summary}" for i in issues(root))
    return source.replace("{{issues}}", listed)


def day(date):
    """A date as the book writes it, in no language's locale."""
    months = "January February March April May June July August September October November December".split()
    return f"{date.day} {months[date.month - 1]} {date.year}"


# ---- The mail

def _parser():
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False, "typographer": True}).enable(["table", "smartquotes", "replacements"])


def _addressed(issue, site):
    """Text with links to the book made absolute below `site`; without a site they become plain words."""
    def link(match):
        label, target = match[1], match[2]
        if re.match(r"[a-z]+:", target):
            return match[0]
        place, _, anchor = target.partition("#")
        address = f"newsletter/{place}" if not place.startswith("../") else place.removeprefix("../")
        address = re.sub(r"(\.md)?$", ".html", address, count=1) + (f"#{anchor}" if anchor else "")
        return f"[{label}]({site.rstrip('/')}/{address})" if site else label

    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", link, issue.text)


def mail_html(issue, root, site=None):
    """The issue as one HTML document whose styles are in its elements, as mail programs want it."""
    from premailer import Premailer

    css = (root / "book" / "newsletter" / "_mail.css").read_text(encoding="utf-8")
    head = f'<p class="head">{TITLE} · {day(issue.date)}</p><h1>{escape(issue.title)}</h1><p class="summary">{escape(issue.summary)}</p>'
    foot = f'<p class="foot">{_foot(issue, site)}</p>'
    whole = (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
             f"<title>{escape(issue.title)}</title></head><body><div class=\"sheet\">{head}"
             f"{_parser().render(_addressed(issue, site))}{foot}</div></body></html>")  # fmt: skip
    made = Premailer(whole, css_text=css, keep_style_tags=False, remove_classes=True, strip_important=False, allow_network=False,
                     disable_validation=True, cssutils_logging_level="CRITICAL").transform()  # fmt: skip
    return made.strip() + "\n"


def _foot(issue, site):
    where = f' This issue on the web: <a href="{site.rstrip("/")}/newsletter/{issue.slug}.html">{escape(issue.title)}</a>.' if site else ""
    return ("Text and figures: CC BY 4.0. What is modelled is computed when the issue is made; what was measured is read from where it "
            f"is kept.{where}")


def mail_text(issue, site=None):
    """The issue as plain text of 72 columns; links are numbered and listed at the end."""
    links, out = [], []
    tokens = _parser().parse(_addressed(issue, site))

    def words(inline):
        parts = []
        for t in inline.children:
            if t.type == "link_open":
                links.append(t.attrs["href"])
            parts.append({"softbreak": " ", "hardbreak": "\n", "link_close": f" [{len(links)}]"}.get(t.type, t.content))
        return "".join(parts)

    def wrapped(text, first="", rest=""):
        return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)

    bullet, counts, row, table = [], [], [], []
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            title = words(tokens[i + 1])
            out.append(f"{title}\n{'-' * len(title)}")
        elif token.type == "paragraph_open":
            first = bullet.pop() if bullet else ""
            out.append(wrapped(words(tokens[i + 1]), first, " " * len(first)))
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            counts.append(0 if token.type.startswith("ordered") else None)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            counts.pop()
        elif token.type == "list_item_open":
            counts[-1] = None if counts[-1] is None else counts[-1] + 1
            bullet.append("* " if counts[-1] is None else f"{counts[-1]}. ")
        elif token.type in ("fence", "code_block"):
            out.append(textwrap.indent(token.content.rstrip(), "    "))
        elif token.type in ("th_open", "td_open"):
            row.append(words(tokens[i + 1]))
        elif token.type == "tr_close":
            table.append(row)
            row = []
        elif token.type == "table_close":
            wide = [max(len(r[c]) for r in table) for c in range(len(table[0]))]
            lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, wide, strict=True)).rstrip() for r in table]
            out.append("\n".join([lines[0], "-" * len(lines[0]), *lines[1:]]))
            table = []
    head = [f"{TITLE} · {day(issue.date)}", f"{issue.title}\n{'=' * len(issue.title)}", wrapped(issue.summary)]
    notes = ["\n".join(f"[{n}] {address}" for n, address in enumerate(links, 1))] if links else []
    foot = wrapped(re.sub(r"<[^>]+>", "", _foot(issue, None)))
    return "\n\n".join([*head, *out, *notes, "-- \n" + foot]) + "\n"


def message(issue, root, site=None):
    """The issue as a message with both versions, as bytes of a .eml file. Sender and readers are examples."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"], mail["From"], mail["To"] = issue.title, SENDER, READERS
    mail["Date"] = dt.datetime.combine(issue.date, dt.time(9), dt.UTC)
    mail["Message-ID"] = f"<{issue.slug}@newsletter.example>"
    mail["List-Id"] = f"{TITLE} <newsletter.example>"
    mail.set_content(mail_text(issue, site), cte="quoted-printable")
    mail.add_alternative(mail_html(issue, root, site), subtype="html", cte="quoted-printable")
    mail.set_boundary(f"=_{issue.slug}_=")                             # not drawn at random
    return mail.as_bytes()


# ---- The feed

def feed(root, site=None):
    """All issues as an Atom feed, bytes; links are relative to the feed unless the address of the book is given."""
    from feedgen.feed import FeedGenerator

    every = issues(root)
    if not every:
        raise IssueError("book/newsletter: has no issue; write one as YYYY-MM-slug.md")
    base = f"{site.rstrip('/')}/newsletter/" if site else ""
    made = FeedGenerator()
    made.id(f"tag:{AUTHORITY}:feed")
    made.title(TITLE)
    made.subtitle(TAGLINE)
    made.author(name="ML Systems course contributors")
    made.link(href=f"{base}feed.xml", rel="self")
    made.link(href=f"{base}index.html", rel="alternate")
    made.rights("CC BY 4.0")
    made.generator("mlsys newsletter")
    made.updated(_noon(every[0].date))
    for issue in every:
        entry = made.add_entry(order="append")
        entry.id(issue.id)
        entry.title(issue.title)
        entry.link(href=f"{base}{issue.slug}.html", rel="alternate")
        entry.summary(issue.summary)
        entry.content(_parser().render(_addressed(issue, site)), type="html")
        entry.published(_noon(issue.date))
        entry.updated(_noon(issue.date))
    return made.atom_str(pretty=True)


def _noon(date):
    return dt.datetime.combine(date, dt.time(9), dt.UTC)


def publish(root, out, slug=None, site=None):
    """Write SLUG.html, .txt and .eml of one issue, or of all, and feed.xml -> paths. Nothing is written if one cannot be made."""
    from . import atomic

    every = issues(root)
    chosen = [issue for issue in every if slug in (None, issue.slug)]
    if not chosen:
        raise IssueError(f"no issue {slug!r}; there are {', '.join(issue.slug for issue in every) or 'none'}")
    made = {"feed.xml": feed(root, site)}
    for issue in chosen:
        made |= {f"{issue.slug}.html": mail_html(issue, root, site), f"{issue.slug}.txt": mail_text(issue, site),
                 f"{issue.slug}.eml": message(issue, root, site)}  # fmt: skip
    for name, data in made.items():
        atomic.write(Path(out) / name, data)
    return [Path(out) / name for name in made]
