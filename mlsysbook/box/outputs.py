"""What cells showed, as the box sent it → text and PNG that are safe to keep, whatever was sent."""

import base64
import binascii
import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)", re.DOTALL)     # colours, titles and the like


def line(text):
    """Untrusted text as one printable line; "" for what is no text."""
    return "".join(c if c.isprintable() else " " for c in text[:300]) if type(text) is str else ""


def plain(text, limit):
    """Untrusted text without control characters or terminal escapes; new lines and tabs stay. "" for what is no text."""
    if type(text) is not str:
        return ""
    return "".join(c for c in _ESCAPES.sub("", text[:limit]) if c in "\n\t" or c.isprintable() or _space(c))


def _space(c):
    return c.isspace() and c > "\x9f" and c not in "\u2028\u2029"


def clean_outputs(outputs, limit):
    """Outputs as the worker sent them -> nbformat output dicts that hold only text and PNG, whatever was sent."""
    shown = []
    for o in outputs if type(outputs) is list else []:
        if type(o) is not dict or len(shown) >= 20:
            continue
        if o.get("stream") in ("stdout", "stderr"):
            shown.append({"output_type": "stream", "name": o["stream"], "text": plain(o.get("text", ""), limit + 100)})
        elif "result" in o:
            shown.append({"output_type": "display_data", "data": {"text/plain": plain(o["result"], limit)}, "metadata": {}})
        elif "png" in o:
            try:
                raw = base64.b64decode(o["png"], validate=True)
            except (binascii.Error, ValueError, TypeError):
                continue
            if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) < 400_000:
                data = {"image/png": base64.b64encode(raw).decode(), "text/plain": "figure"}
                shown.append({"output_type": "display_data", "data": data, "metadata": {}})
        elif type(o.get("error")) is dict:
            e = o["error"]
            shown.append({"output_type": "error", "ename": plain(e.get("name", ""), 80), "evalue": plain(e.get("value", ""), 2000),
                          "traceback": plain(e.get("trace", ""), 8000).split("\n")})
    return shown
