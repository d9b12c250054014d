"""One run of Sphinx as Jupyter Book sets it up, in a process of its own: python -m mlsysbook.book.engine OPTIONS-AS-JSON."""

import json
import sys


def main():
    from jupyter_book.sphinx import build_sphinx
    from sphinx.util.console import nocolor

    from mlsysbook import __version__

    nocolor()
    options = json.loads(sys.argv[1])
    overrides = {"latex_individualpages": False, "version": __version__, "nb_execution_cache_path": options["cache"],
                 "mlsys_fingerprint": options["fingerprint"], "language": options["language"], "external_toc_path": options["contents"]}
    status = build_sphinx(options["source"], options["out"], doctreedir=options["doctrees"], builder=options["builder"],
                          path_config=f"{options['source']}/_config.yml", confoverrides=overrides, noconfig=True,
                          tags=options["tags"], warningiserror=True, keep_going=True)
    sys.exit(status if isinstance(status, int) else 2)


if __name__ == "__main__":
    main()
