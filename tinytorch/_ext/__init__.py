"""Cython kernels, each with a NumPy twin of the same name in _reference.py. tinytorch.backend chooses between them."""
