"""The `mlsysim` command: questions from the shell, as text, JSON, tables or figures."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .errors import SimError

app = typer.Typer(name="mlsysim", no_args_is_help=True, add_completion=False, rich_markup_mode="markdown",
                  help="Model machine learning systems: how long, how much memory, what limits it, what it costs.",
                  epilog="Start with `mlsysim solve llama-3.1-8b h100 tokens=1 context=4096 --why`. Exit status: 0 done, "
                         "1 an assertion of a plan does not hold, 2 bad input.")  # fmt: skip
out = Console(soft_wrap=True, highlight=False, markup=False)

Arguments = Annotated[list[str] | None, typer.Argument(help="Arguments as name=value: batch=64 tokens=2048 weights=int4 tp=8.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Why = Annotated[bool, typer.Option("--why", help="Say which limit binds, and what one per cent more of each would change.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the breakdown to a .png, .svg or .pdf file.")]


def pairs(given):
    """name=value texts as a dict. Raises SimError."""
    found = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise SimError(f"got {text!r}; wanted name=value, such as batch=64")
        if name in found:
            raise SimError(f"{name} is given twice")
        found[name.strip()] = value.strip()
    return found


def show(result, as_json, why, plot, title=""):
    if as_json:
        data = result.to_dict() | ({"why": vars(result.why())} if why else {})
        out.print(json.dumps(data, indent=1, allow_nan=True))
    else:
        out.print(str(result))
        if why:
            out.print(f"\n{result.why()}")
    if plot:
        save(plot, lambda p: p.waterfall(result))


def save(path, draw):
    import matplotlib

    matplotlib.use("Agg")
    from . import plot

    ax = draw(plot)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise SimError(f"{path}: wanted a name that ends in .png, .svg or .pdf")
    ax.figure.savefig(path)
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"{path}: {ax.alt}", markup=False)


def listing(columns, rows, as_json):
    if as_json:
        out.print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
        return
    wide = Console(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(str, row))
    wide.print(table)


@app.command()
def devices(name: Annotated[str | None, typer.Argument(help="One device, with every figure and its source.")] = None,
            tier: Annotated[str | None, typer.Option(help="cloud, edge, mobile or tiny.")] = None, as_json: AsJson = False):  # fmt: skip
    """List devices, or show one with every figure and its source."""
    from dataclasses import fields

    from . import devices as d
    from .constants import Figure

    if name is None:
        rows = [(x.name, x.tier, x.year, ", ".join(f"{p} {f.text}" for p, f in list(x.peak.items())[:2]), x.bandwidth.text,
                 x.memory.text, x.power.text if x.power else "") for x in d.devices(tier)]  # fmt: skip
        return listing(("name", "tier", "year", "peak (dense)", "bandwidth", "memory", "power"), rows, as_json)
    found, rows = d.device(name), []
    for f in fields(found):
        got = getattr(found, f.name)
        for key, figure in got.items() if isinstance(got, dict) else [("", got)]:
            if isinstance(figure, Figure):
                rows.append((f"{f.name} {key}".strip(), figure.text, figure.kind, figure.source, figure.date))
    if not as_json:
        out.print(f"{found.title}, {found.tier}\n")
    listing(("figure", "value", "kind", "source", "date"), rows, as_json)


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="One model, with its operators for the arguments given.")] = None,
           given: Arguments = None, kind: Annotated[str | None, typer.Option(help="decoder, encoder, vision, tiny ...")] = None,
           as_json: AsJson = False):  # fmt: skip
    """List models, or show the operators of one: `mlsysim models llama-3.1-8b tokens=1 context=4096`."""
    from . import models as m
    from .plan import value

    if name is None:
        rows = [(x.name, x.kind, f"{x.params:,}", f"{x.active_params:,}", x.source) for x in m.models(kind)]
        return listing(("name", "kind", "parameters", "active", "source"), rows, as_json)
    found = m.model(name)
    graph = found.graph(**{k: value(k, v) for k, v in pairs(given).items()})
    out.print(f"{found.title}: {found.params:,} parameters; {found.source}, {found.date}\n")
    out.print(str(graph))


def _verb(verb, subject, help):
    def command(model: Annotated[str, typer.Argument(help="Name of a model; `mlsysim models` lists them.")],
                on: Annotated[str, typer.Argument(help=subject)], given: Arguments = None, why: Why = False,
                as_json: AsJson = False, plot: Plot = None):  # fmt: skip
        from .plan import ask

        show(ask({verb: model, "on" if verb == "train" else "device": on} | pairs(given)), as_json, why, plot)

    command.__doc__ = help
    app.command(verb)(command)


_verb("solve", "Name of a device; `mlsysim devices` lists them.",
      "Time one pass of a model on one device: `mlsysim solve resnet-50 a100 batch=64`.")  # fmt: skip
_verb("serve", "Name of a device.", "Serve a decoder: `mlsysim serve llama-3.1-70b h100 tp=4 batch=32 prompt=1000 output=200`.")
_verb("train", "Name of a node, such as dgx-h100.",
      "Train a decoder on a cluster: `mlsysim train gpt-3-175b dgx-a100 gpus=1024 batch=1536 tokens=2048 tp=8 pp=8 "
      "recompute=full`.")  # fmt: skip


@app.command()
def simulate(model: Annotated[str, typer.Argument(help="Name of a decoder.")],
             device: Annotated[str, typer.Argument(help="Name of a device.")],
             rate: Annotated[float, typer.Option(help="Requests a second.")] = 1.0,
             count: Annotated[int, typer.Option(help="Requests.")] = 500,
             prompt: Annotated[int, typer.Option(help="Mean tokens of a prompt.")] = 512,
             output: Annotated[int, typer.Option(help="Mean tokens put out.")] = 128,
             spread: Annotated[float, typer.Option(help="Coefficient of variation of both lengths.")] = 0.5,
             seed: int = 0, given: Arguments = None, as_json: AsJson = False):  # fmt: skip
    """Serve random requests step by step: percentiles of TTFT, TPOT and the whole request. More arguments: tp=2 replicas=4."""
    from .plan import value
    from .simulate.serving import requests, simulate_serving

    load = requests(count, rate, prompt=prompt, output=output, spread=spread, seed=seed)
    more = {k: v if k in ("router", "precision", "weights", "cache") else value(k, v) for k, v in pairs(given).items()}
    try:
        run = simulate_serving(model, device, load, **more)
    except TypeError as error:
        raise SimError(str(error)) from None
    out.print(json.dumps(run.to_dict(), indent=1) if as_json else str(run))


@app.command()
def sweep(verb: Annotated[str, typer.Argument(help="solve, serve or train.")], model: str, on: str, given: Arguments = None,
          vary: Annotated[list[str] | None, typer.Option(help="What to vary: batch=1:256:x2, tp=1,2,4, device=a100,h100.")] = None,
          to: Annotated[Path | None, typer.Option("--out", help="A .csv or .parquet file; without it a table is printed.")] = None,
          scheduler: Annotated[str | None, typer.Option(help="processes, or the address of a Dask scheduler.")] = None,
          limit: Annotated[int, typer.Option(help="Refuse grids of more points.")] = 1_000_000):  # fmt: skip
    """Ask the same question for every combination of values: `mlsysim sweep serve llama-3.1-8b h100 --vary batch=1:256:x2`."""
    from rich.progress import Progress

    from . import sweep as s

    question = {verb: model, "on" if verb == "train" else "device": on} | pairs(given)
    varied = {name: s.values(name, text) for name, text in pairs(vary).items()}
    if not varied:
        raise SimError("nothing to vary; wanted --vary name=values, such as --vary batch=1:256:x2")
    points = s.grid(question, varied)
    if len(points) > limit:
        raise SimError(f"{len(points):,} points; wanted at most {limit:,} (--limit)")
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("points", total=len(points))
        answers = s.run(points, scheduler=scheduler, done=lambda n: bar.advance(task, n))
    names, lines = s.table(points, answers, varied)
    if to:
        s.write(to, names, lines)
        fit = sum(bool(a["feasible"]) for a in answers)
        Console(stderr=True, highlight=False).print(f"{to}: {len(lines):,} points, {fit:,} feasible")
    else:
        listing(names, [[f"{c:.4g}" if isinstance(c, float) else c for c in line] for line in lines], False)


@app.command()
def compare(verb: Annotated[str, typer.Argument(help="solve, serve or train.")], model: str,
            on: Annotated[str, typer.Argument(help="Devices or nodes, with commas between: a100,h100,mi300x.")], given: Arguments = None,
            as_json: AsJson = False):  # fmt: skip
    """The same question on several devices, side by side: `mlsysim compare serve llama-3.1-8b a100,h100 batch=16`."""
    from dataclasses import fields

    from .plan import ask, unit_of
    from .result import show as text

    key = "on" if verb == "train" else "device"
    names = on.split(",")
    results = [ask({verb: model, key: name} | pairs(given)) for name in names]
    shown = [f.name for f in fields(results[0]) if f.repr and isinstance(getattr(results[0], f.name), float | int)]
    rows = [(f, *(text(getattr(r, f), unit_of(r, f)) for r in results)) for f in shown]
    rows.append(("binding limit", *(r.why().binding for r in results)))
    listing(("", *names), rows, as_json)


@app.command()
def plan(file: Annotated[Path, typer.Argument(help="A .toml or .json file with a question and, if wanted, a table [assert].")],
         hold: Annotated[bool, typer.Option("--assert", help="Exit with 1 unless every assertion holds.")] = False,
         why: Why = False, as_json: AsJson = False, plot: Plot = None):  # fmt: skip
    """Answer the question of a file, and hold the answer to what the file asserts."""
    from .plan import check, read

    question = read(file)
    result, met = check(question)
    if hold and not met:
        raise SimError(f"{file}: nothing is asserted; wanted a table [assert], such as tpot = '<= 30 ms'")
    show(result, as_json, why, plot, question.get("title", ""))
    for text, holds in met:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"{'holds' if holds else 'FAILS'}  {text}", markup=False)
    if hold and not all(holds for _, holds in met):
        raise typer.Exit(1)


@app.command()
def schema():
    """Print the JSON Schema of questions and results."""
    from .plan import schema as published

    out.print(json.dumps(published(), indent=1))


@app.command()
def validate(fit: Annotated[bool, typer.Option(help="Fit the calibrated constants first, on the calibration rows only.")] = False,
             family: Annotated[str | None, typer.Option(help="Show the rows of one family, such as training-gpu.")] = None,
             as_json: AsJson = False):  # fmt: skip
    """Compare predictions with published results, in a checkout: writes sim/validation/README.md."""
    from . import validate as v

    report = v.main(refit=fit)
    if family is not None:
        report = report.only(family)
    out.print(json.dumps(report.to_dict(), indent=1) if as_json else str(report))


def main():
    """Entry point: one line and exit status 2 for bad input."""
    try:
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except SimError as error:
        sys.stderr.write(f"mlsysim: {error}\n")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("mlsysim: stopped\n")
        sys.exit(130)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            sys.stderr.write(f"mlsysim: {error.format_message()}\n")
            sys.exit(error.exit_code)
        raise


if __name__ == "__main__":
    main()
