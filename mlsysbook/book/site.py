"""What the book takes from the catalogue: its table of contents, the course map, and on each chapter where it is used.

Texts are MyST, in the language of `_`, a function from an English text to that of the page (mlsysbook/book/translate.py). The table of
contents is a committed file (`mlsys contents` writes it); the others are made at every build by directives of book/_ext, so that
they cannot be out of date.
"""

import re
import unicodedata
from functools import cache
from html import escape

from ..errors import CatalogueError

PATHS = ("student", "self_learner", "instructor", "contributor")
INSTRUCTORS = ("index", "from_zero", "syllabi", "assessment", "pedagogy", "rubrics", "ta_handbook", "customisation", "accessibility",
               "ai_use")
REFERENCE = ("map", "companion/index", "glossary")
_COLUMN, _ROW, _BOX = 172, 76, (156, 40)       # of the graph: a column, a row, a chapter; pixels


def toc(course):
    """book/_toc.yml: the paths, each volume part by part, and the reference pages that exist."""
    lines = ["# Written by `mlsys contents` from course.yml; the test of the book compares.", "format: jb-book", "root: index", "parts:",
             "  - caption: Choose your path", "    chapters:", *(f"      - file: paths/{p}" for p in PATHS)]  # fmt: skip
    last = None
    for c in course.chapters:
        if (c.volume, c.part) != last:
            last = c.volume, c.part
            lines += [f'  - caption: "Volume {"I" * c.volume}: {c.part}"', "    chapters:"]
        lines += [f"      - file: {c.file}", f'        title: "{int(c.number[3:])} {c.title}"']
    lines += ["  - caption: Teaching", "    chapters:", *(f"      - file: instructors/{p}" for p in INSTRUCTORS)]
    there = [name for name in REFERENCE if (course.root / "book" / f"{name}.md").is_file()]
    lines += ["  - caption: Reference", "    chapters:", *(f"      - file: {name}" for name in there)]
    if issues := sorted((course.root / "book" / "newsletter").glob("[0-9]*.md"), reverse=True):
        lines += ["      - file: newsletter/index", "        sections:", *(f"          - file: newsletter/{p.stem}" for p in issues)]
    return "\n".join(lines) + "\n"


def check(course):
    """Raise CatalogueError, one line a fault, unless chapters, their files and what the catalogue names fit together."""
    wrong = []
    for c in course.chapters:
        path = course.root / "book" / f"{c.file}.md"
        if not path.is_file():
            wrong.append(f"book/{c.file}.md: is missing; {c.number} {c.title} needs a page, an outline at least")
            continue
        front = front_matter(path.read_text(encoding="utf-8"))
        for field, value in (("title", c.title), ("number", str(int(c.number[3:]))), ("volume", str(c.volume))):
            if front.get(field) != value:
                wrong.append(f"book/{c.file}.md:1: {field} is {front.get(field)!r}; course.yml says {value!r}")
    pages = {f"{c.file}.md" for c in course.chapters}
    found = sorted(p.relative_to(course.root / "book").as_posix() for p in (course.root / "book").glob("vol*/[0-9]*.md"))
    wrong += [f"book/{name}: is in no chapter of course.yml" for name in found if name not in pages]
    for kind, things in (("labs", course.labs), ("modules", course.modules), ("kits", course.kits)):
        used = {x for c in course.chapters for x in getattr(c, kind)}
        names = [getattr(t, "name", None) or t.number for t in things]
        wrong += [f"course.yml: {kind} has {n}, which no chapter leads to" for n in names if n not in used]
    for part, known in (("kits", {k.assignment for k in course.kits}), ("labs", {x.assignment for x in course.labs}),
                        ("tinytorch", {m.assignment for m in course.modules})):  # fmt: skip
        wrong += [f"course.yml: assignment {a.name} is in no entry of the list above" for a in course.assignments
                  if a.part == part and a.name not in known]  # fmt: skip
    drills = {d for c in course.chapters for d in c.drills}
    wrong += [f"course.yml: no chapter leads to {a.name}" for a in course.assignments if a.part == "drills" and a.name not in drills]
    if wrong:
        raise CatalogueError("\n".join(wrong))


def front_matter(text):
    """The plain `key: value` lines of a page's front matter, as texts."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.S)
    found = re.findall(r"^(\w+): *(.*?) *$", match[1], re.M) if match else []
    return {key: value.strip("\"'") for key, value in found}


def is_outline(course, chapter):
    """Whether a chapter's page holds its plan only."""
    path = course.root / "book" / f"{chapter.file}.md"
    return path.is_file() and front_matter(path.read_text(encoding="utf-8")).get("outline") == "true"


