"""The command line, plans and sweeps: the same numbers as the functions, exit codes that scripts can rely on."""

import csv
import json
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
from pytest import approx

from mlsysim import serve, solve, sweep
from mlsysim.errors import SimError
from mlsysim.plan import VERBS, ask, check, schema

SOLVE = ["solve", "llama-3.1-8b", "h100", "tokens=1", "context=4096"]


def mlsysim(*arguments, **more):
    run = subprocess.run([sys.executable, "-m", "mlsysim", *map(str, arguments)], capture_output=True, text=True, timeout=120, **more)
    assert "Traceback" not in run.stderr, run.stderr
    return run


def test_the_command_prints_what_the_function_returns():
    run = mlsysim(*SOLVE, "--json", "--why")
    data, here = json.loads(run.stdout), solve("llama-3.1-8b", "h100", tokens=1, context=4096)
    assert run.returncode == 0 and data["seconds"] == here.seconds and data["tree"]["join"] == "sum"
    assert data["why"]["binding"] == "memory bandwidth"
    assert "memory bandwidth binds" in mlsysim(*SOLVE, "--why").stdout


def test_quantities_come_with_units_and_text():
    a = ask({"serve": "llama-3.1-8b", "device": "h100", "prompt": "1,000", "output": "200 token", "weights": "int4", "launch": "graph"})
    b = serve("llama-3.1-8b", "h100", prompt=1000, output=200, weights="int4", launch="graph")
    assert a.seconds == b.seconds


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["solve", "llama-3.1-8b", "h1000"], "did you mean"),
        (["solve", "lama-3.1-8b", "h100"], "did you mean 'llama-3.1-8b'"),
        ([*SOLVE, "contxt=3"], "did you mean 'context'"),
        ([*SOLVE, "batch"], "wanted name=value"),
        ([*SOLVE, "batch=1", "batch=2"], "given twice"),
        ([*SOLVE, "batch=-4"], "batch: got -4"),
        (["solve", "llama-3.1-70b", "h100"], "times that"),
        (["train", "gpt-3-175b", "dgx-a100", "gpus=1024"], "batch, tokens missing"),
        (["train", "gpt-3-175b", "dgx-a100", "gpus=1023", "batch=8", "tokens=128"], "the nearest are 1016 or 1024"),
        (["sweep", "serve", "llama-3.1-8b", "h100"], "nothing to vary"),
        (["sweep", "serve", "llama-3.1-8b", "h100", "--vary", "batch=8:1:x2"], "growing range"),
        (["plan", "nothing.toml"], "No such file"),
        (["devices", "--tier", "sky"], "tier"),
        (["serve", "gpt-j-6b", "h100", "launch=lazy"], "unknown launch 'lazy'"),
        (["fly"], "No such command"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, says, tmp_path):
    run = mlsysim(*arguments, cwd=tmp_path)
    assert run.returncode == 2 and says in run.stderr and len(run.stderr.strip().splitlines()) == 1


def plan(tmp_path, limit, **more):
    path = tmp_path / "plan.toml"
    path.write_text(f"title = 'chat'\nserve = 'llama-3.1-8b'\ndevice = 'h100'\nbatch = 16\n[assert]\ntpot = '<= {limit}'\nmemory = '< 80 GB'\n")
    return path


def test_a_plan_is_held_to_what_it_asserts(tmp_path):
    good = mlsysim("plan", plan(tmp_path, "1 s"), "--assert")
    assert good.returncode == 0 and good.stderr.count("holds") == 2
    bad = mlsysim("plan", plan(tmp_path, "1 ms"), "--assert")
    assert bad.returncode == 1 and "FAILS  tpot <= 1 ms: it is" in bad.stderr
    assert mlsysim("plan", plan(tmp_path, "1 ms")).returncode == 0
    (tmp_path / "plan.json").write_text(json.dumps({"solve": "resnet-50", "device": "a100"}))
    assert "nothing is asserted" in mlsysim("plan", tmp_path / "plan.json", "--assert").stderr


