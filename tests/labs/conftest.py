"""A lab that is built once, a folder of a student's, and a ledger that is nobody's."""

import json
import shutil

import pytest

from tests.labs import lab as text


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """(course, assignment) of the small lab."""
    return text.make(tmp_path_factory.mktemp("lab"), text.SOURCE.replace("answer,", "answer, decision,") + text.DECISION, 11)


@pytest.fixture(autouse=True)
def own_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSYS_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("MLSYS_BOX", raising=False)


@pytest.fixture
def desk(built, tmp_path, monkeypatch):
    """ada's folder, with what is beside the notebook -> its path. The process works in it."""
    folder = tmp_path / "ada"
    folder.mkdir()
    shutil.copy(built[1].source_dir / "assignment.json", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLSYS_STUDENT", "ada")
    return folder


@pytest.fixture
def sidecar(built):
    return json.loads((built[1].source_dir / "assignment.json").read_text())
