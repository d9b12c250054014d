"""Distances to centres, for novelty: what lies far from all centres of what was seen is an anomaly. As mlk_nearest, to the bit."""

import numpy as np

from .errors import KitError
from .export import array


def fit(x, k, *, rounds=50, seed=0):
    """Centres (k, D) of real x (N, D): Lloyd's iterations from k-means++ seeds.

    Raises KitError for fewer than k samples. Source: Arthur and Vassilvitskii 2007.
    """
    x, rng = np.asarray(x, dtype=np.float64), np.random.default_rng(seed)
    if x.ndim != 2 or not 1 <= k <= len(x):
        raise KitError(f"kmeans: got {x.shape} and k = {k}; wanted (N, D) with N >= k >= 1")
    centres = x[rng.integers(len(x))][None]
    while len(centres) < k:
        near = ((x[:, None] - centres) ** 2).sum(axis=-1).min(axis=1)
        total = near.sum()
        centres = np.vstack([centres, x[rng.choice(len(x), p=near / total if total else None)]])
    for _ in range(rounds):
        owner = ((x[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
        moved = np.stack([x[owner == j].mean(axis=0) if (owner == j).any() else centres[j] for j in range(k)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def nearest(x, centres):
    """int8 x (N, D) and centres (k, D) -> (index (N,), squared distance (N,)), int64; the first of equals."""
    x, centres = np.asarray(x), np.asarray(centres)
    if x.dtype != np.int8 or centres.dtype != np.int8 or x.shape[-1] != centres.shape[-1]:
        raise KitError(f"nearest: got {x.dtype} {x.shape} and {centres.dtype} {centres.shape}; wanted int8 (N, D) and (k, D)")
    distance = ((x[..., None, :].astype(np.int64) - centres) ** 2).sum(axis=-1)
    best = distance.argmin(axis=-1)
    return best, np.take_along_axis(distance, best[..., None], axis=-1)[..., 0]


def header(centres, prefix="kmeans"):
    """C text of int8 centres (k, D): `<prefix>_centres` in flash, counts as macros."""
    k, width = np.asarray(centres).shape
    big = prefix.upper()
    return (f"/* {k} centres in {width} dimensions. boardkit.kmeans writes this file. */\n#ifndef {big}_H\n#define {big}_H\n\n"
            f'#include "mlk.h"\n\n#define {big}_K {k}\n#define {big}_WIDTH {width}\n\n'
            f'{array(f"{prefix}_centres", centres, "int8_t")}\n#endif\n')  # fmt: skip
