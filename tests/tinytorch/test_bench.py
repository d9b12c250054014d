"""The roofline of a machine: its arithmetic, what the command prints and draws."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tinytorch.backend import KERNELS, backend_info
from tinytorch.bench import Point, Roofline, measure, roofline, seconds

ROOF = Roofline("a machine", 1, {"slow": 25e9, "fast": 100e9}, 20e9)
POINTS = [Point("copy", 1e6, 8e6, 1e-3), Point("product", 2e9, 12e6, 40e-3)]


def test_the_slower_of_arithmetic_and_memory_decides():
    assert ROOF.peak == 100e9 and ROOF.ridge == 5
    assert ROOF.bound(100e9, 1) == 1 and ROOF.bound(1, 20e9) == 1
    assert [ROOF.limit(p) for p in POINTS] == ["memory", "arithmetic"]
    assert [ROOF.share(p) for p in POINTS] == pytest.approx([0.4, 0.5])
    assert POINTS[0].intensity == 0.125 and POINTS[1].rate == 50e9


def test_the_table_has_every_limit_and_point():
    lines = ROOF.table(POINTS).splitlines()
    assert lines[:6] == ["a machine, 1 thread", "", "peak, slow                25 GFLOP/s", "peak, fast               100 GFLOP/s",
                         "memory, triad           20.0 GB/s", "ridge                    5.0 FLOP/byte"]
    assert lines[-2].split() == ["copy", "1", "ms", "0.125", "1", "8", "memory", "40%"]
    assert lines[-1].split() == ["product", "40", "ms", "167", "50", "0.3", "arithmetic", "50%"]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_plot_carries_its_alt_text(tmp_path, ending):
    path = tmp_path / f"roof.{ending}"
    ROOF.plot(path, POINTS)
    assert "which it meets at 5.0 FLOP/byte. copy: 0.125 FLOP/byte, 1 GFLOP/s, 40% of its memory limit; product" in ROOF.alt_text(POINTS)
    assert ROOF.alt_text(POINTS).encode() in path.read_bytes()


def test_times_are_short_texts():
    assert [seconds(t) for t in (0, 1.5e-7, 1e-6, 0.00123, 0.5, 12, 1234)] == ["0 us", "0.15 us", "1 us", "1.23 ms", "500 ms", "12 s", "1234 s"]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="mine: flop and traffic must be positive, got 0 and 8"):
        measure("mine", 0, 8, lambda: None)
    with pytest.raises(ValueError, match="threads must be 1 or more, got 0"):
        roofline(0)


def test_a_measured_roof_is_above_what_is_measured_below_it(backend):
    a = np.ones((256, 256), np.float32)
    for _ in range(10):                     # NumPy's product takes two threads: on a busy machine one waits for the other
        roof = roofline(points=False, budget=0.02)
        point = measure("product", 2 * 256**3, 12 * 256**2, lambda: a @ a, budget=0.02)
        if roof.share(point) < 3:
            break
    assert 0 < roof.share(point) < 3 and math.isfinite(roof.ridge) and roof.points == ()
    compiled = backend == "cython" and set(backend_info().native) == set(KERNELS)
    assert list(roof.peaks) == sorted(roof.peaks, key=roof.peaks.get)
    assert ("NumPy's product" in roof.peaks) != compiled


@pytest.mark.slow
def test_the_command_prints_figures_and_draws(tmp_path):
    command = [sys.executable, "-m", "tinytorch.bench", "roofline", "--json", "--plot", tmp_path / "roof.svg"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert len(figures["points"]) == 8 and figures["ridge"] == figures["peak"] / figures["bandwidth"]
    assert (tmp_path / "roof.svg").stat().st_size > 10_000 and "Roofline of" in done.stderr


@pytest.mark.parametrize("arguments, said", [
    (["roofline", "--threads", "0"], "a number of threads, 1 or more, got '0'"),
    (["roofline", "--plot", "roof.txt"], "must end in .png, .svg or .pdf"),
    (["roofline", "--plot", "no/such/folder/roof.png"], "in a folder that exists"),
])
def test_bad_arguments_are_refused_before_anything_is_measured(arguments, said, capsys):
    from tinytorch.bench import main

    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_the_help_teaches_what_the_figures_mean(capsys):
    from tinytorch.bench import main

    with pytest.raises(SystemExit):
        main(["roofline", "--help"])
    text = capsys.readouterr().out
    assert "max(flop / peak, traffic / bandwidth)" in text and "the ridge" in text
