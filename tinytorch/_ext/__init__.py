"""Cython kernels, each with a NumPy twin of the same name in _reference/. tinytorch.backend chooses between them."""

import os

# libgomp reads this once, when the first extension module loads it; see threads.h for the reason.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
