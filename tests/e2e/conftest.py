"""Hub tests make Unix users and take ports, so of those files one runs at a time on a machine."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_hub_at_a_time(request):
    if "test_hub" not in request.module.__name__:
        yield
        return
    with open(Path(tempfile.gettempdir()) / f"mlsys-hub-tests-{os.getuid()}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
