"""Make a student's notebook fit to be shown: nothing in it runs, fetches, hides or floods, here or in the formgrader.

`Inert` works on the notebook before any template sees it, so it serves our feedback page and nbgrader's formgrader alike.
Markdown is another matter, because raw HTML in it means something only once it is rendered: `markdown_filter` takes the place
of nbconvert's filter, which passes raw HTML and `javascript:` links through.
"""

import base64
import binascii
import re
from functools import lru_cache

import bleach
from bs4 import BeautifulSoup
from jinja2 import pass_context
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.filters.strings import strip_files_prefix
from nbconvert.preprocessors import Preprocessor
from traitlets import Bool

MAX_CELLS = 600
MAX_SOURCE = 40_000             # characters of one cell
MAX_OUTPUTS = 20                # of one cell
MAX_TEXT = 20_000               # characters of one output
MAX_IMAGE = 3 << 20             # bytes of one image, encoded
MAX_PAGE = 8 << 20              # characters of all that is shown

_TAGS = frozenset("""a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li
                     mark ol p pre s samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var""".split())
_PROTOCOLS = frozenset({"http", "https", "mailto", "data"})
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_CLASS = re.compile(r"highlight|dataframe|[a-z][a-z0-9]{0,2}")    # pygments and pandas; nothing that a page's own scripts look for
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Control characters but tab and newline; and those that reorder or hide text, which can make code look like other code.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
                     "\U000e0000-\U000e007f]")
_GRADE_ID = re.compile(r"[A-Za-z0-9_\-]{1,100}")
_NBGRADER = {"grade": bool, "solution": bool, "locked": bool, "task": bool, "grade_id": str, "points": (int, float),
             "schema_version": int, "cell_type": str, "checksum": str}
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8"}


def visible(text):
    """Text without colours, with every other control or reordering character spelled out."""
    text = _COLOUR.sub("", text).replace("\r\n", "\n")
    if "\r" in text:                                    # a progress bar: what a terminal would show in the end
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _HIDDEN.sub(lambda m: _spelled(ord(m[0])), text)


def _spelled(n):
    return f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}"


def cut(text, most):
    """At most so many characters, and a line that says what is missing."""
    return text if len(text) <= most else f"{text[:most]}\n[... {len(text) - most} more characters are not shown]"


def _attribute(tag, name, value):
    if name in ("class", "title", "alt", "colspan", "rowspan", "scope", "start"):
        return name != "class" or all(_CLASS.fullmatch(c) for c in value.split())
    if tag == "a" and name == "href":
        return re.match(r"(?:https?://|mailto:|#)", value.strip(), re.IGNORECASE) is not None
    if tag == "img" and name == "src":
        return _IMAGE.fullmatch(value) is not None
    return tag == "img" and name in ("width", "height") and value.isdigit()


def clean(html):
    """HTML with only harmless elements: text, tables, lists, images that are in the page, links that a click follows."""
    # What has no use without its element goes with its contents; what is only unknown loses its tags.
    soup = BeautifulSoup(html, "html.parser")
    for element in soup(["script", "style", "iframe", "object", "embed", "svg", "math", "template", "form", "noscript", "title",
                         "textarea", "select", "button", "video", "audio", "link", "meta", "base"]):
        element.decompose()
    text = bleach.clean(str(soup), tags=_TAGS, attributes=_attribute, protocols=_PROTOCOLS, strip=True, strip_comments=True)
    return re.sub(r"<a (?=[^>]*\bhref=)", '<a rel="noopener noreferrer nofollow" ', text)


def markdown(source, attachments=None):
    """Markdown -> harmless HTML. Raw HTML in it is shown as text."""
    return _markdown(source, attachments) if attachments else _given(source)


@lru_cache(maxsize=500)
def _given(source):
    """Most text of a notebook is the course's own, the same for everyone."""
    return _markdown(source, None)


def _markdown(source, attachments):
    pictures = {str(name): {t: d for t, d in bundle.items() if t in _MAGIC and isinstance(d, str)}
                for name, bundle in (attachments or {}).items() if isinstance(bundle, dict)}
    renderer = IPythonRenderer(escape=True, attachments=pictures, embed_images=False, exclude_anchor_links=True)
    try:
        html = MarkdownWithMath(renderer=renderer).render(visible(source))
    except Exception as error:          # a parser of untrusted text: nesting too deep, a missing attachment
        escaped = bleach.clean(visible(source), tags=(), strip=False)
        return f"<pre>{escaped}</pre><p>(shown as text: {type(error).__name__})</p>"
    return clean(html)


