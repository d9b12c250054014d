"""An EPUB of the book by Sphinx, with its formulas as MathML: a reader of books runs no scripts."""

import html
import json
import os
import posixpath
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from . import build
from .build import BookError

# MathJax in Node: a list of [TeX, displayed] on stdin, a list of MathML or {error} on stdout.
_CONVERT = """
const mathjax = require(process.argv[1]);
let text = '';
process.stdin.on('data', d => text += d).on('end', async () => {
  const m = await mathjax.init({loader: {load: ['input/tex']}}), out = [];
  for (const [tex, display] of JSON.parse(text)) {
    const ml = await m.tex2mmlPromise(tex, {display});
    out.push(/<merror|mathcolor="red"/.test(ml) ? {error: tex} : ml);
  }
  console.log(JSON.stringify(out));
});
"""
_MATH = re.compile(r'<(span|div) class="math notranslate nohighlight"([^>]*)>(.*?)</\1>', re.S)
_NUMBER = re.compile(r'<span class="eqno">.*?</span>', re.S)
# What needs a script: data and controls of live figures, fields that check an answer, one of the two titles of a folded cell; and a
# role that EPUB no longer has.
_LIVING = (r'<script type="application/json">.*?</script>', r'<div class="mls-controls".*?</div>', r'<span class="mls-check".*?</span>',
           r'<p class="expanded admonition-title">.*?</p>', r"<noscript>.*?</noscript>", r' role="doc-biblioentry"')  # fmt: skip
_PAGED = re.compile(r"@page[^{]*\{(?:[^{}]|\{[^{}]*\})*\}")        # for paper: readers of books have pages of their own
_WHEN = (2026, 1, 1, 0, 0, 0)


def write(course, out, *, student=False, work=None, progress=lambda text: None):
    """Write `out`/ml-systems.epub -> its path. Raises BookError."""
    source, variant = course.root / "book", "student" if student else "full"
    work = Path(work) if work else course.root / "build" / "book-work"
    with build._alone(work, progress):
        made = work / variant / "epub"
        build.sphinx(source, work, variant, "epub", made, build.fingerprint(course.root), progress)
        (whole,) = made.glob("*.epub")
        progress("setting formulas as MathML")
        new = out / ".ml-systems.epub.new"
        try:
            with_mathml(whole, new, source / "_vendor" / "node_modules" / "mathjax")
            os.replace(new, out / "ml-systems.epub")
        finally:
            new.unlink(missing_ok=True)
    return out / "ml-systems.epub"


def with_mathml(whole, new, mathjax):
    """Copy an EPUB, each formula of Sphinx as MathML, with dates that are the same at every build."""
    with zipfile.ZipFile(whole) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    pages = {name: data.decode() for name, data in parts.items() if name.endswith(".xhtml")}
    formulas = list(dict.fromkeys(_formula(m) for text in pages.values() for m in _MATH.finditer(text)))
    table = dict(zip(formulas, convert(formulas, mathjax), strict=True))

    parts |= {name: _page(name, text, table, parts).encode() for name, text in pages.items()}
    opf = next(name for name in parts if name.endswith(".opf"))
    parts[opf] = _declared(parts[opf].decode(), pages).encode()
    parts |= {name: _PAGED.sub("", data.decode()).encode() for name, data in parts.items() if name.endswith(".css")}
    identifier = re.search(r"<dc:identifier[^>]*>([^<]*)</dc:identifier>", parts[opf].decode())[1]
    parts["toc.ncx"] = re.sub(r'(?<=name="dtb:uid" content=")[^"]*', identifier, parts["toc.ncx"].decode()).encode()
    with zipfile.ZipFile(new, "w") as out:
        for name in sorted(parts, key=lambda n: (n != "mimetype", n)):        # the format wants mimetype first and plain
            info = zipfile.ZipInfo(name, _WHEN)
            info.external_attr = 0o644 << 16
            out.writestr(info, parts[name], zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED)


def _page(name, text, table, parts):
    """A page with MathML, without scripts, and without styles and links to files that are not in the book."""
    def mathml(match):
        return f'<{match[1]} class="math"{match[2]}>{"".join(_NUMBER.findall(match[3]))}{table[_formula(match)]}</{match[1]}>'

    def inside(target):
        return posixpath.normpath(posixpath.join(posixpath.dirname(name), html.unescape(target).partition("#")[0])) in parts

    def linked(match):
        away = re.match(r"[a-z][a-z0-9+.-]*:|#", match[1])
        return match[0] if away or inside(match[1]) else match[2]

    text = _MATH.sub(mathml, text)
    for pattern in _LIVING:
        text = re.sub(pattern, "", text, flags=re.S)
    text = re.sub(r'\s*<link rel="stylesheet"[^>]*href="([^"]+)"[^>]*/>', lambda m: m[0] if inside(m[1]) else "", text)
    text = re.sub(r'<a\b[^>]*\shref="([^"]+)"[^>]*>(.*?)</a>', linked, text, flags=re.S)
    text = re.sub(r"<svg\b(?![^>]*\sxmlns=)", '<svg xmlns="http://www.w3.org/2000/svg"', text)
    text = re.sub(r"(<summary\b[^>]*>\s*)<p\b([^>]*)>(.*?)</p>(?=\s*</summary>)", r"\1<span\2>\3</span>", text, flags=re.S)
    try:
        ElementTree.fromstring(re.sub(r"&(?!amp;|lt;|gt;|quot;|#)\w+;", "", text))
    except ElementTree.ParseError as error:
        raise BookError(f"book: {name} is not well-formed XHTML ({error}); HTML that a cell shows must be") from None
    return text


def convert(formulas, mathjax):
    """MathML of [(TeX, displayed)]. Raises BookError for one that MathJax cannot read."""
    if not formulas:
        return []
    node = shutil.which("node")
    if node is None:
        raise BookError("an EPUB needs Node, which sets its formulas: install it (Debian: apt-get install nodejs)")
    done = subprocess.run([node, "-e", _CONVERT, str(mathjax)], input=json.dumps(formulas), capture_output=True, text=True)
    if done.returncode:
        raise BookError(f"book: formulas could not be set: {' '.join(done.stderr.split())[:300]}")
    made = json.loads(done.stdout)
    for ml in made:
        if isinstance(ml, dict):
            raise BookError(f"book: MathJax cannot read the formula {ml['error']!r}")
    return made


def _formula(match):
    tex = html.unescape(re.sub(r"<[^>]+>", "", _NUMBER.sub("", match[3]))).strip()
    return tex.removeprefix("\\(").removeprefix("\\[").removesuffix("\\)").removesuffix("\\]"), match[1] == "div"


def _declared(opf, pages):
    """The list of parts says which pages hold MathML or SVG, as EPUB 3 asks."""
    for name, text in pages.items():
        properties = " ".join(word for word, there in (("mathml", _MATH.search(text)), ("svg", "<svg" in text)) if there)
        if properties:
            opf = opf.replace(f' href="{name}" media-type', f' href="{name}" properties="{properties}" media-type')
    return opf
