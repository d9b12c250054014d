"""The companion on every page: its scripts among the site's files, and in each head what the page's script has to know.

The data of chapters come later, when cells have run and the site is whole: mlsysbook/companion/build.py.
"""

import json
from pathlib import Path

from sphinx.errors import ExtensionError

from .contents import ROOT, course


def setup(app):
    app.connect("builder-inited", add_scripts)
    app.connect("html-page-context", describe_page)


def _shown(app):
    return app.builder.format == "html" and app.builder.name != "epub" and (ROOT / "book" / "companion").is_dir()


def add_scripts(app):
    """Before pages are written, because their links carry a checksum."""
    if not _shown(app):
        return
    from mlsysbook.companion import build

    try:
        build.bundle(ROOT / "book", Path(app.outdir) / build.FOLDER)
    except build.ContentError as error:
        raise ExtensionError(str(error)) from None
    app.add_js_file("companion/load.js", loading_method="defer")
    app.add_css_file("companion/companion.css")


def describe_page(app, pagename, templatename, context, doctree):
    """A translated page has its companion from the English site, which it stands in a folder of, and from its own what is translated."""
    if doctree is None or not _shown(app):
        return
    from mlsysbook.book import translate
    from mlsysbook.companion import build

    up = pagename.count("/") + (app.config.language != "en")
    try:
        known = build.page(course(), pagename) | {"root": "../" * up or "./"}
    except build.ContentError as error:
        raise ExtensionError(str(error)) from None
    if app.config.language in translate.LANGUAGES:
        said = translate.strings(ROOT, app.config.language, pagename)
        known["own"] = {"from": "../" * pagename.count("/") or "./", "names": sorted(build.spoken(ROOT, app.config.language))}
        known["sections"] = [row | {"title": said.get(row["title"], row["title"])} for row in known["sections"]]
    text = json.dumps(known, ensure_ascii=False, sort_keys=True, separators=(",", ":")).replace("</", "<\\/")
    context["metatags"] = context.get("metatags", "") + f'<script type="application/json" id="mlsys-companion">{text}</script>\n'
