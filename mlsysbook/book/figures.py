"""Figures of a chapter: one style, readable on light and dark pages, with a text for those who do not see them."""

import io
import re
from html import escape
from pathlib import Path

from .numbers import ChapterError, _cell, chapter_of, claim, hand_over, show

INK = "#0a0b0c"         # stands for the colour of the page's text; becomes currentColor
# At least 3:1 on the page's white and on its dark grey, told apart with every common form of colour blindness by lightness
# and by the line style that goes with each.
PALETTE = ("#2f7fc4", "#d4690a", "#2a9669", "#a35bc0", "#8a7a1f", "#c2557a")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
# What mlsysim.plot draws with, in its order: black is the page's ink.
_FOREIGN = {"#000000": INK, "#0072b2": PALETTE[0], "#d55e00": PALETTE[1], "#009e73": PALETTE[2], "#cc79a7": PALETTE[3],
            "#e69f00": PALETTE[4], "#56b4e9": PALETTE[5]}  # fmt: skip
SHORTEST = 40           # characters of an alternative text that says something


def style():
    """Set matplotlib's defaults to those of the book."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update({
        "figure.figsize": (6.8, 3.6), "figure.constrained_layout.use": True, "figure.facecolor": "none", "axes.facecolor": "none",
        "savefig.facecolor": "none", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10.5,
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.titlecolor": INK, "lines.color": INK, "patch.edgecolor": INK, "hatch.color": INK, "legend.frameon": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": INK, "grid.alpha": 0.15,
        "lines.linewidth": 2, "lines.markersize": 5, "axes.titlesize": 11, "axes.titlelocation": "left",
        "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=DASHES),
    })  # fmt: skip


def figure(fig, name, *, alt, caption):
    """Show a matplotlib Figure, or the Axes of one, as a numbered figure; prose refers to it by {glue:}`fig-name`.

    alt says what can be seen, with the numbers of the picture; caption says what it means. Raises ChapterError without them.
    """
    where = claim("figure", name)
    said(where, name, alt, caption)
    fig = getattr(fig, "figure", fig)
    if not hasattr(fig, "savefig"):
        raise ChapterError(f"{where}: figure {name!r} got a {type(fig).__name__}; wants a matplotlib Figure or Axes")
    import matplotlib.pyplot as plt

    plt.close(fig)      # or the notebook would show it once more
    frame(name, svg(fig, name, alt), alt, caption)


def said(where, name, alt, caption):
    """Raise ChapterError unless a figure has an alternative text and a caption that are worth reading."""
    for what, text in (("alt", alt), ("caption", caption)):
        if not isinstance(text, str) or len(" ".join(text.split())) < SHORTEST:
            raise ChapterError(f"{where}: figure {name!r} has {what}={text!r}; wants a sentence of {SHORTEST} characters or more")
    if " ".join(alt.split()) == " ".join(caption.split()):
        raise ChapterError(f"{where}: alt and caption of figure {name!r} are the same; alt says what is seen, caption what it means")


def svg(fig, name, alt):
    """A Figure as SVG to stand in a page: its colours follow the page, its ids are its own, it is the same at every build."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        fig.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for foreign, ours in _FOREIGN.items():
        text = re.sub(foreign, ours, text, flags=re.I)
    text = re.sub(INK, "currentColor", text, flags=re.I)
    text = re.sub(r"font: [\d.]+px '?[^;\"]*", lambda m: re.sub(r"('[^']*'|DejaVu Sans)(, *)?", "", m[0]), text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    width = float(re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)[1])
    head = text[: text.index(">")]
    kept = re.sub(r' (width|height)="[\d.]+pt"', "", head)
    return f'{kept} role="img" aria-label="{escape(alt)}" style="width:100%;max-width:{width * 4 / 3:.0f}px">{text[len(head) + 1:]}'


def frame(name, picture, alt, caption, inside="", classes="mls-figure"):
    """Put a picture and its caption on the page, and its number where the text asks for it."""
    label = label_of(name)
    html = (f'<figure class="{classes}" id="fig-{name}">{picture}{inside}'
            f'<figcaption><span class="mls-label">{label}.</span> {escape(" ".join(caption.split()))}</figcaption></figure>')  # fmt: skip
    hand_over(f"fig-{name}", label, f'<a href="#fig-{name}">{label}</a>')
    show({"text/html": html, "text/plain": f"{label}. {' '.join(alt.split())}"})


def label_of(name):
    """"Figure 13.2": the number of the chapter, and the place of the call among its figures."""
    cell = _cell()
    found = chapter_of(cell)[0] if cell else None
    if not found:
        return "Figure"
    names = figure_names(Path(found).read_text(encoding="utf-8"))
    chapter = re.match(r"\d+", found)
    return f"Figure {int(chapter[0]) if chapter else 1}.{names.index(name) + 1}" if name in names else "Figure"


def figure_names(text):
    """Names of the figures of a chapter, still and live, in the order of the text."""
    calls = r'^(?:figure\(\s*[^,"]+(?:\([^)]*\))?,\s*|live\(\s*)"([a-z][a-z0-9-]*)"'
    return re.findall(calls, text, flags=re.M)


style()
