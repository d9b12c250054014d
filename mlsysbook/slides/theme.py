"""Colours of a theme: its Beamer file holds them, and every format reads them there."""

import re
from dataclasses import dataclass
from pathlib import Path

from .deck import KINDS, SlideError

NAMES = ("crimson", "midnight", "minimal", "nature")
ROLES = ("Paper", "Ink", "Muted", "Bar", "Title", "Accent", "Block", "Badge", *(k.capitalize() for k in KINDS))
# (text, what it stands on): each at least 4.5:1.
PAIRS = (("Ink", "Paper"), ("Muted", "Paper"), ("Accent", "Paper"), ("Title", "Bar"), ("Ink", "Block"), ("Accent", "Block"),
         *(("Badge", k.capitalize()) for k in KINDS))  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """A theme's name and colours, {role: "rrggbb"}."""

    name: str
    colours: dict

    def __getitem__(self, role):
        return self.colours[role]

    @property
    def css(self):
        """Its colours as custom properties."""
        return ":root{" + "".join(f"--{role.lower()}:#{value};" for role, value in self.colours.items()) + "}"


def load(name, folder):
    """The theme called `name` in book/slides/themes. Raises SlideError for a colour that is missing."""
    if name not in NAMES:
        raise SlideError(f"unknown theme {name!r}; there are {', '.join(NAMES)}, and all")
    path = Path(folder) / f"beamerthememlsys{name}.sty"
    text = path.read_text(encoding="utf-8")
    found = {m[1]: m[2].lower() for m in re.finditer(r"\\definecolor\{mls(\w+)\}\{HTML\}\{([0-9A-Fa-f]{6})\}", text)}
    if missing := [role for role in ROLES if role not in found]:
        raise SlideError(f"{path}: has no colour mls{missing[0]}; wants \\definecolor{{mls{missing[0]}}}{{HTML}}{{RRGGBB}}")
    return Theme(name, {role: found[role] for role in ROLES})


def contrast(one, other):
    """Contrast of two colours "rrggbb", 1 to 21, as WCAG 2 defines it."""
    def light(colour):
        parts = [int(colour[i:i + 2], 16) / 255 for i in (0, 2, 4)]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
