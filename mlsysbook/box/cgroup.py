"""A control group below the caller's own, for memory and process limits, where the host lets us make one.

Version 2 needs a delegated subtree with the controllers already enabled for children; version 1 needs a writable hierarchy.
Where neither holds, `create` returns None and session.py watches /proc instead.
"""

import os
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_number = count()


class Cgroup:
    """Folders of one group; a process enters by writing 0 into each of `procs`."""

    def __init__(self, folders, memory_folder):
        self.folders, self._memory = folders, memory_folder

    @property
    def procs(self):
        return [str(f / "cgroup.procs") for f in self.folders]

    def members(self):
        """Pids of the processes in the group."""
        with suppress(OSError, ValueError):
            return [int(n) for n in (self.folders[0] / "cgroup.procs").read_text().split()]
        return []

    def memory_killed(self):
        """Did the kernel kill a process of this group for lack of memory?"""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                for line in (self._memory / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1]) > 0
        return False

    def remove(self):
        """Take the folders away; for up to a second while the last processes are leaving them."""
        for _ in range(50):
            for f in self.folders:
                with suppress(OSError):
                    f.rmdir()
            if not any(f.exists() for f in self.folders):
                return
            time.sleep(0.02)


def create(limits):
    """A group with the memory and process limits, or None where the host gives no way."""
    name = f"mlsys-box-{os.getpid()}-{next(_number)}"
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {c: line.split(":", 2)[2] for line in lines for c in line.split(":", 2)[1].split(",")}
    if "" in paths and (_ROOT / "cgroup.controllers").is_file():
        parents = [_ROOT / paths[""].lstrip("/")]
        make = _create_v2
    elif "memory" in paths and "pids" in paths:
        parents = [_ROOT / c / paths[c].lstrip("/") for c in ("memory", "pids")]
        make = _create_v1
    else:
        return None
    for parent in parents:
        _forget(parent)
    return make([p / name for p in parents], limits)


def _forget(parent):
    """Remove groups of graders that were killed before they could."""
    for folder in parent.glob("mlsys-box-*-*"):
        if not Path("/proc", folder.name.split("-")[2]).exists():
            with suppress(OSError):
                folder.rmdir()


def _create_v2(folders, limits):
    folder, = folders
    try:
        folder.mkdir()
        (folder / "memory.max").write_text(str(limits.memory))
        (folder / "pids.max").write_text(str(limits.processes))
        with suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
        return Cgroup([folder], folder)
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        return None


def _create_v1(folders, limits):
    memory, pids = folders
    made = []
    try:
        for folder in folders:
            folder.mkdir()
            made.append(folder)
        (memory / "memory.limit_in_bytes").write_text(str(limits.memory))
        (pids / "pids.max").write_text(str(limits.processes))
        return Cgroup(made, memory)
    except OSError:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        return None
