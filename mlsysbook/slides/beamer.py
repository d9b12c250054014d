"""PDF of a deck by Beamer and XeLaTeX. A slide that is too full, or a letter that no font has, is an error with its title."""

import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from . import pandoc
from .deck import KINDS, TALLEST, Slide, SlideError
from .fill import markdown

SMALLEST = 0.02                     # size of a figure's letters as a share of the slide's height
TALL, WIDE = 90 / 25.4 * 72.27, 144 / 25.4 * 72.27       # of the slide and of its text, pt
RUNS = 4                            # of XeLaTeX at most, until tables know their columns
_MOST = 1.0                         # pt that a line may stand out, which nobody sees
PACKAGES = "texlive-xetex texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern fonts-inter"


def make(deck, outputs, chapter, theme, slides, *, notes=False):
    """The deck as PDF -> bytes. notes: a page of notes follows each slide. Raises SlideError."""
    program = shutil.which("xelatex")
    if program is None:
        raise SlideError(f"a PDF of slides needs XeLaTeX: install it (Debian: apt-get install {PACKAGES})")
    with tempfile.TemporaryDirectory(prefix="slides-") as folder:
        folder = Path(folder)
        for name in ("mlsysdeck.sty", f"beamerthememlsys{theme.name}.sty"):
            shutil.copyfile(slides / "themes" / name, folder / name)

        def show(picture, height):
            _legible(deck, picture, height)
            (folder / f"{picture.name}.pdf").write_bytes(picture.drawn("pdf", ink=f"#{theme['Ink']}"))
            return ["```{=latex}", f"\\mlsfigure{{{picture.name}.pdf}}{{{height / 100:g}}}{{{picture.label}}}", "```"]

        options = ["--to", "beamer", "--template", str(slides / "template.tex"), "--lua-filter", str(slides / "filter.lua"),
                   "-V", f"theme={theme.name}", "-V", f"total={len(deck.slides)}", *(["-V", "shownotes=1"] if notes else [])]
        tex = pandoc.run(deck, markdown(deck, outputs, chapter, show), options, folder)
        (folder / "deck.tex").write_text(_marked(deck, tex), encoding="utf-8")
        for _ in range(RUNS):               # a table knows the widths of its columns from the run before
            done = subprocess.run([program, "-interaction=nonstopmode", "-halt-on-error", "deck.tex"], cwd=folder, capture_output=True,
                                  env=pandoc.environment() | {"TEXINPUTS": f"{folder}:"})
            log = (folder / "deck.log").read_text(encoding="utf-8", errors="replace") if (folder / "deck.log").is_file() else ""
            if done.returncode or not re.search(r"longtable Warning: (?:Column|Table) widths have changed", log):
                break
        if found := faults(deck, log, notes):
            raise SlideError("\n".join(found))
        if done.returncode:
            raise SlideError(f"{deck.shown}: XeLaTeX stopped: {' '.join(log.split())[-300:]}")
        return (folder / "deck.pdf").read_bytes()


def _legible(deck, picture, height):
    wide, tall = picture.size
    sizes = [float(s) for s in re.findall(r'font-size(?:="|: )([\d.]+)', picture.svg)]
    letters = statistics.mode(sizes) if sizes else SMALLEST * tall

    def large(height):
        return letters * min(height / 100 * TALL / tall, WIDE / wide) >= SMALLEST * TALL

    if not large(height):
        least = next((h for h in range(20, TALLEST + 1) if large(h)), None)
        line = next((n for s in deck.slides for n, t in s.lines if f"figure: {picture.name}" in t), 1)
        raise SlideError(f"{deck.shown}:{line}: letters of {picture.name!r} are too small to read at {height}% of the slide; "
                         f"wants {f'{least}% or more' if least else 'the figure in the book, which is too wide for a slide'}")


def _marked(deck, tex):
    """The TeX source, with a mark before each frame that says which slide it is."""
    slides = iter(enumerate(deck.slides, 1))

    def mark(match):
        number, slide = next(slides)
        return f"\\mlsslide{{{number}}}{{{slide.kind}}}{{{KINDS.get(slide.kind, '')}}}\n{match[0]}"

    head, _, body = tex.partition("\\end{frame}}\n")        # the title page
    return f"{head}\\end{{frame}}}}\n{re.sub(r'^.begin{frame}', mark, body, flags=re.M)}"


def faults(deck, log, notes=False):
    """What a log of TeX complains about, one line each, by slide."""
    slides, at, found = deck.slides, None, []
    for line in log.split("\n"):
        if here := re.match(r"MLSSLIDE (\w+)", line):
            at = slides[int(here[1]) - 1] if here[1].isdigit() and here[1] != "0" else None
        where = f"{deck.shown}:{at.line if isinstance(at, Slide) else 1}: slide {at.title if at else deck.title!r}"
        if full := re.match(r"Overfull \\([hv])box \(([\d.]+)pt too (?:wide|high)\)", line):
            if float(full[2]) > _MOST and not notes:
                found.append(f"{where} is {float(full[2]):.0f} pt too {'wide' if full[1] == 'h' else 'high'} for a slide; say less")
        elif lost := re.match(r"Missing character: There is no (.)", line):
            found.append(f"{where} has {lost[1]!r} (U+{ord(lost[1]):04X}), which the fonts of the slides do not")
        elif error := re.match(r"! (.*)", line):
            found.append(f"{where}: TeX: {error[1]}")
    return list(dict.fromkeys(found))
