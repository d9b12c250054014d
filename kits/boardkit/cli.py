"""The `boardkit` command: see what is installed, compile, flash, talk, run, compare."""

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .errors import KitError, TargetError, UsageError

app = typer.Typer(name="boardkit", no_args_is_help=True, add_completion=False, rich_markup_mode="markdown",
                  help="Sketches on boards, and on emulators of boards.",
                  epilog="Start with `boardkit doctor`. Exit status: 0 done, 1 a check fails, 2 bad input or a missing tool.")
out = Console(highlight=False, markup=False, soft_wrap=True)

Sketch = Annotated[str, typer.Argument(help="A folder of kits/sketches, or a path to one.")]
BoardName = Annotated[str, typer.Option("--board", "-b", help="A name of `boardkit boards`, an emulator's URL or an FQBN.")]
Files = Annotated[list[Path] | None, typer.Option("--file", "-f", help="A file to compile beside the sketch, such as model.h.")]
Defines = Annotated[list[str] | None, typer.Option("--define", "-D", help="NAME or NAME=VALUE for the compiler.")]
Send = Annotated[list[str] | None, typer.Option("--send", "-s", help="A line to send; again for another.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def main():
    """Entry point: one line and exit status 2 for an error a person can act on, 130 for Ctrl-C."""
    errors = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    try:
        status = app(standalone_mode=False)             # of typer.Exit, which click turns into a return
        sys.exit(status if isinstance(status, int) else 0)
    except KitError as error:
        errors.print(f"boardkit: {error}", style="red")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("boardkit: stopped", style="yellow")
        sys.exit(130)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):      # a usage error of the command line
            errors.print(f"boardkit: {error.format_message()}", style="red")
            sys.exit(error.exit_code)
        raise


@app.command()
def doctor():
    """Say what is installed, what is not and how to get it, and try an echo on every emulator."""
    from . import process
    from .doctor import tools, tried

    table = Table("tool", "for", "found", box=None, pad_edge=False, header_style="bold")
    for tool in tools():
        table.add_row(tool.name, tool.use, tool.version or f"missing: {process.INSTALL.get(tool.name, '')}")
    _wide(table)
    works = 0
    for url, said, ok in tried():
        out.print(f"{url:20} {said}")
        works += ok
    if not works:
        raise typer.Exit(1)


@app.command("boards")
def boards_(as_json: AsJson = False, ports: Annotated[bool, typer.Option(help="Ask arduino-cli what is plugged in.")] = False):
    """List boards, what runs here without them, and with --ports those that are plugged in."""
    from .boards import boards

    if ports:
        from .toolchain import find_toolchain

        found = find_toolchain("arduino-cli").ports()
        for port in found:
            out.print(f"{port.address}  {port.name or 'unknown board'}  {port.fqbn}".rstrip())
        out.print(f"{len(found)} serial port{'s' if len(found) != 1 else ''}")
        return
    if as_json:
        out.print(json.dumps([asdict(b) for b in boards().values()], indent=1))
        return
    table = Table("board", "title", "processor", "flash", "RAM", "without it, here", box=None, pad_edge=False, header_style="bold")
    for b in boards().values():
        here = b.target if b.target else f"the same kernels: {boards()[b.stand_in].target}" if b.stand_in else "nothing"
        table.add_row(b.name, b.title, b.mcu, _bytes(b.flash), _bytes(b.ram), here)
    _wide(table)


@app.command("compile")
def compile_(sketch: Sketch, board: BoardName = "uno", file: Files = None, define: Defines = None, as_json: AsJson = False,
             build: Annotated[Path | None, typer.Option(help="Folder for the artefacts.")] = None,
             symbols: Annotated[int, typer.Option(min=0, help="Show so many of the largest symbols.")] = 0):
    """Compile a sketch: flash and RAM, or every error with its line."""
    from .elf import symbols as symbols_of
    from .toolchain import compile_sketch

    report = compile_sketch(sketch, board, build=build, files=_texts(file), defines=_pairs(define), check=False)
    if as_json:
        out.print(json.dumps(asdict(report), indent=1, default=str))
    else:
        for d in report.diagnostics:
            out.print(str(d))
        out.print(str(report) if report.ok else f"{report.board}: does not compile ({report.backend} {report.version})")
        for s in symbols_of(report.elf)[:symbols] if report.ok else ():
            out.print(f"{s.size:8} B  {s.place:6} {s.name}")
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def flash(sketch: Sketch, port: Annotated[str, typer.Argument(help="The board's serial port.")], board: BoardName = "uno",
          file: Files = None, define: Defines = None):
    """Compile a sketch and write it to a board, with arduino-cli."""
    from .arduino_cli import upload
    from .toolchain import compile_sketch, find_toolchain

    tool = find_toolchain("arduino-cli")
    report = compile_sketch(sketch, board, files=_texts(file), defines=_pairs(define), toolchain=tool)
    out.print(str(report))
    out.print(f"flashed; the board is at {upload(report, port)}")


@app.command()
def monitor(target: Annotated[str, typer.Argument(help="A serial port, or an emulator with --sketch.")], file: Files = None,
            sketch: Annotated[str | None, typer.Option(help="What the emulator runs.")] = None,
            baud: Annotated[int, typer.Option(help="Of a board.")] = 115_200):
    """Show what a target says and send it the lines typed here, until Ctrl-C or the end of the input."""
    import threading

    from .targets import open_target

    report = _compiled(sketch, target, file, None) if sketch else None
    with open_target(target, report, baud=baud, timeout=0.2) as line:
        over = threading.Event()
        reader = threading.Thread(target=_show, args=(line, over), daemon=True)
        reader.start()
        with contextlib.suppress(KeyboardInterrupt):
            for text in sys.stdin:
                if over.is_set():
                    break
                line.serial.write(text.encode())
        over.wait(0.5)                  # for the last answer
        over.set()
        reader.join(1)


@app.command()
def run(sketch: Sketch, target: Annotated[str, typer.Argument(help="An emulator, or a port of a flashed board.")] = "simavr:atmega328p",
        send: Send = None, file: Files = None, define: Defines = None, as_json: AsJson = False,
        cycles: Annotated[int, typer.Option(min=1, help="Limit of a simavr run.")] = 4_000_000_000):
    """Compile a sketch, run it, send it lines, show each answer and what it cost."""
    report = None if target.startswith(("/dev/", "COM")) else _compiled(sketch, target, file, define)
    answers, counts = _talk(target, report, send or [], cycles)
    if as_json:
        out.print(json.dumps({"report": asdict(report) if report else None, "answers": answers, "counts": asdict(counts)}, default=str))
        return
    if report:
        out.print(str(report))
    for text, answer in zip(send or [], answers, strict=True):
        out.print(f"> {text}\n< {answer}")
    out.print(_cost(counts))


@app.command()
def bench(sketch: Sketch, send: Send = None, file: Files = None, define: Defines = None, as_json: AsJson = False):
    """Run one sketch on every emulator, send each the same lines, and set sizes, answers and cost side by side."""
    from .targets import targets

    rows = []
    for url in targets():
        report = _compiled(sketch, url, file, define)
        answers, counts = _talk(url, report, send or [], 4_000_000_000)
        rows.append({"target": url, "flash": report.flash, "ram": report.ram, "answers": answers, "kind": counts.kind,
                     "turns": list(counts.turns)})
    if as_json:
        out.print(json.dumps(rows, indent=1))
        return
    table = Table("target", "flash B", "RAM B", "last answer", "cost of a turn", box=None, pad_edge=False, header_style="bold")
    for r in rows:
        table.add_row(r["target"], f"{r['flash']:,}", f"{r['ram']:,}", r["answers"][-1][:40] if r["answers"] else "",
                      f"{sum(r['turns']) / len(r['turns']):,.0f} {r['kind']}" if r["turns"] else f"not counted from outside ({r['kind']})")
    _wide(table)


def _compiled(sketch, target, file, define):
    from .toolchain import compile_sketch

    return compile_sketch(sketch, target, files=_texts(file), defines=_pairs(define))


def _talk(target, report, lines, cycles):
    from .targets import open_target

    with open_target(target, report, cycles_max=cycles) as line:
        answers = []
        for text in lines:
            answers.append(_ask(line, text))
    return answers, line.counts()       # after the end, when the last turn is known too


def _ask(line, text):
    from serial import SerialException

    try:
        line.serial.write(text.encode() + b"\n")
        answer = line.serial.readline()
    except SerialException:
        answer = b""
    if not answer.endswith(b"\n"):
        why = line.ended(wait=0.5) or f"no whole line within {line.serial.timeout:g} s"
        raise TargetError(f"{line.url} gave no answer to {text!r}: {why}")
    return answer.decode("utf-8", "replace").rstrip("\r\n")


def _show(line, over):
    from serial import SerialException

    try:
        while not over.is_set():
            data = line.serial.read(1)
            if data:
                sys.stdout.write(data.decode("utf-8", "replace"))
                sys.stdout.flush()
    except (SerialException, OSError):
        if not over.is_set():
            out.print(f"\n{line.url}: {line.ended(wait=0.5) or 'the line is closed'}")
    finally:
        over.set()


def _cost(counts):
    if counts.turns:
        return f"{counts.kind}: {', '.join(f'{n:,}' for n in counts.turns)} from the end of a line to the end of its answer"
    return f"{counts.kind}: not counted from outside; ask the sketch for its ticks"


def _texts(paths):
    try:
        return {p.name: p.read_text(encoding="utf-8") for p in paths or ()}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--file: {error}") from None


def _pairs(defines):
    return dict(d.partition("=")[::2] for d in defines or ())


def _bytes(n):
    if not n:
        return ""
    return f"{n / 1048576:g} MiB" if n % 1048576 == 0 else f"{n / 1024:.0f} KiB" if n % 1024 == 0 else f"{n:,} B"


def _wide(table):
    """Print a table; where nobody's terminal sets a width, with room for what is in it."""
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(table)
