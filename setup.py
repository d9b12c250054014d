"""The extension modules: everything else about the packages is in setup.cfg.

Kernels are optional. Where one cannot be compiled, the install goes on without it and says so in one line.
"""

import logging
import sys
from textwrap import shorten

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

# Never -march=native (one hub serves mixed machines) and never -ffast-math (it changes inf, NaN and, at link time, the
# whole process). A header must be in `depends`, or editing it rebuilds nothing.
FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math"]


def kernel(name, headers=()):
    return Extension(
        f"tinytorch._ext.{name}",
        [f"tinytorch/_ext/{name}.pyx"],
        depends=[f"tinytorch/_ext/{header}" for header in headers],
        include_dirs=["tinytorch/_ext", np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=FLAGS,
    )


class OptionalBuild(build_ext):
    """A kernel that does not compile is left out, and the log says so; Extension(optional=True) gives up all the same
    when there is no compiler at all. pip shows the log with -v only: `make setup` prints which kernels are native."""

    def run(self):
        self.missing = []
        super().run()
        if self.missing:
            names = ", ".join(extension.name for extension in self.missing)
            self.announce(f"{names} not compiled ({self.reason}): NumPy runs instead", level=logging.WARNING)

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, OSError) as reason:
            self.missing.append(ext)
            self.reason = shorten(str(reason), 100)

    def copy_extensions_to_source(self):
        self.extensions = [extension for extension in self.extensions if extension not in self.missing]
        super().copy_extensions_to_source()


setup(
    ext_modules=cythonize([kernel("copy", ["transpose.h"]), kernel("value")], build_dir="build/cython"),
    cmdclass={"build_ext": OptionalBuild},
)
