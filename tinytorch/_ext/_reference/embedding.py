"""Rows of a table by number, and rows added up by number."""

import numpy as np

from tinytorch._ext._reference import checks


def gather(table, index, out, threads=0):
    """Write row index[i] of table (V, D) into row i of out (N, D); index (N,) is int64, 0 to V - 1."""
    _check("gather", table, index, ("out", out))
    np.take(table, index, 0, out, mode="clip")  # the numbers are checked; "raise" would make a copy of out


def scatter_add(rows, index, out, threads=0):
    """Add row i of rows (N, D) to row index[i] of out (V, D), in the order of i; index (N,) is int64, 0 to V - 1."""
    _check("scatter_add", out, index, ("rows", rows))
    with np.errstate(all="ignore"):
        np.add.at(out, index, rows)


def _check(kernel, table, index, named):
    name, rows = named
    if table.ndim != 2 or table.dtype not in (np.float32, np.float64):
        raise ValueError(f"{kernel}: a table is float32 or float64, shape (any, any); got {table.dtype}, shape {table.shape}")
    target, other = (rows, table) if name == "out" else (table, rows)
    checks.array(kernel, "table" if name == "out" else "out", table, table.dtype, (None, None), writable=target is table)
    checks.array(kernel, "index", index, np.int64, (None,))
    checks.array(kernel, name, rows, table.dtype, (len(index), table.shape[1]), writable=target is rows)
    checks.apart(kernel, target, other, index)
    wrong = np.flatnonzero((index < 0) | (index >= len(table)))
    if wrong.size:
        raise IndexError(f"{kernel}: index {index[wrong[0]]} at place {wrong[0]} is not a row of {len(table)}, 0 to {len(table) - 1}")
