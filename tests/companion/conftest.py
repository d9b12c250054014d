"""The companion's modules as Node runs them, and a site to try it in."""

import os
import subprocess
from pathlib import Path

import pytest

from mlsysbook import catalogue

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "book" / "_vendor" / "node_modules"


@pytest.fixture(scope="session")
def course():
    return catalogue.load(ROOT)


@pytest.fixture(scope="session")
def vendor():
    """The npm packages that the book's scripts are made with."""
    if not VENDOR.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no npm packages in book/_vendor: make test and make book install them")
    return VENDOR


@pytest.fixture(scope="session")
def bundled(tmp_path_factory, vendor):
    """bundled(entry, ...) -> the folder with those modules as Node can run them."""

    def make(*entries):
        folder = tmp_path_factory.mktemp("bundled")
        command = [vendor / ".bin" / "esbuild", *entries, "--bundle", "--platform=node", "--format=esm", "--log-level=error",
                   "--out-extension:.js=.mjs", f"--outdir={folder}"]
        subprocess.run(list(map(str, command)), check=True, env=os.environ | {"NODE_PATH": str(vendor)}, timeout=60)
        return folder

    return make
