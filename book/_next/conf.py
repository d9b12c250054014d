"""The book under plain Sphinx, from the same _config.yml: only what differs from Jupyter Book is said here."""

import sys
from pathlib import Path

import yaml

BOOK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BOOK / "_ext"))
_settings = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))

project, author = _settings["title"], _settings["author"]
extensions = ["myst_nb", "sphinx_external_toc", "sphinx_design", "sphinx_copybutton", "sphinx_togglebutton", "sphinxcontrib.bibtex",
              *_settings["sphinx"]["extra_extensions"], *_settings["sphinx"]["local_extensions"]]
exclude_patterns = _settings["exclude_patterns"]
external_toc_path = str(BOOK / "_toc.yml")
external_toc_exclude_missing = True
bibtex_bibfiles = [str(BOOK / name) for name in _settings["bibtex_bibfiles"]]
myst_enable_extensions = _settings["parse"]["myst_enable_extensions"]
html_theme = "sphinx_book_theme"
html_static_path = [str(BOOK / "_static")]
html_css_files = sorted(p.name for p in (BOOK / "_static").glob("*.css"))
html_js_files = sorted(p.name for p in (BOOK / "_static").glob("*.js"))

# Cells were executed by `make book`, which this follows; one that is not in its cache cannot run in this environment.
nb_execution_mode = "cache"
nb_execution_cache_path = str(max((BOOK.parent / "build" / "book-work" / "cache").iterdir(), key=lambda p: p.stat().st_mtime))
nb_output_stderr = _settings["execute"]["stderr_output"]

globals().update(_settings["sphinx"]["config"])
html_favicon = str(BOOK / _settings["sphinx"]["config"]["html_favicon"])
