"""The extension modules: everything else about the packages is in setup.cfg.

Kernels are optional. Where one cannot be compiled, the install goes on without it and says so in one line.
"""

import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from textwrap import shorten

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

# Each tinytorch/_ext/NAME.pyx is an extension module of its own.
KERNELS = ("attention", "batch_norm", "buffers", "conv", "copy", "embedding", "gemm", "optim", "pool", "probe", "quant", "rows", "value")
FOLDER = "tinytorch/_ext"
JOBS = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)
# Never -march=native (one hub serves mixed machines) and never -ffast-math (it changes inf, NaN and, at link time, the
# whole process).
FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math"]
# The first that the compiler takes: threads and vectors, or vectors alone (Apple's clang has no OpenMP library).
OPENMP = ("-fopenmp", "-fopenmp-simd")
# TINYTORCH_SANITIZE=address: `make sanitize` runs the kernels under AddressSanitizer.
SANITIZE = [f"-fsanitize={name}" for name in os.environ.get("TINYTORCH_SANITIZE", "").split()]


def headers(file, found=()):
    """The files of FOLDER that a source includes, and those that they include. One that is not in an extension's
    `depends` can be edited and nothing is rebuilt."""
    text = Path(FOLDER, file).read_text(encoding="utf-8")
    for name in re.findall(r'^(?:cdef extern from|include|# *include|#define TT_TEMPLATE) "(.+?)"', text, re.M):
        if name not in found and Path(FOLDER, name).exists():
            found = headers(name, (*found, name))
    return found


def kernel(name):
    return Extension(
        f"tinytorch._ext.{name}",
        [f"{FOLDER}/{name}.pyx"],
        depends=[f"{FOLDER}/{header}" for header in headers(f"{name}.pyx")],
        include_dirs=[FOLDER, np.get_include()],
        define_macros=[(name, "NPY_2_0_API_VERSION") for name in ("NPY_NO_DEPRECATED_API", "NPY_TARGET_VERSION")],
        extra_compile_args=FLAGS + SANITIZE,
        extra_link_args=list(SANITIZE),
    )


class OptionalBuild(build_ext):
    """A kernel that does not compile is left out, and the log says so; Extension(optional=True) gives up all the same
    when there is no compiler at all. pip shows the log with -v only: `make setup` prints which kernels are native."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or JOBS

    def run(self):
        self.missing = []
        super().run()
        if self.missing:
            names = ", ".join(sorted(extension.name for extension in self.missing))
            self.announce(f"{names} not compiled ({self.reason}): NumPy runs instead", level=logging.WARNING)

    def build_extensions(self):
        flag = next(filter(self.compiles_with, OPENMP), None)
        for extension in self.extensions if flag else ():
            extension.extra_compile_args.append(flag)
            extension.extra_link_args.append(flag)
        super().build_extensions()

    def compiles_with(self, flag):
        """Whether a program with an OpenMP loop compiles and links with this flag."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("int main(void) {\n#pragma omp parallel for\nfor (int i = 0; i < 2; i++) ;\nreturn 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=[flag])
                self.compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=[flag])
            except (BaseError, CCompilerError, OSError):
                return False
        return True

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, OSError) as reason:
            self.missing.append(ext)
            self.reason = shorten(str(reason), 100)

    def copy_extensions_to_source(self):
        self.extensions = [extension for extension in self.extensions if extension not in self.missing]
        super().copy_extensions_to_source()


if __name__ == "__main__":
    setup(
        ext_modules=cythonize([kernel(name) for name in KERNELS], build_dir="build/cython", nthreads=JOBS),
        cmdclass={"build_ext": OptionalBuild},
    )
