"""Every kernel is tested in all its forms: the NumPy twin, and the compiled one at each instruction set of this machine."""

import pytest

from tinytorch.backend import backend, backend_info, isa_levels, set_isa

LEVELS = {1: "generic", 3: "avx2", 4: "avx512", 5: "vnni"}


def forms():
    return ["reference"] + [LEVELS[level] for level in isa_levels()]


@pytest.fixture(params=forms())
def form(request):
    """Runs the test once with the twin and once at each instruction set."""
    best = isa_levels()[-1:]
    if request.param == "reference":
        with backend("reference"):
            yield request.param
        return
    level = next(number for number, name in LEVELS.items() if name == request.param)
    assert set_isa(level) == level
    with backend("cython"):
        yield request.param
    set_isa(*best)


def pytest_report_header():
    return f"tinytorch: {backend_info()}"
