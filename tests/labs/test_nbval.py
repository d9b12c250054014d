"""Every lab, solved, cell by cell in a Jupyter kernel of its own: nbval finds no error."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from mlsysbook.labs.tracks import TRACKS
from tests.labs.lab import MLSYS, begin

LABS = [a for a in MLSYS.assignments if a.part == "labs"]


@pytest.mark.slow
def test_nbval_runs_all_labs_each_on_the_next_track(tmp_path):
    cells = 0
    for i, a in enumerate(LABS):
        shutil.copytree(a.source_dir, tmp_path / a.notebook)
        begin(a, tmp_path / a.notebook, "ada", TRACKS[i % len(TRACKS)])
        cells += a.notebook_path.read_text().count('"cell_type": "code"')
    env = os.environ | {"MLSYS_STUDENT": "ada", "MLSYS_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "pytest", "-c", str(MLSYS.root / "setup.cfg"), "--rootdir", str(tmp_path), "-q", "--nbval-lax",
               "-p", "no:cacheprovider", *(str(tmp_path / a.notebook / f"{a.notebook}.ipynb") for a in LABS)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(rf"^{cells} passed", done.stdout, re.M), done.stdout[-500:]
