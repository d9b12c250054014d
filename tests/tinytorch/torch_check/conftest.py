"""PyTorch is an extra: without it these tests are skipped with the reason, but not under CI, where `make test` installs it."""

import os

if os.environ.get("CI"):
    import torch  # noqa: F401
