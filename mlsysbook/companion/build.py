"""What the site needs for its companion: the script, bundled; the data of each chapter; the catalogue with its key terms.

Data are scripts that hand one JSON value to the page, so that they load from a folder as well as from a server, and under a content
security policy that allows nothing but the site's own files.
"""

import ast
import json
import os
import re
import subprocess
from pathlib import Path

from .. import atomic
from . import content
from .content import ContentError

FOLDER = "_static/companion"
BUNDLES = {"load": "load.js", "companion": "main.js"}       # name in the site: its module
_SCRIPT = re.compile(r'mlsysCompanion\.put\("([\w-]+)",(.*)\);\n', re.S)


def inputs(root):
    """Files outside book/ that the companion of the site is made of."""
    return sorted(p for p in (root / "mlsysbook" / "companion").iterdir() if p.suffix in (".py", ".json"))


def bundle(book, folder):
    """Bundle the modules of book/companion/js with esbuild, and put them and the style sheet into `folder`. Raises ContentError."""
    vendor, source = book / "_vendor" / "node_modules", book / "companion"
    program = vendor / ".bin" / "esbuild"
    if not program.exists() or not (vendor / "ts-fsrs").is_dir():
        raise ContentError("esbuild or ts-fsrs is missing: run `make book`, or npm ci --prefix book/_vendor")
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in BUNDLES.items():
        command = [program, source / "js" / module, "--bundle", "--minify", "--format=iife", "--target=es2022", "--charset=utf8",
                   "--log-level=error", "--legal-comments=none", f"--outfile={folder / name}.js"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NODE_PATH": str(vendor), "NO_COLOR": "1"})
        if done.returncode:
            raise ContentError("companion: " + " ".join(done.stderr.split())[:600])
    (folder / "companion.css").write_bytes((source / "companion.css").read_bytes())


def page(course, docname):
    """What a page's script has to know about it, small enough to stand in its head -> dict for JSON."""
    chapter = next((c for c in course.chapters if c.file == docname), None)
    if chapter is None or chapter.number not in content.files(course):
        return {"chapter": chapter.number if chapter else None, "title": chapter.title if chapter else "", "file": docname,
                "sections": [], "cards": 0}  # fmt: skip
    found = content.read(course, chapter.number)
    return {"chapter": chapter.number, "title": chapter.title, "file": docname, "sections": _sections(found), "cards": len(found.cards)}


def _sections(found):
    rows = []
    for title, ident in found.sections:
        asked = [f"{found.chapter.number}/{q['id']}" for q in found.questions if q["section"] == title]
        if asked or any(c["section"] == title for c in found.cards):
            rows.append({"id": ident, "title": title, "questions": asked})
    return rows


def prepare(course):
    """Load the content of all chapters -> {number: Content}. Raises ContentError with the faults of every file."""
    loaded, wrong = {}, []
    for number in content.files(course) if (course.root / "book" / "companion").is_dir() else ():
        try:
            loaded[number] = content.load(course, number)
        except ContentError as error:
            wrong.append(str(error))
    if wrong:
        raise ContentError("\n".join(wrong))
    return loaded


def glued(site, file):
    """{name: text} of the numbers that the cells of a page handed over when this site was built."""
    path = Path(site).parent / "jupyter_execute" / f"{file}.glue.json"
    try:
        data = {name: output["data"] for name, output in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        raise ContentError(f"book/{file}.md:1: has questions, and no cell that computes a number") from None
    return {name: ast.literal_eval("".join(found["text/plain"])) for name, found in data.items() if "text/html" not in found}


def write(course, site, loaded, progress=lambda text: None):
    """Write the data of all chapters, loaded before, into the site that Sphinx just built. Raises ContentError with every fault."""
    from . import passages

    if not (course.root / "book" / "companion").is_dir():
        return
    progress("computing questions")
    folder, wrong = Path(site) / FOLDER, []
    for number, found in loaded.items():
        try:
            made = content.rendered(found, glued(site, found.chapter.file))
        except ContentError as error:
            wrong.append(str(error))
            continue
        html = (Path(site) / f"{made['file']}.html").read_text(encoding="utf-8")
        wrong += [f"book/{made['file']}.md:1: the page has no place #{s['id']} for the questions of {s['title']!r}"
                  for s in made["sections"] if f'id="{s["id"]}"' not in html]
        script(folder, number.replace("-", "_").lower(), made)
    if wrong:
        raise ContentError("\n".join(wrong))
    script(folder, "course", catalogue(course))
    written = [c.file for c in course.chapters if _written(course, c)]
    script(folder, "passages", passages.index(site, written, course.root / "book" / "companion"))


def spoken(root, language):
    """Chapters whose questions and cards a language has, {name of the content file, such as "v1_01": that of the catalogue}."""
    from ..book import translate

    names = [name for name in translate.catalogues(root, language) if name.startswith(translate.COMPANION)]
    return {name.removeprefix(translate.COMPANION): name for name in names if translate.strings(root, language, name)}


def translated(course, english, target, language):
    """Write the data of chapters that a language has into its site, with the numbers of the English one. Raises ContentError."""
    from ..book import translate
    from ..book.languages import tag

    there = spoken(course.root, language)
    for number, path in content.files(course).items():
        if path.stem not in there:
            continue
        found = content.load(course, number)
        page = translate.strings(course.root, language, found.chapter.file)
        known = translate.strings(course.root, language, there[path.stem])
        spoken_there = content.Spoken(tag(language), known, translate.Filler(page | known, language))
        made = content.rendered(found, glued(english, found.chapter.file), spoken_there)
        made["title"] = translate.words(course.root, language)(made["title"])
        made["sections"] = [row | {"title": page.get(row["title"], row["title"])} for row in made["sections"]]
        script(Path(target) / FOLDER, path.stem, made)


def catalogue(course):
    """Chapters with what they build on, key terms, sections with questions, and cards -> dict for JSON."""
    from ..book.site import key_terms

    there, terms = content.files(course), {}
    for term, meaning, chapter in key_terms(course):
        terms.setdefault(chapter.number, []).append({"term": _plain(term), "meaning": _plain(meaning)})
    rows = []
    for c in course.chapters:
        found = content.read(course, c.number) if c.number in there else None
        rows.append({"number": c.number, "title": c.title, "file": c.file, "volume": c.volume, "requires": list(c.requires),
                     "written": _written(course, c), "terms": terms.get(c.number, []), "sections": _sections(found) if found else [],
                     "cards": [f"{c.number}/{card['id']}" for card in found.cards] if found else []})  # fmt: skip
    return {"chapters": rows}


def _plain(text):
    """Markdown of a key term as plain text."""
    return re.sub(r"\{\w+\}`([^`<]+?)(?:\s*<[^`]*>)?`", r"\1", re.sub(r"\\([\w ]+)|[$*]", lambda m: m[1] or "", text)).replace("`", "")


def _written(course, chapter):
    from ..book.site import is_outline

    return not is_outline(course, chapter)


def script(folder, name, value):
    """Write a JSON value as the script that hands it to the page under `name`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write(folder / f"{name}.js", f'mlsysCompanion.put("{name}",{text});\n')


def unscript(text):
    """The value of such a script."""
    return json.loads(_SCRIPT.fullmatch(text)[2])
