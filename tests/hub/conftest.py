import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from mlsysbook.hub.settings import Settings


@pytest.fixture
def open_tmp():
    """A temporary folder that other users can enter; pytest's own is closed to them."""
    path = Path(tempfile.mkdtemp(prefix="mlsys-hub-unit-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def me():
    return pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def settings(tmp_path):
    """Settings of a hub with real users, of which nothing has to exist."""
    return Settings(
        course="mlsys", class_dir="/srv/class", exchange="/srv/exchange", state_dir=str(tmp_path / "state"),
        runtime_dir=str(tmp_path / "run"), owner="prof", instructors=("prof", "ta"), db_url="sqlite:////srv/class/gradebook.db",
        alone=False, work_dir="~", auth="pam", host="127.0.0.1", port=8000, hub_port=8001, proxy_port=8002, service_port=8003,
        proxy=("/opt/proxy",), bin_dir="/opt/venv/bin")
