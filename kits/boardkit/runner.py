"""The program that runs simavr: kits/runner/avr.c, compiled once for each version of its text into the user's cache.

simavr is under the GPL. So it stays in a process of its own, and nothing of the course links it.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from .errors import ToolMissing
from .process import INSTALL

SOURCE = Path(__file__).resolve().parent.parent / "runner" / "avr.c"


@functools.cache
def avr_runner():
    """Path of the compiled runner. Raises ToolMissing with what its compilation wants."""
    from platformdirs import user_cache_path

    text = SOURCE.read_bytes()
    name = f"avr-{hashlib.sha256(text + platform.machine().encode()).hexdigest()[:16]}"
    folder = user_cache_path("boardkit", appauthor=False)
    if (folder / name).is_file():
        return folder / name
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ToolMissing(f"simavr's runner wants a C compiler: {INSTALL['simavr']}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        made = Path(fresh) / name
        done = subprocess.run([compiler, "-O2", "-o", str(made), str(SOURCE), "-lsimavr"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env=os.environ | {"LC_ALL": "C"}, timeout=120)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line or "cannot find" in line), "no reason given")
            raise ToolMissing(f"simavr's runner does not compile ({said.strip()[:120]}): {INSTALL['simavr']}")
        os.replace(made, folder / name)
    return folder / name
