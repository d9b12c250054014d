"""The supervisor against processes that do not want to end. It runs in a process of its own: it adopts orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlsysbook.hub import supervise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted through Linux's prctl")

RUN = """
import sys
from mlsysbook.hub.supervise import Supervisor
with Supervisor(["bash", "-c", sys.argv[1]], env={"PATH": "/usr/bin:/bin"}, cwd="/", log=None) as hub:
    print("started", flush=True)
    hub.wait()
print(hub.stopped_by.name if hub.stopped_by else hub.status, flush=True)
"""


@pytest.fixture
def mark():
    """A number of seconds to sleep that no other process sleeps: it tells our processes from the rest."""
    return f"{os.getpid()}.{time.monotonic_ns() % 10**9:09d}"


def processes(mark):
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def start(script):
    supervisor = subprocess.Popen([sys.executable, "-c", RUN, script], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout.readline() == "started\n"
    return supervisor


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_the_kill_comes_within_the_ten_seconds_that_are_promised():
    assert supervise.HUB_GRACE + 2 * supervise.TERM_GRACE <= 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_hub_and_a_job_that_fled_from_it(mark, number):
    supervisor = start(f"setsid -f sleep {mark}; exec sleep {mark}")
    assert wait_for(lambda: len(processes(f"sleep\0{mark}")) == 2, 60)
    supervisor.send_signal(number)
    assert supervisor.communicate(timeout=60)[0] == f"{number.name}\n"
    assert processes(mark) == []


def test_a_process_that_ignores_every_polite_signal_is_killed(mark):
    supervisor = start(f"(trap '' TERM INT HUP; setsid -f sleep {mark}) ; exec sleep {mark}")
    assert wait_for(lambda: len(processes(f"sleep\0{mark}")) == 2, 60)
    supervisor.terminate()
    supervisor.communicate(timeout=60)
    assert processes(mark) == []


def test_a_hub_that_ends_by_itself_takes_the_rest_along(mark):
    supervisor = start(f"setsid -f sleep {mark}; sleep 0.3; exit 3")
    assert supervisor.communicate(timeout=60)[0] == "3\n"
    assert processes(mark) == []


def test_a_shell_that_ignores_interrupts_in_the_background_does_not_pass_that_on(mark):
    ignoring = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    script = f"grep SigIgn /proc/self/status; exec sleep {mark}"
    supervisor = subprocess.Popen([sys.executable, "-c", ignoring, sys.executable, "-c", RUN, script], stdout=subprocess.PIPE, text=True)
    assert wait_for(lambda: processes(f"sleep\0{mark}"), 60)
    supervisor.terminate()
    ignored = int(next(line for line in supervisor.communicate(timeout=60)[0].splitlines() if "SigIgn" in line).split()[1], 16)
    assert not ignored & (1 << (signal.SIGINT - 1))


def test_the_hub_is_told_when_the_supervisor_is_killed(mark):
    supervisor = start(f"exec sleep {mark}")
    assert wait_for(lambda: processes(f"sleep\0{mark}"), 60)
    supervisor.kill()
    supervisor.communicate()
    assert wait_for(lambda: not processes(f"sleep\0{mark}"), 60)
