"""Cython kernels, each with a NumPy twin of the same name in _reference. tinytorch.backend chooses between them."""
