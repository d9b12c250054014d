"""Configuration that `mlsys hub` gives to JupyterHub. All of it is in mlsysbook.hub.configure, where it is tested."""

import os

from mlsysbook.hub.configure import configure
from mlsysbook.hub.settings import Settings

with open(int(os.environ.pop("MLSYS_HUB_SETTINGS_FD"))) as file:
    file.seek(0)
    configure(get_config(), Settings.loads(file.read()))  # noqa: F821 - JupyterHub defines get_config