def fill(text, *values):
    """A text with its places {1}, {2} filled."""
    for i, value in enumerate(values, 1):
        text = text.replace(f"{{{i}}}", str(value))
    return text


def where(course, chapter, _=str):
    """The box of a chapter: lab, modules, kits, drills, and the chapters around it."""
    by_number = {c.number: c for c in course.chapters}
    lines = []
    if is_outline(course, chapter):
        lines += [_("**An outline.** Question, models and plan stand, the text is not written. Figures in the question set the scene; "
                    "they are computed with the text."), ""]  # fmt: skip
    for x in course.labs:
        if x.number in chapter.labs:
            lines.append(f"- **{_('Explore')}** {fill(_('Lab {1}, {2}'), x.number, _(x.title))}{_get(x.assignment, _)}")
    for m in course.modules:
        if m.number in chapter.modules:
            lines.append(f"- **{_('Build')}** {fill(_('TinyTorch {1}, {2}'), f'{m.number:02}', _(m.title))}{_get(m.assignment, _)}")
    for k in course.kits:
        if k.name in chapter.kits:
            lines.append(f"- **{_('Deploy')}** {_(k.title)}{_get(k.assignment, _)}")
    lines += [f"- **{_('Practise')}** {fill(_('Drill: {1}'), _(_drill(course, d)))}{_get(d, _)}" for d in chapter.drills]
    if asked := questions(course.root).get(chapter.number):
        lines.append(f"- **{_('Practise')}** " + fill(_("{1} kinds of question, such as {2}"), len(asked),
                                                      f"`staffml drill --template {asked[0]}`"))  # fmt: skip
    before = [by_number[n] for n in chapter.requires]
    after = [c for c in course.chapters if chapter.number in c.requires]
    for words, others in ((_("Builds on"), before), (_("Leads to"), after)):
        if others:
            lines.append(f"- **{words}** {_(', ').join(_doc(c, _) for c in others)}")
    return "\n".join(lines)


def _get(assignment, _=str):
    return f"{_(': ')}`mlsys get {assignment}`" if assignment else _(", planned")


def _doc(chapter, _=str):
    return f"{{doc}}`{chapter.number} {_(chapter.title)} </{chapter.file}>`"


def _drill(course, name):
    """Title of a drill, without the word."""
    return course.find(name).title.removeprefix("Drill: ")


@cache
def questions(root):
    """Names of StaffML templates by the chapter that they belong to, {"V1-13": ["latency/batching_tax", ...]}."""
    found = {}
    for path in sorted((root / "interviews" / "templates").glob("*/*.py")):
        for chapter in re.findall(r'\bchapter="(V\d-\d\d)"', path.read_text(encoding="utf-8")):
            found.setdefault(chapter, []).append(f"{path.parent.name}/{path.stem}")
    return found


def key_terms(course):
    """[(term, meaning, chapter)] from the tables "Key terms", sorted. Raises CatalogueError for a term with two meanings."""
    found = {}
    for c in course.chapters:
        path = course.root / "book" / f"{c.file}.md"
        table = path.read_text(encoding="utf-8").partition("\n## Key terms\n")[2].partition("\n## ")[0] if path.is_file() else ""
        for term, meaning in re.findall(r"^\| *([^|]+?) *\| *([^|]+?) *\|$", table, re.M):
            if term == "term" or set(term) <= {"-", ":"}:
                continue
            if term.lower() in found:
                other = found[term.lower()][2].number
                raise CatalogueError(f"book/{c.file}.md: key term {term!r} is defined in {other} as well; define it once")
            found[term.lower()] = (term, meaning, c)
    return [found[key] for key in sorted(found)]


def glossary(course):
    """All key terms as a glossary, which {term} leads to from any page."""
    lines = ["```{glossary}"]
    for term, meaning, c in key_terms(course):
        lines += [term, f"  {meaning[0].upper()}{meaning[1:]}. {_doc(c)}", ""]
    return "\n".join([*lines, "```"])


