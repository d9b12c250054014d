"""MLSys·im beside the other libraries that model machine learning systems: speed, published results, bad input. Writes mlsysim.md.

    .venv/bin/python benchmarks/mlsysim.py [--rounds 5]

PyPI's mlsysim 0.3.0 has the import name of ours, so every library runs in a process and an environment of its own, made with
pip in ~/.cache/mlsys-bench where it is missing; peers/worker.py asks it. Rounds go through all libraries in turn.
"""

import sys

sys.path.pop(0)  # this folder, where `import mlsysim` would find this file

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
import venv
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mlsysim import validate
from mlsysim.models.transformer import Transformer
from mlsysim.solving import graph_of

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlsys-bench"
PEERS = {"mlsysim": "mlsysim==0.3.0", "llm-analysis": "llm-analysis==0.2.2", "genz-llm": "genz-llm==0.0.16"}
MODULES = {"ours": "mlsysim", "mlsysim": "mlsysim", "llm-analysis": "llm_analysis.analysis", "genz-llm": "GenZ"}
FIRST = {  # a process that asks one thing
    "ours": "import mlsysim; mlsysim.solve('llama-3.1-8b', 'h100', tokens=1, context=2048)",
    "mlsysim": "from mlsysim import *; Engine.solve(Models.Language.Llama3_8B, Hardware.Cloud.H100)",
    "llm-analysis": "from llm_analysis.analysis import infer; infer('facebook_opt-6.7b', 'a100-sxm-80gb', log_level='ERROR')",
    "genz-llm": "from GenZ import decode_moddeling as ask; ask('facebook/opt-6.7b', 1, 2048, Bb=1, system_name='A100_80GB_GPU')",
}
TIMES = {
    "solve": "one solve: Llama 3 8B on H100, again", "solve_new": "one solve, another context each time",
    "serving": "one serving solve, 2,048 in, 128 out", "distributed": "one training solve, 70B on 1,024 H100",
    "sweep": "10,000 points of a roofline sweep", "sweep_solve": "10,000 points of a whole solve",
    "simulation": "1,000 requests simulated",
}  # fmt: skip
ARCHITECTURE = ("layers", "width", "heads", "kv_heads", "head_dim", "hidden", "vocab", "gated")


def environment(requirement):
    """The interpreter that has one requirement and what it needs, installed on the first run."""
    place = CACHE / requirement
    python = place / "bin" / "python"
    if not (place / ".ready").exists():
        print(f"pip install {requirement} into {place}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", requirement], check=True)
        (place / ".ready").touch()
    return python


