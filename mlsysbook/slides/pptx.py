"""PPTX of a deck by pandoc: text, formulas and notes that can be edited, in the colours of the theme."""

import io
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from . import pandoc
from .deck import KINDS, Slide, SlideError
from .fill import markdown

_WHEN = (2026, 1, 1, 0, 0, 0)
ZOOM = 3                            # pixels of a figure for each unit of its drawing
ROLES = {"dk1": "Ink", "lt1": "Paper", "dk2": "Title", "lt2": "Bar", "accent1": "Accent", "accent2": "Predict", "accent3": "Exercise",
         "accent4": "Discuss", "accent5": "Recall", "accent6": "Muted", "hlink": "Accent", "folHlink": "Muted"}  # fmt: skip
# Of the reference's layouts, in their own units (914,400 an inch): what stands where, and the sizes of letters.
_TITLE = '<a:off x="457200" y="205979"/><a:ext cx="8229600" cy="657250"/>'
_LAYOUTS = {
    "slideMaster1": [(r'<a:off x="457200" y="205979"/><a:ext cx="8229600" cy="857250"/>', _TITLE), (r'sz="2400"', 'sz="2000"'),
                     (r'sz="2100"', 'sz="1800"'), (r'<a:off x="457200" y="1200151"/><a:ext cx="8229600" cy="3394472"/>',
                                                   '<a:off x="457200" y="1000000"/><a:ext cx="8229600" cy="3650000"/>')],
    "slideLayout1": [(r'(type="ctrTitle".*?<a:bodyPr)/>', r'\1 anchor="b"/>'), (r'algn="ctr"', 'algn="l"'),
                     (r'<a:off x="1371600" y="2914650"/><a:ext cx="6400800"', '<a:off x="685800" y="2814650"/><a:ext cx="7772400"')],
    "slideLayout3": [(r' cap="all"', ""), (r'<a:off x="722313" y="3305176"/>', '<a:off x="722313" y="2000000"/>')],
    "slideLayout4": [(r'y="1200151"', 'y="1000000"'), (r'cy="3394472"', 'cy="3600000"')],
    "slideLayout8": [(r'<a:off x="457201" y="204787"/><a:ext cx="3008313" cy="871538"/>', _TITLE), (r'anchor="b"', 'anchor="ctr"'),
                     (r'sz="1500" b="1"', 'sz="2400" b="1"'), (r'sz="1050"', 'sz="1600"'), (r'sz="900"', 'sz="1400"'),
                     (r'<a:off x="3575050" y="204788"/><a:ext cx="5111750" cy="4389835"/>',
                      '<a:off x="3300000" y="1000000"/><a:ext cx="5386800" cy="3500000"/>'),
                     (r'<a:off x="457201" y="1076326"/><a:ext cx="3008313" cy="3518297"/>',
                      '<a:off x="457200" y="1000000"/><a:ext cx="2750000" cy="3500000"/>')],
}  # fmt: skip
# Tables: letters and lines in the theme's ink, no fills, which pandoc's own style would make too light for dark paper.
_STYLE = "{6D6C7379-7300-4000-8000-736C69646573}"
_LINE = '<a:ln w="12700"><a:solidFill><a:schemeClr val="accent6"/></a:solidFill></a:ln>'
_TABLES = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    f'<a:tblStyleLst xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" def="{_STYLE}">'
    f'<a:tblStyle styleId="{_STYLE}" styleName="mlsys"><a:wholeTbl>'
    '<a:tcTxStyle><a:fontRef idx="minor"/><a:schemeClr val="tx1"/></a:tcTxStyle>'
    f"<a:tcStyle><a:tcBdr><a:bottom>{_LINE}</a:bottom><a:insideH>{_LINE}</a:insideH></a:tcBdr><a:fill><a:noFill/></a:fill></a:tcStyle>"
    '</a:wholeTbl><a:firstRow><a:tcTxStyle b="on"><a:fontRef idx="minor"/><a:schemeClr val="accent1"/></a:tcTxStyle>'
    f"<a:tcStyle><a:tcBdr><a:bottom>{_LINE}</a:bottom></a:tcBdr></a:tcStyle></a:firstRow></a:tblStyle></a:tblStyleLst>"
)
_BADGE = (
    '<p:sp><p:nvSpPr><p:cNvPr id="{ident}" name="Badge"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr>'
    '<p:spPr><a:xfrm><a:off x="7486800" y="60000"/><a:ext cx="1200000" cy="240000"/></a:xfrm>'
    '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom><a:solidFill><a:srgbClr val="{fill}"/></a:solidFill></p:spPr>'
    '<p:txBody><a:bodyPr wrap="none" lIns="0" rIns="0" tIns="0" bIns="0" anchor="ctr"/><a:p><a:pPr algn="ctr"/>'
    '<a:r><a:rPr lang="en" sz="1200" b="1"><a:solidFill><a:srgbClr val="{ink}"/></a:solidFill></a:rPr><a:t>{text}</a:t></a:r></a:p>'
    "</p:txBody></p:sp>"
)