@pass_context
def markdown_filter(context, source):
    """For nbconvert's templates: in place of `markdown2html`."""
    cell = context.get("cell") or {}
    return markdown(strip_files_prefix(str(source)), cell.get("attachments"))


class Inert(Preprocessor):
    """A copy of the notebook with only what a page may show."""

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb, resources):
        budget = MAX_PAGE
        cells = []
        for cell in nb.cells[:MAX_CELLS]:
            _cell(cell)
            size = len(cell.source) + sum(_size(o) for o in cell.get("outputs", ()))
            if size > budget:
                if "outputs" in cell:
                    cell.outputs = []
                cell.source = cut(cell.source, max(0, min(budget, 200)))
            budget -= min(size, budget)
            cells.append(cell)
        if len(nb.cells) > MAX_CELLS:
            self.log.warning("Showing %d of %d cells", MAX_CELLS, len(nb.cells))
            resources["cells_left_out"] = len(nb.cells) - MAX_CELLS
        nb.cells = cells
        language = {"name": "python", "pygments_lexer": "ipython3", "file_extension": ".py"}
        nb.metadata = type(nb.metadata)({"language_info": type(nb.metadata)(language)})
        return nb, resources


def _size(output):
    data = output.get("data") or {}
    return len(output.get("text", "")) + sum(len(v) for v in data.values()) + sum(len(line) for line in output.get("traceback", ()))


def _cell(cell):
    if cell.cell_type not in ("code", "markdown"):
        cell.cell_type = "markdown"
        cell.source = "```\n" + _text(cell.source).replace("```", "'''") + "\n```"
    cell.source = cut(visible(_text(cell.source)), MAX_SOURCE)
    grading = cell.metadata.get("nbgrader")
    cell.metadata.clear()
    if isinstance(grading, dict) and _GRADE_ID.fullmatch(str(grading.get("grade_id", ""))):
        cell.metadata["nbgrader"] = type(cell.metadata)(
            {k: v for k, v in grading.items() if k in _NBGRADER and isinstance(v, _NBGRADER[k])})
    if not re.fullmatch(r"[A-Za-z0-9_\-]{1,64}", str(cell.get("id", ""))):
        cell.pop("id", None)
    if cell.cell_type == "markdown":
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
        return
    count = cell.get("execution_count")
    cell.execution_count = count if type(count) is int else None
    cell.pop("attachments", None)
    outputs = [shown for o in cell.get("outputs", ())[:MAX_OUTPUTS] if (shown := _output(o)) is not None]
    left = len(cell.get("outputs", ())) - MAX_OUTPUTS
    if left > 0:
        node = type(cell)
        outputs.append(node({"output_type": "stream", "name": "stdout", "text": f"[... {left} more outputs are not shown]\n"}))
    cell.outputs = outputs


def _output(output):
    """The output with only what is harmless, or None."""
    kind = output.get("output_type")
    if kind == "stream":
        output["name"] = "stderr" if output.get("name") == "stderr" else "stdout"
        output["text"] = cut(visible(_text(output.get("text"))), MAX_TEXT)
    elif kind == "error":
        lines = output.get("traceback")
        text = visible("\n".join(_text(line) for line in lines)) if isinstance(lines, list) else ""
        if not text:
            text = visible(f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}")
        output["traceback"] = [cut(text, MAX_TEXT)]
        output["ename"], output["evalue"] = (visible(_text(output.get(k)))[:500] for k in ("ename", "evalue"))
    elif kind in ("display_data", "execute_result"):
        bundle = output.get("data") if isinstance(output.get("data"), dict) else {}
        data = {mime: value for mime, raw in bundle.items() if (value := _mime(mime, raw))}
        if not data:
            return None
        output["data"] = type(output)(data)
        output["metadata"] = type(output)()
        if kind == "execute_result":
            count = output.get("execution_count")
            output["execution_count"] = count if type(count) is int else None
    else:
        return None
    return output


def _mime(mime, raw):
    if mime in ("text/plain", "text/latex"):
        return cut(visible(_text(raw)), MAX_TEXT)
    if mime == "text/markdown":
        return cut(visible(_text(raw)), MAX_TEXT)       # rendered by our filter
    if mime == "text/html":
        text = _text(raw)
        return clean(visible(text)) if len(text) <= 4 * MAX_TEXT else None
    if mime in _MAGIC:
        text = "".join(_text(raw).split())
        if len(text) > MAX_IMAGE:
            return None
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
        return text if data.startswith(_MAGIC[mime]) else None
    return None


def _text(value):
    """A notebook's text: a string, or a list of strings; anything else counts as empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(v for v in value if isinstance(v, str))
    return ""