def test_assertions_know_fields_and_units():
    question = {"solve": "resnet-50", "device": "a100", "batch": [1, 64]}
    assert [holds for _, holds in check(question | {"assert": {"seconds": "< 1 s", "rate": "> 1 Hz"}})[1]] == [True, True]
    for wrong in ({"second": "< 1 s"}, {"seconds": "< 1 GB"}, {"seconds": "1 s"}):
        with pytest.raises(SimError):
            check(question | {"assert": wrong})


def test_a_sweep_is_the_function_at_every_point(tmp_path):
    out = tmp_path / "sweep.csv"
    run = mlsysim("sweep", "serve", "llama-3.1-70b", "h100", "output=64", "--vary", "tp=1,4,8", "--vary", "batch=1:64:x8", "--out", out)
    assert run.returncode == 0, run.stderr
    table = list(csv.DictReader(out.open()))
    assert [(r["tp"], r["batch"]) for r in table] == [(t, b) for t in "148" for b in ("1", "8", "64")]
    for r in table:
        if r["tp"] == "1":
            assert r["feasible"] == "False" and "times that" in r["why_not"]
        else:
            here = serve("llama-3.1-70b", "h100", tp=int(r["tp"]), batch=int(r["batch"]), output=64)
            assert float(r["tpot"]) == approx(here.tpot, rel=1e-12)
    assert not [p for p in tmp_path.iterdir() if p != out]
    assert mlsysim("sweep", "solve", "resnet-50", "a100", "--vary", "batch=1,2", "--out", tmp_path / "a.txt").returncode == 2


def test_processes_give_the_same_answers_in_the_same_order():
    points = sweep.grid({"solve": "resnet-50", "device": "a100"}, {"batch": sweep.values("batch", "1:40:+1")})
    seen = []
    assert sweep.run(points, scheduler="processes", chunk=7, done=seen.append) == sweep.run(points) and sum(seen) == 40


def test_a_missing_scheduler_is_told_at_once():
    points = sweep.grid({"solve": "resnet-50", "device": "a100"}, {"batch": [1]})
    with pytest.raises(SimError, match="Dask"):
        sweep.run(points, scheduler="tcp://127.0.0.1:9")


def test_values_of_a_range():
    assert sweep.values("batch", "1:64:x2") == [1, 2, 4, 8, 16, 32, 64]
    assert sweep.values("tokens", "512:2048:+512") == [512, 1024, 1536, 2048]
    assert sweep.values("device", "a100,h100") == ["a100", "h100"]


def test_the_schema_knows_every_argument_and_its_own_results():
    s = schema()
    assert len(s["$defs"]["question"]["oneOf"]) == len(VERBS)
    for branch, verb in zip(s["$defs"]["question"]["oneOf"], VERBS, strict=True):
        assert verb in branch["properties"] and branch["required"][0] == verb
    jsonschema.validate({"solve": "resnet-50", "device": "a100", "batch": 4, "assert": {"seconds": "< 1 s"}}, s)
    jsonschema.validate(solve("resnet-50", "a100").to_dict(), s)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"solve": "resnet-50", "device": "a100", "speed": 4}, s)
    assert json.loads(mlsysim("schema").stdout) == s


def test_listings_show_every_device_and_its_sources(tmp_path):
    from mlsysim.devices import devices

    rows = json.loads(mlsysim("devices", "--json").stdout)
    assert {r["name"] for r in rows} == {d.name for d in devices()}
    assert "datasheet" in mlsysim("devices", "h100").stdout and "feed-forward in" in mlsysim("models", "llama-3.1-8b", "tokens=8").stdout
    figure = tmp_path / "solve.svg"
    run = mlsysim(*SOLVE, "--plot", figure)
    assert figure.read_text().startswith("<?xml") and "Bars: Llama 3.1 8B" in run.stderr


def test_compare_and_simulate_agree_with_the_library():
    assert "memory bandwidth" in mlsysim("compare", "serve", "llama-3.1-8b", "a100,h100", "batch=4").stdout
    data = json.loads(mlsysim("simulate", "llama-3.1-8b", "h100", "--count", 20, "--json").stdout)
    assert np.isfinite(data["rate"]) and data["leaked"] == 0
