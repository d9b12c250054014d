"""explore in a real JupyterLab: a slider moved by keyboard, another picture, nothing fetched from elsewhere.

Screenshots: build/artefacts/labs/.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright import sync_api as playwright

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
    """JupyterLab on a free port with one notebook -> its address."""
    cell = {"cell_type": "code", "id": "wall", "metadata": {}, "execution_count": None, "outputs": [], "source": CELL.strip()}
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "wall.ipynb").write_text(json.dumps({
        "cells": [cell], "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4, "nbformat_minor": 5}))
    environment = os.environ | {"HOME": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--ip=127.0.0.1", "--IdentityProvider.token=",
               "--ServerApp.password=", f"--ServerApp.root_dir={tmp_path / 'work'}"]
    with open(tmp_path / "lab.log", "w+") as log:
        process = subprocess.Popen([*command, *(["--allow-root"] if os.geteuid() == 0 else [])], env=environment, stdout=log, stderr=log)
        try:
            found, waited = None, time.monotonic()
            while not found and process.poll() is None and time.monotonic() - waited < 60:
                time.sleep(0.1)
                found = re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "lab.log").read_text())
            assert found, (tmp_path / "lab.log").read_text()
            urllib.request.urlopen(f"{found[0]}/api/status", timeout=30).close()
            yield f"{found[0]}/lab/tree/wall.ipynb"
        finally:
            process.terminate()
            process.wait(30)


def test_a_slider_is_moved_by_keyboard_and_the_picture_follows(address, chromium):
    SHOTS.mkdir(parents=True, exist_ok=True)
    away = []

    def gate(route):
        local = re.match(r"(http://127\.0\.0\.1[:/]|data:|blob:)", route.request.url)
        away.extend([] if local else [route.request.url])
        route.continue_() if local else route.abort()

    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": 1100, "height": 1000})
        context.route("**/*", gate)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#jp-main-statusbar >> text=/Python 3.*Idle/", timeout=60_000)
        page.locator(".jp-Notebook .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        panel = page.locator(".jp-OutputArea-output .widget-vbox").first
        said, picture = panel.locator("[role=status]"), panel.locator("img")
        playwright.expect(said).to_contain_text("At load 50 %, service exponential: 99 of 100")
        assert picture.evaluate("e => e.naturalWidth") > 300
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
        context.close()
        browser.close()
    assert away == []
