"""The companion's JavaScript: its types, its own tests, the size of what a page loads, and the same schedule as Python's."""

import gzip
import json
import random
import subprocess
from datetime import datetime, timedelta

import pytest

from mlsysbook.companion import build, schedule

from .conftest import ROOT

COMPANION = ROOT / "book" / "companion"
pytestmark = [pytest.mark.node, pytest.mark.usefixtures("vendor")]


def test_types_hold(vendor):
    done = subprocess.run([vendor / ".bin" / "tsc", "-p", COMPANION / "jsconfig.json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[:4000]


def test_its_own_tests_pass(bundled, record_property):
    tests = sorted((COMPANION / "test").glob("*.test.js"))
    folder = bundled(*tests)
    done = subprocess.run(["node", "--test", *sorted(folder.glob("*.mjs"))], capture_output=True, text=True, timeout=120, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stdout[-6000:]
    assert len(tests) >= 3 and "# fail 0" in done.stdout


def test_what_a_page_loads_is_small_and_asks_no_one(tmp_path):
    build.bundle(ROOT / "book", tmp_path)
    size = {path.name: len(gzip.compress(path.read_bytes())) for path in tmp_path.iterdir()}
    assert set(size) == {"load.js", "companion.js", "companion.css"}
    assert size["load.js"] < 3_000 and sum(size.values()) <= 120_000
    text = (tmp_path / "load.js").read_text() + (tmp_path / "companion.js").read_text()
    for forbidden in ("eval(", "new Function", "XMLHttpRequest", "sendBeacon", "WebSocket"):
        assert forbidden not in text
    assert "https://" not in (tmp_path / "load.js").read_text()


REPLAY = """
import { replay, preview } from "%s/js/schedule.js";
import { readFileSync } from "node:fs";
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map((reviews) => {
  const found = replay(reviews), last = reviews.at(-1);
  return { minutes: found.minutes, day: found.day, stability: found.stability, difficulty: found.difficulty,
    preview: preview(reviews, new Date(last.at)) };
})));
"""


def test_the_page_and_python_give_the_same_schedule(bundled, tmp_path):
    draw, cases = random.Random(11), []
    for _ in range(150):
        at, reviews = datetime(2027, 1, 25, 6).astimezone(), []
        for _ in range(draw.randint(1, 12)):
            reviews.append(schedule.review(draw.choices([1, 2, 3, 4], [2, 2, 5, 1])[0], at))
            at += timedelta(minutes=draw.choice([3, 11, 700, 1440, 2000, 5 * 1440, 40 * 1440]))
        cases.append(reviews)
    entry = tmp_path / "replay.js"
    entry.write_text(REPLAY % COMPANION)
    script = bundled(entry) / "replay.mjs"
    done = subprocess.run(["node", script], input=json.dumps(cases), capture_output=True, text=True, check=True, timeout=60)
    days = set()
    for reviews, told in zip(cases, json.loads(done.stdout), strict=True):
        mine = schedule.replay(reviews)
        assert (mine.minutes, mine.day) == (told["minutes"], told["day"]), reviews
        assert mine.stability == pytest.approx(told["stability"], rel=1e-4) and mine.difficulty == pytest.approx(told["difficulty"], rel=1e-4)
        now = datetime.fromisoformat(reviews[-1]["at"].replace("Z", "+00:00")).astimezone()
        assert schedule.preview(reviews, now) == told["preview"]
        days.add(mine.minutes)
    assert len(days) > 20, "the cases differ"
