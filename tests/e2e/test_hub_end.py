"""All of a hub ends: after a signal, and after the command itself was killed. Beside it ran a server, a kernel and a fled job."""

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e import hub_class as h

pytestmark = [pytest.mark.root, pytest.mark.slow,
              pytest.mark.node]


@pytest.fixture(scope="module")
def made():
    with h.people("mlsys-t-head", "mlsys-t-cleo") as passwords, h.folder() as tmp:
        yield h.make_class(tmp, passwords)


@contextmanager
def busy_hub(made, mark):
    """A hub with a student's server, a kernel, and a background job that fled from the kernel's session."""
    home = Path(h.pwd.getpwnam("mlsys-t-cleo").pw_dir)
    startup = home / ".ipython" / "profile_default" / "startup" / "flee.py"
    script = f"mkdir -p {startup.parent} && echo 'import os; os.system(\"setsid -f sleep {mark}\")' > {startup}"
    h.run_as("mlsys-t-cleo", ["bash", "-c", script], cwd="/")
    with h.running_hub(made, port=18450) as hub:
        head = h.token(hub, "mlsys-t-cleo", made.passwords["mlsys-t-cleo"])
        h.start_server(hub, "mlsys-t-cleo", head)
        assert requests.post(f"{hub.url}/user/mlsys-t-cleo/api/kernels", json={"name": "python3"}, headers=head, timeout=60).ok
        h.wait_for(lambda: h.find(mark), 120)
        yield hub
    startup.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it_within_ten_seconds(made, number):
    mark = f"7{time.monotonic_ns()}"
    with busy_hub(made, mark) as hub:
        pids, runtime = h.tree(hub.process.pid), runtime_dir(made)
        assert len(pids) >= 6, "command, hub, proxy, formgrader, server, kernel"
        assert hub.stop(number) < 10
        assert hub.process.returncode == 0
        assert h.find(mark) == [] and not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert not runtime.exists()
        state = made.folder / ".mlsys" / "hub"
        assert {p.name for p in state.iterdir()} - {"hub.log.1"} == {"cookie_secret", "hub.log", "jupyterhub.sqlite"}


def test_a_killed_command_takes_the_hub_along_and_the_next_start_cleans_up(made):
    mark = f"8{time.monotonic_ns()}"
    with busy_hub(made, mark) as hub:
        everything = h.tree(hub.process.pid)
        runtime = runtime_dir(made)
        fled = [pid for pid in everything if mark in cmdline(pid)]
        pids = set(everything) - set(fled)
        hub.process.kill()
        h.wait_for(lambda: not [pid for pid in pids if alive(pid)], 60)
        for pid in fled:                            # nobody adopts it then: the one thing that stays
            os.kill(pid, signal.SIGKILL)
    with h.running_hub(made, port=18460) as again:
        assert requests.get(f"{again.url}/hub/health", timeout=10).ok
        assert not runtime.exists()


def runtime_dir(made):
    path = Path((made.folder / ".mlsys" / "hub" / "runtime").read_text().strip())
    assert path.name.startswith("mlsys-hub-") and (path / "student" / "nbgrader_config.py").exists()
    return path


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):     # it has just ended
        return ""


def alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