def make(deck, outputs, chapter, theme, slides):
    """The deck as PPTX -> bytes. Raises SlideError for a slide that does not fit on one."""
    with tempfile.TemporaryDirectory(prefix="slides-") as folder:
        folder = Path(folder)

        def show(picture, height):
            (folder / f"{picture.name}.png").write_bytes(picture.drawn("png", ink=f"#{theme['Ink']}", zoom=ZOOM))
            return [f"![{picture.label}]({picture.name}.png)"]

        (folder / "reference.pptx").write_bytes(reference(theme))
        text = markdown(deck, outputs, chapter, show)
        options = ["--to", "pptx", "--reference-doc", "reference.pptx", "--lua-filter", str(slides / "filter.lua"), "--output", "deck.pptx"]
        pandoc.run(deck, text, options, folder)
        return _finished((folder / "deck.pptx").read_bytes(), deck, outputs, theme)


def reference(theme):
    """pandoc's own reference presentation, in the colours of a theme and with room for figures -> bytes."""
    done = subprocess.run([pandoc.program(), "--print-default-data-file", "reference.pptx"], capture_output=True, check=True)

    def change(name, text):
        if name == "ppt/theme/theme1.xml":
            for tag, role in ROLES.items():
                text = re.sub(rf"<a:{tag}>.*?</a:{tag}>", f'<a:{tag}><a:srgbClr val="{theme[role].upper()}"/></a:{tag}>', text, flags=re.S)
            return text.replace('typeface="Calibri"', 'typeface="Inter"')
        if name == "ppt/tableStyles.xml":
            return _TABLES
        for pattern, new in _LAYOUTS.get(Path(name).stem, ()):
            text, count = re.subn(pattern, new, text, flags=re.S)
            if not count:
                raise SlideError(f"{name} of pandoc's reference.pptx has no {pattern!r}: it has changed; mend mlsysbook/slides/pptx.py")
        text = re.sub(r'<a:schemeClr val="tx1"><a:tint val="\d+"/></a:schemeClr>', '<a:schemeClr val="accent6"/>', text)
        if name == "ppt/slideMasters/slideMaster1.xml":
            text = re.sub(r"<p:titleStyle>.*?</p:titleStyle>", _title, text, flags=re.S)
        return text

    return _rewritten(done.stdout, change)


def _title(match):
    """Titles stand on the left, in the theme's accent, which is readable on its paper."""
    text = match[0].replace('algn="ctr"', 'algn="l"').replace('<a:schemeClr val="tx1"/>', '<a:schemeClr val="accent1"/>')
    return re.sub(r'sz="\d+"', 'sz="2400" b="1"', text, count=1)


def _finished(data, deck, outputs, theme):
    """The presentation with badges and alternative texts, and without what differs between two runs."""
    with zipfile.ZipFile(io.BytesIO(data)) as whole:
        made = len([n for n in whole.namelist() if re.fullmatch(r"ppt/slides/slide\d+\.xml", n)])
    if made != len(deck.parts) + 1:
        raise SlideError(f"{deck.shown}:1: {len(deck.parts)} slides and parts became {made - 1} in PPTX; a slide has one figure or "
                         "table at most")
    alts = {f"{f.name}.png": " ".join(f.alt.split()) for f in outputs.figures.values()}

    def change(name, text):
        if not (found := re.fullmatch(r"ppt/slides/slide(\d+)\.xml", name)):
            return text
        text = re.sub(r'(<p:cNvPr[^>]*?descr=")([^"]*)"', lambda m: f'{m[1]}{_attribute(alts.get(m[2], m[2]))}"', text)
        text = re.sub(r"(<a:tableStyleId>)[^<]*", rf"\1{_STYLE}", text)
        text = re.sub(r'(name="TextBox.*?<a:rPr) ?/>', r'\1 sz="1000"/>', text, flags=re.S)         # the caption of a figure
        part = deck.parts[int(found[1]) - 2] if int(found[1]) > 1 else None
        if isinstance(part, Slide) and part.kind:
            badge = _BADGE.format(ident=9000, fill=theme[part.kind.capitalize()].upper(), ink=theme["Badge"].upper(), text=KINDS[part.kind])
            text = text.replace("</p:spTree>", f"{badge}</p:spTree>")
        return text

    return _rewritten(data, change)


def _attribute(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _rewritten(data, change):
    """A zip file with parts changed, in the same order and with one date."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name.endswith(".xml"):
                part = change(name, part.decode("utf-8")).encode("utf-8")
                try:
                    ElementTree.fromstring(part)
                except ElementTree.ParseError as error:
                    raise SlideError(f"{name} of a presentation is no XML ({error}), so no program would open it; "
                                     "mend mlsysbook/slides/pptx.py or book/slides/filter.lua") from None
            info = zipfile.ZipInfo(name, _WHEN)
            info.external_attr = 0o644 << 16
            new.writestr(info, part, zipfile.ZIP_DEFLATED)
    return out.getvalue()
