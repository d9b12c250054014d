"""HTML of a deck for reveal.js, which is in the folder beside it: no server, no network."""

import re
from html import escape

from . import pandoc
from .fill import markdown


def make(deck, outputs, chapter, theme, slides):
    """The deck as one HTML page -> bytes; it loads ../reveal/*."""
    def show(picture, height):
        count[0] += 1
        svg = re.sub(r' style="width:100%;max-width:\d+px"', "", _own_ids(picture, count[0]))
        figure = f'<figure class="shown" style="--share:{height}">{svg}<figcaption>{escape(picture.label)}</figcaption></figure>'
        return ["```{=html}", figure, "```"]

    count = [0]
    text = markdown(deck, outputs, chapter, show)
    options = ["--to", "revealjs", "--mathml", "--template", str(slides / "template.html"), "--lua-filter", str(slides / "filter.lua"),
               "-V", f"look={theme.name}", "-V", f"colours={theme.css}"]
    return (pandoc.run(deck, text, options, slides).rstrip() + "\n").encode()


def _own_ids(picture, place):
    """The SVG with names of its own, for a figure that a deck shows twice."""
    svg = re.sub(rf'\bid="{picture.name}-', f'id="s{place}-{picture.name}-', picture.svg)
    return re.sub(rf'(url\(#|href="#){picture.name}-', rf"\1s{place}-{picture.name}-", svg)