class Library:
    """A worker process: ask() sends one line and waits for one."""

    def __init__(self, name, python):
        self.name, self.python = name, [str(python), "-P" if name == "ours" else "-I"]
        self.process = subprocess.Popen([*self.python, str(HERE / "peers" / "worker.py"), name], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: its process ended at {question}")
        return json.loads(line)

    def runs(self, code):
        """Processor seconds of a process that runs some code and ends: waiting for a busy machine does not count."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*self.python, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def packages(self):
        code = "import importlib.metadata as m; print(len({d.name for d in m.distributions()} - {'pip', 'setuptools'}))"
        return int(subprocess.run([*self.python, "-c", code], check=True, capture_output=True, text=True).stdout)


def measured(libraries, rounds):
    """what -> library -> median seconds, or None."""
    spent = {what: {it.name: [] for it in libraries} for what in ("nothing", "numpy", "import", "first", *TIMES)}
    for n in range(rounds):
        for it in libraries:
            processes = {"nothing": "pass", "numpy": "import numpy", "import": f"import {MODULES[it.name]}", "first": FIRST[it.name]}
            for what, code in processes.items():
                spent[what][it.name].append(it.runs(code))
        for what in TIMES:
            for it in libraries:
                if n == 0 or (spent[what][it.name][0] or 99) < 5:  # minutes are measured once
                    spent[what][it.name].append(it.ask(**{"time": what, "for": 0.2}))
        print(f"round {n + 1} of {rounds}", flush=True)
    return {what: {k: None if v[0] is None else statistics.median(v) for k, v in by.items()} for what, by in spent.items()}


def question(row):
    """A held-out row as a peer gets it: with the model's architecture and FLOP."""
    name = row.args.get("model") or row.args.get("workload")
    data = {"call": row.call, "args": row.args, "model": None, "flop": 0.0}
    if name is not None:
        m = validate.find_model(name)
        data["model"] = {"params": float(m.params)}
        if isinstance(m, Transformer):
            data["model"] |= {k: getattr(m, k) for k in ARCHITECTURE}
        if row.call == "solve":
            shape = {k: v for k, v in row.args.items() if k in ("tokens", "context")}
            data["flop"] = float(graph_of(m, batch=1, **shape).total("flop"))
    return data


def judged(libraries):
    """[(row, ours, {peer: figure in the row's unit})] of the held-out rows that at least one peer can express."""
    rows = []
    for row in validate.rows("heldout"):
        if row.call not in ("serve", "train", "solve", "train_net") or "@" in row.args.get("device", ""):
            continue  # the others have no clock that can be set
        ours = validate.CALLS[row.call](**row.args)
        said = {}
        for it in libraries:
            got = it.ask(predict=question(row))
            if got:
                like = SimpleNamespace(**{"flop": getattr(ours, "flop", None)} | got)
                scale = validate.SCALE.get(row.published[1], 1.0)
                try:
                    said[it.name] = float(validate.METRICS[row.metric](like, row.args)) * scale
                except AttributeError:
                    pass
        if said:
            rows.append((row, validate.predict(row), said))
    return rows


def seconds(t):
    if t is None:
        return "–"
    unit, factor = next((u, f) for u, f in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if t * f >= 1 or u == "µs")
    return f"{t * factor:,.3g} {unit}" if t * factor < 1000 else f"{t * factor:,.0f} {unit}"


def beside(ours, theirs):
    return "–" if theirs is None else f"{seconds(theirs)} (**{theirs / ours:,.{0 if theirs / ours >= 10 else 1}f}×**)"


PAGE = """# MLSys·im, beside other libraries

`benchmarks/mlsysim.py`, {date}. Machine: {machine}. {versions}.
Each library in a process and an environment of its own, in turn; medians of {rounds} rounds. Absolute times are this machine's, which
had other work to do; the ratios, in bold, are theirs over ours.

## Speed
| | ours | {peers} |
|---|---|---|---|---|
{times}

The first two rows are processor time of whole processes: one that does nothing takes {nothing}, one that imports NumPy {numpy};
ours loads NumPy when it is first asked. Of the sweeps only ours takes arrays: the others were timed on 500, 200 and 10 points and
scaled to 10,000; what takes longer than five seconds was measured in the first round only. One solve is a decoding step for
ours and genz-llm, the whole model in one roofline for mlsysim 0.3.0, prompt and first token for llm-analysis. Installed packages:
{packages}.

## Published results
Held-out rows of [sim/validation](../sim/validation), on which nothing of ours was fitted; each library on the rows that it can
express, with the row's own architecture and layout and its defaults for all else (mlsysim 0.3.0: efficiency 0.5), llm-analysis with
the efficiencies that its own messages name, 0.5 of the peak in training and 0.65 of the bandwidth in inference. genz-llm is told
nothing. |error| is that of predicted over published.

| library | rows | its median error | its worst | ours on the same rows | our worst |
|---|---|---|---|---|---|
{summary}

| row | published | unit | ours | {peers} |
|---|---|---|---|---|---|---|
{rows}

## Bad input
What comes back for input that no system can mean. "accepted" is followed by the number that was returned.

| input | ours | mlsysim 0.3.0 |
|---|---|---|
{bad}
"""


def page(options, libraries, times, rows, bad):
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    names = list(PEERS)
    lines = []
    for what, title in {"import": "a process that imports it", "first": "a process that asks one thing", **TIMES}.items():
        t = times[what]
        lines.append(f"| {title} | {seconds(t['ours'])} | " + " | ".join(beside(t["ours"], t[n]) for n in names) + " |")
    summary = []
    for n in names:
        own = [(said[n] / row.published[0] - 1, ours / row.published[0] - 1) for row, ours, said in rows if n in said]
        theirs, ours = np.abs(np.array(own)).T if own else (np.array([np.nan]),) * 2
        summary.append(f"| {PEERS[n].replace('==', ' ')} | {len(own)} | {np.median(theirs):.0%} | {theirs.max():.0%} "
                       f"| **{np.median(ours):.0%}** | {ours.max():.0%} |")  # fmt: skip

    def cell(x, p):
        return "–" if x is None else f"{x:,.4g} ({x / p - 1:+.0%})"

    table = [f"| {row.id} | {row.published[0]:,.6g} | {row.published[1]} | {cell(ours, row.published[0])} | "
             + " | ".join(cell(said.get(n), row.published[0]) for n in names) + " |" for row, ours, said in rows]  # fmt: skip

    def shown(text):
        return text.splitlines()[0].replace("|", "\\|")[:230]

    wrong = [f"| {label} | {shown(mine)} | {shown(theirs)} |" for (label, mine), (_, theirs) in zip(*bad, strict=True)]
    return PAGE.format(
        date=time.strftime("%Y-%m-%d"), rounds=options.rounds, peers=" | ".join(r.replace("==", " ") for r in PEERS.values()),
        machine=f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        versions=f"Python {platform.python_version()}, NumPy {version('numpy')}", times="\n".join(lines), summary="\n".join(summary),
        rows="\n".join(table), bad="\n".join(wrong),
        nothing=seconds(times["nothing"]["ours"]), numpy=seconds(times["numpy"]["ours"]),
        packages=", ".join(f"{it.name} {it.packages()}" for it in libraries if it.name != "ours") + "; ours needs NumPy, SimPy to simulate",
    )  # fmt: skip


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--to", type=Path, default=HERE / "mlsysim.md")
    options = arguments.parse_args()
    libraries = [Library("ours", sys.executable), *(Library(name, environment(what)) for name, what in PEERS.items())]
    rows = judged(libraries[1:])
    bad = [it.ask(bad=True) for it in libraries[:2]]
    times = measured(libraries, options.rounds)
    options.to.write_text(page(options, libraries, times, rows, bad), encoding="utf-8")
    print(options.to.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
