"""explore in a real JupyterLab: a slider moved by keyboard, another picture, nothing fetched from elsewhere.

Screenshots: build/artefacts/labs/.
"""

import contextlib
import re
import shutil
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from tests.browsing import patient
from tests.jupyter import jupyterlab
from tests.labs.lab import MLSYS, begin

SHOTS = Path(__file__).parents[2] / "build" / "artefacts" / "labs"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
CELL = """
import numpy as np
from mlsysbook import explore, pick, slider
from mlsysim import md1, mmc

def line(load, service):
    return md1(load / 0.02, 0.02) if service == "fixed" else mmc(load / 0.02, 0.02)

def draw(axes, queue, settings):
    t = np.linspace(0, 0.5, 80)
    axes.plot(1e3 * t, 100 * queue.exceeds(t))
    axes.set(xlabel="time in the system (ms)", ylabel="requests that take longer (%)", ylim=(0, 100), title=f"service: {settings['service']}")

explore(line, {"load": slider(0.1, 0.95, start=0.5, unit="%"), "service": pick("exponential", "fixed")}, draw=draw,
        say=lambda q, s: f"99 of 100 requests are done within {1e3 * q.quantile(0.99):.0f} ms.")
"""

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path):
    """A notebook with the panel of a lab -> its address."""
    with jupyterlab(tmp_path, CELL.strip(), MLSYS_STUDENT="ada") as at:
        yield at


@contextlib.contextmanager
def opened(address, chromium):
    """The notebook in a browser that reaches this machine only -> (page, requests that went elsewhere)."""
    away = []

    def gate(route):
        local = re.match(r"(http://127\.0\.0\.1[:/]|data:|blob:)", route.request.url)
        away.extend([] if local else [route.request.url])
        route.continue_() if local else route.abort()

    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": 1100, "height": 1000})
        context.route("**/*", gate)
        patient(context)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#jp-main-statusbar >> text=/Python 3.*Idle/", timeout=120_000)
        yield page, away
        context.close()
        browser.close()


def test_a_slider_is_moved_by_keyboard_and_the_picture_follows(address, chromium):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with opened(address, chromium) as (page, away):
        page.locator(".jp-Notebook .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        panel = page.locator(".jp-OutputArea-output .widget-vbox").first
        said, picture = panel.locator("[role=status]"), panel.locator("img")
        playwright.expect(said).to_contain_text("At load 50 %, service exponential: 99 of 100")
        assert picture.evaluate("e => e.decode().then(() => e.naturalWidth)") > 300
        alt, source = picture.get_attribute("alt"), picture.get_attribute("src")
        assert alt == said.inner_text()

        handle = panel.locator("[role=slider]")
        handle.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        playwright.expect(said).not_to_contain_text("At load 50 %,")
        page.keyboard.press("End")
        playwright.expect(said).to_contain_text("At load 95 %")
        assert picture.get_attribute("src") != source and picture.get_attribute("alt") != alt
        page.screenshot(path=SHOTS / "explore.png")

        panel.locator("select").select_option(label="fixed")
        playwright.expect(said).to_contain_text("service fixed")
        page.keyboard.press("Tab")
    assert away == []


def test_a_whole_lab_is_worked_through_by_keyboard_and_every_picture_has_its_text(address, chromium, tmp_path):
    """Lab V1-08, solved: Shift-Enter through all cells, Tab from control to control, arrows to move them."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    a = MLSYS.find("labs/v1_08_training_gauntlet")
    shutil.copytree(a.source_dir, tmp_path / "work" / "lab")
    begin(a, tmp_path / "work" / "lab", "ada", "mobile")
    with opened(address.replace("only.ipynb", f"lab/{a.notebook}.ipynb"), chromium) as (page, away):
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Home")
        for _ in range(a.notebook_path.read_text().count('"cell_type"')):
            page.keyboard.press("Shift+Enter")
        page.wait_for_selector("text=/stop: recorded;/", timeout=180_000)
        panels = page.locator(".jp-OutputArea-output .widget-vbox")
        playwright.expect(panels).to_have_count(2)
        for n, before in enumerate(("batch 8, every 0", "batch 4, every 0")):
            said, picture = panels.nth(n).locator("[role=status]"), panels.nth(n).locator("img")
            playwright.expect(said).to_contain_text(before)
            panels.nth(n).locator("[role=slider]").first.focus()
            page.keyboard.press("End")
            playwright.expect(said).to_contain_text("batch 64")
            page.keyboard.press("Tab")  # what the slider reads
            page.keyboard.press("Tab")  # the next slider
            page.keyboard.press("ArrowRight")
            playwright.expect(said).to_contain_text("every 1")
            assert picture.get_attribute("alt") == said.inner_text()
            page.screenshot(path=SHOTS / f"gauntlet{n}.png")
        drawn = page.locator(".jp-OutputArea-output img:not([alt^='At '])").count()
        assert drawn == page.locator(".jp-OutputArea-output pre", has_text="Figure: fp32").count() == 1
    assert away == []
