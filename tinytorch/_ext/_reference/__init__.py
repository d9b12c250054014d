"""NumPy twins of the kernels: same names, same arguments. They run where nothing was compiled; the tests trust them.

A twin takes `threads` as its kernel does, and does not use it.
"""

from tinytorch._ext._reference.arrays import copy
from tinytorch._ext._reference.gemm import gemm
from tinytorch._ext._reference.rows import relu
from tinytorch._ext._reference.scalar import Value

__all__ = ["Value", "copy", "gemm", "relu"]
