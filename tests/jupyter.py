"""A JupyterLab of its own, for tests that drive a browser."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request


@contextlib.contextmanager
def jupyterlab(folder, source, *options, **environment):
    """Serve JupyterLab on a free port with one notebook of one cell, below `folder` -> the notebook's address."""
    cell = {"cell_type": "code", "id": "only", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    work, log = folder / "work", folder / "lab.log"
    work.mkdir()
    (work / "only.ipynb").write_text(json.dumps({
        "cells": [cell], "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4, "nbformat_minor": 5}))
    environment = os.environ | {"HOME": str(folder), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")} | environment
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--ip=127.0.0.1", "--IdentityProvider.token=",
               "--ServerApp.password=", f"--ServerApp.root_dir={work}", *options]
    with open(log, "w") as out:
        process = subprocess.Popen([*command, *(["--allow-root"] if os.geteuid() == 0 else [])], env=environment, stdout=out, stderr=out)
        try:
            address, waited = None, time.monotonic()
            while address is None or not _answers(address):     # it says where it will listen before it does
                assert process.poll() is None and time.monotonic() - waited < 120, log.read_text()
                time.sleep(0.1)
                found = re.search(r"(http://127\.0\.0\.1:\d+)/lab\b", log.read_text())      # with what follows the port: all of it is there
                address = found and found[1]
            yield f"{address}/lab/tree/only.ipynb"
        finally:
            process.terminate()
            process.wait(60)


def _answers(address):
    try:
        urllib.request.urlopen(f"{address}/api/status", timeout=60).close()
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ConnectionRefusedError):
            raise
        return False
    return True
