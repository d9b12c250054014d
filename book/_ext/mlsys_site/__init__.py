"""What the book's site adds to Sphinx: its own copy of MathJax, buttons for a page's notebook, a build without solutions.

A Sphinx extension, loaded by Jupyter Book and by plain Sphinx alike.
"""

import json
import os
import re
import shutil
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import nbformat
from docutils import nodes
from sphinx.errors import ExtensionError

from . import companion, contents, downloads, letters, student, teaching, translated

BOOK = Path(__file__).resolve().parents[2]
MATHJAX = BOOK / "_vendor" / "node_modules" / "mathjax"
MATHJAX_PARTS = ("tex-mml-chtml.js", "a11y", "input/tex", "output/chtml", "sre", "ui")


def setup(app):
    for name, default in (("mlsys_hub", ""), ("mlsys_repository", ""), ("mlsys_branch", "main")):
        app.add_config_value(name, default, "html", [str])
    contents.setup(app)
    teaching.setup(app)
    companion.setup(app)
    letters.setup(app)
    translated.setup(app)
    app.add_config_value("mlsys_fingerprint", "", "env", [str])     # of the libraries that cells compute with
    app.connect("config-inited", leave_out_thebe)
    app.connect("config-inited", check_addresses)
    app.connect("builder-inited", copy_mathjax)
    app.connect("source-read", leave_out_solutions)
    app.connect("doctree-read", name_once)
    app.connect("html-page-context", finish_page, priority=900)     # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def leave_out_thebe(app, config):
    """Jupyter Book always loads sphinx-thebe, which writes its configuration twice (an error of script) and names another server."""
    for listeners in app.events.listeners.values():
        listeners[:] = [known for known in listeners if not known.handler.__module__.startswith("sphinx_thebe")]
    for files in (app.registry.css_files, app.registry.js_files):
        files[:] = [(name, attributes) for name, attributes in files if "thebe" not in str(name)]


def check_addresses(app, config):
    """The environment goes before _config.yml; half an address or another scheme is an error."""
    for name in ("hub", "repository", "branch"):
        config[f"mlsys_{name}"] = os.environ.get(f"MLSYS_BOOK_{name.upper()}") or config[f"mlsys_{name}"]
    for name in ("hub", "repository"):
        if (value := config[f"mlsys_{name}"]) and not re.match(r"https?://[^/\s]+", value):
            raise ExtensionError(f"mlsys_{name} is {value!r}; wants an address such as https://hub.example.edu")
    if bool(config.mlsys_hub) != bool(config.mlsys_repository):
        raise ExtensionError("mlsys_hub and mlsys_repository go together: set both, or neither")


def copy_mathjax(app):
    """Into the site before pages are written, because their links carry a checksum of it."""
    if app.builder.format != "html" or app.builder.name == "epub":
        return
    if not (MATHJAX / "es5").is_dir():
        raise ExtensionError("MathJax is missing: `make book` installs it (npm ci in book/_vendor)")
    target = Path(app.outdir) / "_static" / "vendor" / "mathjax"
    for part in MATHJAX_PARTS:
        source = MATHJAX / "es5" / part
        if source.is_dir():
            shutil.copytree(source, target / part, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / part)
    shutil.copyfile(MATHJAX / "LICENSE", target / "LICENSE")


def leave_out_solutions(app, docname, source):
    if app.tags.has("student"):
        source[0] = student.without_solutions(source[0])


def name_once(app, doctree):
    """sphinx-exercise calls the body of every exercise and of every solution alike; a page must not use a name twice."""
    for number, section in enumerate(doctree.findall(nodes.section)):
        section["ids"] = [f"{i}-{number}" if i in ("exercise-content", "solution-content") else i for i in section["ids"]]


def finish_page(app, pagename, templatename, context, doctree):
    """Put the page's own buttons into the header, and its notebook beside it."""
    if doctree is None or "header_buttons" not in context or app.builder.name == "epub":
        return
    from mlsysbook.book import translate

    buttons, _ = [], translate.words(BOOK.parent, app.config.language)
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if app.env.metadata[pagename].get("kernelspec") and executed.is_file():
        glued = executed.with_suffix(".glue.json")
        notebook = downloads.notebook(nbformat.read(executed, as_version=4), json.loads(glued.read_bytes()) if glued.is_file() else {},
                                      keys=not app.tags.has("student"))
        path = Path(app.outdir) / "notebooks" / f"{pagename}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        buttons.append({"type": "link", "url": context["pathto"](f"notebooks/{pagename}.ipynb", 1), "icon": "fas fa-download",
                        "tooltip": _("Download this page as a notebook"), "label": "download-notebook-button"})
        if app.config.mlsys_hub:
            buttons.append({"type": "link", "url": hub_link(app.config, Path(app.env.doc2path(pagename)).name, pagename),
                            "icon": "fas fa-rocket", "tooltip": _("Open this page in JupyterHub"), "label": "open-in-hub-button"})
    context["header_buttons"] = buttons + context["header_buttons"]


def hub_link(config, file, pagename):
    """An nbgitpuller link: the hub pulls the repository and opens the page's source as a notebook."""
    folder = urlsplit(config.mlsys_repository).path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    page = "/".join(["book", *pagename.split("/")[:-1], file])
    query = urlencode({"repo": config.mlsys_repository, "branch": config.mlsys_branch,
                       "urlpath": f"lab/tree/{quote(f'{folder}/{page}')}?factory=Jupytext%20Notebook"})
    return escape(f"{config.mlsys_hub.rstrip('/')}/hub/user-redirect/git-pull?{query}")