def course_map(course, volume, _=str):
    """Table of a volume: week by week what is read, explored, built, deployed and practised."""
    labs, modules = {x.number: x for x in course.labs}, {m.number: m for m in course.modules}
    kits, asked = {k.name: k for k in course.kits}, questions(course.root)
    heads = _("week"), _("read"), _("explore"), _("build"), _("deploy"), _("practise")
    rows = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|---|"]
    for c in course.chapters:
        if c.volume != volume:
            continue
        written = "" if not is_outline(course, c) else fill(_(" ({1})"), _("outline"))
        cells = [c.week, f"{_doc(c, _)}{written}",
                 _(", ").join(_mark(f"{n} {_(labs[n].title)}", labs[n].assignment) for n in c.labs),
                 _(", ").join(_mark(f"{n:02} {_(modules[n].title)}", modules[n].assignment) for n in c.modules),
                 _(", ").join(_mark(_(kits[n].title), kits[n].assignment) for n in c.kits),
                 _(", ").join([*(_(_drill(course, d)) for d in c.drills),
                            *([fill(_("{1} kinds of question"), len(asked[c.number]))] if c.number in asked else [])])]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _mark(text, assignment):
    return text if assignment else f"*{text}*"


def prerequisites(course, volume, _=str):
    """What each chapter of a volume builds on, as a list: the graph in words."""
    titles = {c.number: _(c.title) for c in course.chapters}
    return "\n".join("- " + (fill(_("{1} builds on {2}."), _doc(c, _), _(", ").join(f"{n} {titles[n]}" for n in c.requires)) if c.requires
                             else fill(_("{1} builds on nothing before it."), _doc(c, _)))
                     for c in course.chapters if c.volume == volume)  # fmt: skip


def graph(course, volume, _=str):
    """The chapters of a volume as a drawing: a row for each depth, an arrow from each prerequisite. SVG in the page's colours."""
    chapters = [c for c in course.chapters if c.volume == volume]
    depth, rows, at = {}, {}, {}
    for c in chapters:
        depth[c.number] = 1 + max((depth[n] for n in c.requires if n in depth), default=-1)
        rows.setdefault(depth[c.number], []).append(c.number)
    widest = max(map(len, rows.values()))
    for level, numbers in rows.items():
        for i, n in enumerate(numbers):
            at[n] = (8 + _COLUMN * (i + (widest - len(numbers)) / 2), 8 + _ROW * level)
    wide, high = _COLUMN * widest + 4, _ROW * len(rows)
    told = fill(_("Prerequisites of volume {1}: {2} chapters in {3} rows, with an arrow from each chapter to those below that build on it. "
                  "The list below says the same."), "I" * volume, len(chapters), len(rows))  # fmt: skip
    parts = [f'<svg viewBox="0 0 {wide} {high}" role="img" aria-label="{escape(told)}" '
             f'style="width:100%;max-width:{wide}px" font-family="sans-serif">'
             f'<defs><marker id="after-{volume}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
             '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>']  # fmt: skip
    for c in chapters:
        x, y = at[c.number]
        for n in c.requires:
            if n in at:
                x0, y0, x1 = at[n][0] + _BOX[0] / 2, at[n][1] + _BOX[1], x + _BOX[0] / 2
                parts.append(f'<path class="edge" d="M{x0:.0f} {y0}C{x0:.0f} {y0 + 24} {x1:.0f} {y - 24} {x1:.0f} {y}" fill="none" '
                             f'stroke="currentColor" stroke-opacity="0.55" marker-end="url(#after-{volume})"/>')
    for c in chapters:
        x, y = at[c.number]
        lines = _lines(f"{int(c.number[3:])} {_(c.title)}")
        dash = ' stroke-dasharray="4 3"' if is_outline(course, c) else ""
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="4" stroke="currentColor"{dash} '
                     'style="fill:var(--pst-color-surface, Canvas)"/>')
        for i, line in enumerate(lines):
            base = y + _BOX[1] / 2 + 4.5 + 15 * i - 7.5 * (len(lines) - 1)
            parts.append(f'<text x="{x + _BOX[0] / 2:.0f}" y="{base:.0f}" text-anchor="middle" font-size="13" fill="currentColor">'
                         f"{escape(line)}</text>")
    return "".join([*parts, "</svg>"])


def _lines(title):
    """A chapter's number and title on one line of its box, or on two: parted before the last word, or in the middle where none is."""
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in title)
    if wide <= 20:
        return [title]
    number, _, name = title.partition(" ")
    head, space, tail = name.rpartition(" ")
    return [f"{number} {head}", tail] if space else [f"{number} {name[:(len(name) + 1) // 2]}", name[(len(name) + 1) // 2:]]
