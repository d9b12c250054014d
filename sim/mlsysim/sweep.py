"""Many questions at once: a grid of values, asked here, by processes, or by a Dask cluster, and kept as a table."""

import csv
import itertools
import re
from pathlib import Path

import numpy as np

from .errors import Infeasible, SimError, clip, unknown
from .plan import arguments, ask, value, verb_of

_RANGE = re.compile(r"([^:]+):([^:]+):(x|\+)?([^:]+)")


def values(name, text):
    """The values of "1,2,4", "1:64:x2" (times 2), or "512:4096:+512" (plus 512). Raises SimError."""
    found = _RANGE.fullmatch(text)
    if not found:
        return [value(name, part.strip()) for part in text.split(",")]
    low, high, step = (float(value(name, found[i])) for i in (1, 2, 4))
    grows = (found[3] == "x" and step > 1 and low > 0) or (found[3] != "x" and step > 0)
    if not grows or high < low:
        raise SimError(f"{name}: got {clip(text)}; wanted a growing range such as 1:64:x2 or 512:4096:+512")
    got = [low]
    while (after := got[-1] * step if found[3] == "x" else got[-1] + step) <= high * (1 + 1e-12):
        got.append(after)
        if len(got) > 10**6:
            raise SimError(f"{name}: {clip(text)} has more than a million values")
    return [int(v) if v == int(v) else v for v in got]


def grid(question, vary):
    """Every combination of vary, name -> values, each as a whole question."""
    known = [*arguments(verb_of(question)), verb_of(question)]
    for name in vary:
        if name not in known:
            raise unknown("argument to vary", name, known)
    return [question | dict(zip(vary, point, strict=True)) for point in itertools.product(*vary.values())]


def row(question):
    """The numbers of one answer as a flat dict; a plan that does not fit has feasible False and says why."""
    import dataclasses

    try:
        result = ask(question)
    except Infeasible as error:
        return {"feasible": False, "why_not": str(error)}
    plain = {}
    for f in dataclasses.fields(result):
        got = getattr(result, f.name)
        if f.repr and isinstance(got, int | float | np.generic | bool) and np.ndim(got) == 0:
            plain[f.name] = got.item() if isinstance(got, np.generic) else got
    return plain | {"why_not": ""}


def rows(questions):
    return [row(q) for q in questions]


def run(questions, *, scheduler=None, chunk=64, done=None):
    """Answers to all questions, in order. scheduler: None for this process, "processes", or the address of a Dask scheduler.

    done(n) is called with the number of answers that have come in since.
    """
    chunks = [questions[i : i + chunk] for i in range(0, len(questions), chunk)]
    done = done or (lambda n: None)
    answers = {}
    if scheduler is None:
        for i, part in enumerate(chunks):
            answers[i] = rows(part)
            done(len(part))
        return list(itertools.chain.from_iterable(answers.values()))
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from contextlib import ExitStack

    with ExitStack() as stack:
        if scheduler == "processes":
            from multiprocessing import get_context

            pool = stack.enter_context(ProcessPoolExecutor(mp_context=get_context("spawn")))
        else:
            try:
                from distributed import Client
            except ImportError:
                raise SimError("--scheduler with an address needs Dask: pip install 'mlsys-course[cluster]'") from None
            try:
                client = stack.enter_context(Client(scheduler, timeout=10))
            except OSError as error:
                raise SimError(f"no Dask scheduler at {scheduler}: {error}") from None
            pool = client.get_executor()
        waiting = {pool.submit(rows, part): i for i, part in enumerate(chunks)}
        for future in as_completed(waiting):
            answers[waiting[future]] = future.result()
            done(len(chunks[waiting[future]]))
    return [a for i in range(len(chunks)) for a in answers[i]]


def table(questions, answers, vary):
    """Columns of the varied arguments and of every number -> (names, rows)."""
    found = list(dict.fromkeys(name for a in answers for name in a if name != "why_not")) + ["why_not"]
    names = [*vary, *found]
    return names, [[q[n] for n in vary] + [a.get(n, "") for n in found] for q, a in zip(questions, answers, strict=True)]


def write(path, names, lines):
    """A table as .csv or .parquet, whole or not at all. Raises SimError for another ending."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    if path.suffix not in (".csv", ".parquet"):
        raise SimError(f"{path}: wanted a name that ends in .csv or .parquet")
    try:
        if path.suffix == ".csv":
            with part.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([names, *lines])
        else:
            try:
                import pyarrow as pa
                import pyarrow.parquet as parquet
            except ImportError:
                raise SimError(f"{path}: Parquet needs pyarrow: pip install 'mlsys-course[cluster]', or write .csv") from None
            columns = {n: [None if line[i] == "" else line[i] for line in lines] for i, n in enumerate(names)}
            parquet.write_table(pa.table(columns), part)
        part.replace(path)
    except OSError as error:
        raise SimError(f"{path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
