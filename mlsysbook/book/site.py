"""What the book takes from the catalogue: its table of contents, the course map, and on each chapter where it is used.

Texts are MyST. The table of contents is a committed file (`mlsys contents` writes it); the others are made at every build by two
directives of book/_ext, so that they cannot be out of date.
"""

import re
from functools import cache
from html import escape

from ..errors import CatalogueError

PATHS = ("student", "self_learner", "instructor", "contributor")
REFERENCE = ("map", "glossary")
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
    there = [name for name in REFERENCE if (course.root / "book" / f"{name}.md").is_file()]
    lines += ["  - caption: Reference", "    chapters:", *(f"      - file: {name}" for name in there)]
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


def where(course, chapter):
    """The box of a chapter: lab, modules, kits, drills, and the chapters around it."""
    by_number = {c.number: c for c in course.chapters}
    lines = []
    if is_outline(course, chapter):
        lines += ["**An outline.** Question, models and plan stand, the text is not written. Figures in the question set the scene; "
                  "they are computed with the text.", ""]
    for x in course.labs:
        if x.number in chapter.labs:
            lines.append(f"- **Explore** Lab {x.number}, {x.title}{_get(x.assignment)}")
    for m in course.modules:
        if m.number in chapter.modules:
            lines.append(f"- **Build** TinyTorch {m.number:02}, {m.title}{_get(m.assignment)}")
    for k in course.kits:
        if k.name in chapter.kits:
            lines.append(f"- **Deploy** {k.title}{_get(k.assignment)}")
    lines += [f"- **Practise** {course.find(d).title}{_get(d)}" for d in chapter.drills]
    if asked := questions(course.root).get(chapter.number):
        lines.append(f"- **Practise** {len(asked)} kinds of question, such as `staffml drill --template {asked[0]}`")
    before = [by_number[n] for n in chapter.requires]
    after = [c for c in course.chapters if chapter.number in c.requires]
    for words, others in (("Builds on", before), ("Leads to", after)):
        if others:
            lines.append(f"- **{words}** {', '.join(_doc(c) for c in others)}")
    return "\n".join(lines)


def _get(assignment):
    return f": `mlsys get {assignment}`" if assignment else ", planned"


def _doc(chapter):
    return f"{{doc}}`{chapter.number} {chapter.title} </{chapter.file}>`"


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


def course_map(course, volume):
    """Table of a volume: week by week what is read, explored, built, deployed and practised."""
    labs, modules = {x.number: x for x in course.labs}, {m.number: m for m in course.modules}
    kits, asked = {k.name: k for k in course.kits}, questions(course.root)
    rows = ["| week | read | explore | build | deploy | practise |", "|---|---|---|---|---|---|"]
    for c in course.chapters:
        if c.volume != volume:
            continue
        written = "" if not is_outline(course, c) else " (outline)"
        cells = [c.week, f"{_doc(c)}{written}",
                 ", ".join(_mark(f"{n} {labs[n].title}", labs[n].assignment) for n in c.labs),
                 ", ".join(_mark(f"{n:02} {modules[n].title}", modules[n].assignment) for n in c.modules),
                 ", ".join(_mark(kits[n].title, kits[n].assignment) for n in c.kits),
                 ", ".join([*(course.find(d).title.removeprefix("Drill: ") for d in c.drills),
                            *([f"{len(asked[c.number])} kinds of question"] if c.number in asked else [])])]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _mark(text, assignment):
    return text if assignment else f"*{text}*"


def prerequisites(course, volume):
    """What each chapter of a volume builds on, as a list: the graph in words."""
    titles = {c.number: c for c in course.chapters}
    return "\n".join(f"- {_doc(c)} builds on {', '.join(f'{n} {titles[n].title}' for n in c.requires) or 'nothing before it'}."
                     for c in course.chapters if c.volume == volume)  # fmt: skip


def graph(course, volume):
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
    parts = [f'<svg viewBox="0 0 {wide} {high}" role="img" aria-label="Prerequisites of volume {"I" * volume}: {len(chapters)} chapters '
             f'in {len(rows)} rows, with an arrow from each chapter to those below that build on it. The list below says the same." '
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
        words = c.title.split()
        lines = [f"{int(c.number[3:])} {c.title}"] if len(c.title) <= 17 else [f"{int(c.number[3:])} {' '.join(words[:-1])}", words[-1]]
        dash = ' stroke-dasharray="4 3"' if is_outline(course, c) else ""
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="4" stroke="currentColor"{dash} '
                     'style="fill:var(--pst-color-surface, Canvas)"/>')
        for i, line in enumerate(lines):
            base = y + _BOX[1] / 2 + 4.5 + 15 * i - 7.5 * (len(lines) - 1)
            parts.append(f'<text x="{x + _BOX[0] / 2:.0f}" y="{base:.0f}" text-anchor="middle" font-size="13" fill="currentColor">'
                         f"{escape(line)}</text>")
    return "".join([*parts, "</svg>"])
