"""What every test may rely on: properties without deadlines, a seeded generator, both backends of tinytorch, markers.
Under CI a missing browser or Node is a failure, elsewhere a skip with its reason. There too a test that fails in a real browser
runs once more, since a page on a loaded machine now and then does not come; the summary names each such RERUN."""

import os
import shutil
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from tests.browsing import FLAGS, watched
from tinytorch.backend import BACKENDS
from tinytorch.backend import backend as use_backend

# The `backend` fixture serves all examples of a property alike, so one set-up for all of them is right.
COMMON = dict(deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
hypothesis.settings.register_profile("here", **COMMON)
hypothesis.settings.register_profile("ci", derandomize=True, **COMMON)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items):
    for item in items:
        if "site" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")         # of the whole book, which takes minutes to build where it has not been built
        if os.environ.get("CI") and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root, to make users")
    if item.get_closest_marker("browser") and CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no chromium here: make test installs it")
    if item.get_closest_marker("node") and shutil.which("node") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Node here: make test installs it")


def pytest_terminal_summary(terminalreporter):
    """Tables that tests recorded with record_property("table", text), from whichever process ran them."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "table" and report.when == "call":
                    terminalreporter.write_line(text)


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20260801)


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Runs the test once under each backend."""
    with use_backend(request.param):
        yield request.param


@pytest.fixture(scope="session")
def chromium():
    """Path of the browser that tests drive."""
    return CHROMIUM


@pytest.fixture(scope="session")
def site():
    """The book as it is, in all languages: seconds where its cells are cached. One for all tests, since each build takes the place
    of the last."""
    from mlsysbook import catalogue
    from mlsysbook.book import build
    from mlsysbook.book.translate import LANGUAGES

    return build.build(catalogue.load(Path(__file__).parents[1]), languages=list(LANGUAGES)).site


@pytest.fixture(scope="module")
def address(site):
    """Of the site, served."""
    from mlsysbook.book.serve import background

    with background(site) as at:
        yield at


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright import sync_api as playwright

    with playwright.sync_playwright() as p:
        yield p.chromium.launch(executable_path=chromium, args=FLAGS)


@pytest.fixture
def open_page(browser):
    """open_page(address, **context) -> a page whose faults fail the test in the end."""
    with watched(browser) as open_:
        yield open_
