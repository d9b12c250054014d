"""What is predicted against what was published, and the fit of the calibrated constants.

sim/validation/calibration.toml holds the rows that constants are fitted on, heldout.toml those that they are judged by.
A row names a call of the library, its arguments, and the figure that its source prints in the source's own unit; a metric
turns the call's result into that unit, with the source's own formula where it has one. Nothing is fitted for a row.
"""

import tomllib
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

from .efficiency import Constants, operator_times, trial, width
from .errors import SimError, unknown
from .graph import Graph, Op

FOLDER = Path(__file__).resolve().parents[1] / "validation"
LISTS = ("calibration", "heldout")
# What a row may miss by: arithmetic on printed figures; work that goes on for long; single kernels, messages and requests.
TOLERANCE = {"arithmetic": 0.05, "steady": 0.25, "short": 0.40}
MEDIAN, WORST, RANK = 0.15, 0.40, 0.95  # what the held-out rows are to keep; the page names those that do not
MISSES = """\
What misses, and why, as far as it is known:

- GEMM: DeepGEMM with 128 rows and an N of 2112 is slower than a product that is cut along K, which it does not do; the best
  shapes of a sweep on Hopper are faster than what training there fits.
- BERT training in 16 bits with frameworks of 2019 and 2020: some 30 ms of a step, on V100 and on A100, whatever its tokens and their
  width, are in none of what is counted. TensorFlow 1's fine-tuning in mixed precision takes 90 to 150 ms more a step on eight GPUs,
  and as much on sixteen, only with the largest batches; the same network in TensorFlow 2 takes none. An optimizer that swaps
  tensors to the host, which NVIDIA turned off in pre-training and not in this script (DeepLearningExamples, PR 195), is a
  candidate, whose size no source gives.
- T4 runs applications at 585 of its 1,590 MHz until somebody sets another clock. Rows whose source prints no clock are predicted
  at that one: TensorFlow's BERT, and half a BERT timed by a user at ten batch sizes in two libraries, all 28 within 29 %. That the
  first eight missed by 67 to 101 % at 1,590 MHz made us look for the clock; the other twenty were found afterwards. At batch 1 to 4
  the host of TensorFlow adds half a millisecond that is not counted.
- First tokens of Falcon 180B on eight H100 take a third longer than is predicted, on A100 they do not; why is not known.
- A rack of GB200 takes half a millisecond more with every message than its rates and latencies say; so does, by less, a message
  of 16 MiB between two nodes of AWS. Oracle's rows (NCCL 2.14) reach less of their cards.
- Llama 3.1 405B on MI300X: vLLM of 2024 reaches less with 64 and more requests than the family's rows, a product and vLLM of 2025, say.
- Mixtures in Megatron Bridge: Qwen3-30B in micro-batches of 4,096 tokens is predicted 23 to 39 % too fast on H100 and B200. The
  host spends more on an expert than is counted, we think; Transformer Engine's issue 2897 measures that for another kernel.
- MPT-30B at 8,192 tokens: published runs reach far less than those at 2,048 tokens; what FSDP waits for is not modelled."""


@dataclass(frozen=True)
class Row:
    """One published figure. published is (value, unit) as printed; where says in which table or figure of the source."""

    id: str
    family: str
    tolerance: str
    source: str
    where: str
    published: tuple
    metric: str
    call: str
    args: dict
    note: str = ""
    title: str = ""
    date: str = ""
    url: str = ""


def rows(which, folder=FOLDER):
    """The rows of one list, "calibration" or "heldout"."""
    if which not in LISTS:
        raise unknown("list", which, list(LISTS))
    path = Path(folder) / f"{which}.toml"
    if not path.exists():
        raise SimError(f"{path}: not there; validation runs in a checkout of the project, which holds the published rows")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Row(**{**row, "published": tuple(row["published"])}, **data["sources"][row["source"]]) for row in data["row"]]


@cache
def configurations(folder=FOLDER):
    """Models that only the published rows name."""
    from .models.transformer import Transformer

    data = tomllib.loads((Path(folder) / "models.toml").read_text(encoding="utf-8"))
    sources = data.pop("sources")
    made = {}
    for name, given in data.items():
        source = sources[given.pop("source")]
        made[name] = Transformer(name, name, source=source["title"], date=source["date"], **given)
    return made


def find_model(name):
    """A model of the library, or else of models.toml."""
    from .errors import UnknownName
    from .models import model

    try:
        return model(name)
    except UnknownName:
        if name in configurations():
            return configurations()[name]
        raise


# Calls: keyword arguments of a row -> what the library says.


def _train(model, on, **args):
    from .training import train

    return train(find_model(model), on, allow_infeasible=True, **args)


def _train_net(model, on, **args):
    from .training_nets import train_net

    return train_net(find_model(model), on, allow_infeasible=True, **args)


def _serve(model, device, **args):
    from .serving import serve

    return serve(find_model(model), device, allow_infeasible=True, **args)


def _solve(workload, device, **args):
    from .solving import solve

    return solve(find_model(workload), device, allow_infeasible=True, **args)


EMPTY = 1.2e-6  # s of a kernel that does next to nothing: 1.1 to 1.3 us to add 1,024 numbers (pytorch/pytorch, issue 161104)


def _gemm(device, m, n, k, precision, groups=1, launch=True):
    """launch=False: the kernel's own time, as a profiler reports it: no launch, but what every kernel takes to begin and to end."""
    from .devices import device as find

    wide = max(2.0 / width(precision), 1.0)  # the output of a product in 8 bits has 16
    graph = Graph([Op("product", "gemm", m, n, k, groups, weights=groups * n * k, reads=groups * m * k, writes=groups * m * n * wide)])
    times = operator_times(graph, find(device), precision)
    return times.seconds[0] - (0.0 if launch else times.launch - EMPTY)


def _load(on, workers):
    """Images a second of the workers alone."""
    from .systems import find_cluster
    from .training_nets import loading_seconds

    return 1.0 / loading_seconds(find_cluster(on), workers)


def _collective(on, size, algorithm="best"):
    from .topology import collective

    return collective(on, "all-reduce", size, algorithm=algorithm)


def _memory(params, dp, zero):
    from .training import state_bytes

    return sum(state_bytes(params, dp=dp, zero=zero))


def _cache(model, tokens):
    return find_model(model).cached(tokens=tokens) * 2.0


def _tiny(model, device):
    from .tinyml import predict

    return predict(find_model(model), device, allow_infeasible=True)


CALLS = {
    "train": _train, "train_net": _train_net, "serve": _serve, "solve": _solve, "gemm": _gemm, "load": _load, "collective": _collective,
    "memory": _memory, "cache": _cache, "tiny": _tiny,
}  # fmt: skip


# Metrics: (result, arguments) -> the figure in the source's unit.


def _devices(args):
    return args["on"][1] if "on" in args else args.get("tp", 1)


def _megatron(result, a):
    """TFLOP/s a GPU by equation 3 of Narayanan et al. 2021, F = 96 B s l h² (1 + s/6h + V/16lh), recomputation counted."""
    m = find_model(a["model"])
    b, s, h, L, v = a["batch"], a["tokens"], m.width, m.layers, m.vocab
    return 96 * b * s * L * h**2 * (1 + s / (6 * h) + v / (16 * L * h)) / result.seconds / _devices(a) / 1e12


METRICS = {
    "seconds": lambda r, a: r.seconds,
    "ttft": lambda r, a: r.ttft,
    "ttft and a step": lambda r, a: r.ttft + r.tpot,
    "tpot": lambda r, a: r.tpot,
    "batch seconds": lambda r, a: a["batch"] * a["output"] / r.rate,
    "days": lambda r, a: r.run_seconds / 86400.0,
    "rate": lambda r, a: r.rate,
    "rate per device": lambda r, a: r.rate / _devices(a),
    "decode rate": lambda r, a: 1.0 / r.tpot,
    "tflops megatron": _megatron,
    "tflops model": lambda r, a: r.flop / r.seconds / _devices(a) / 1e12,
    "tflops": lambda t, a: 2.0 * a["m"] * a["n"] * a["k"] * a.get("groups", 1) / t / 1e12,
    "bus": lambda r, a: r.bus,
    "images": lambda rate, a: rate,
    "bytes": lambda b, a: b,
}
SCALE = {"ms": 1e3, "us": 1e6, "GB": 1e-9, "GB/s": 1e-9, "KiB": 1 / 1024}


def predict(row):
    """The library's figure for a row, in the unit of the published one."""
    if row.call not in CALLS:
        raise unknown("call", row.call, list(CALLS))
    if row.metric not in METRICS:
        raise unknown("metric", row.metric, list(METRICS))
    value = METRICS[row.metric](CALLS[row.call](**row.args), row.args)
    return float(value) * SCALE.get(row.published[1], 1.0)


def spearman(a, b):
    """Rank correlation, ties sharing their mean rank; NaN for fewer than three pairs."""
    if len(a) < 3:
        return float("nan")
    ranks = [np.array([(np.sum(x < v) + (np.sum(x == v) - 1) / 2) for v in x]) for x in (np.asarray(a), np.asarray(b))]
    x, y = (r - r.mean() for r in ranks)
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


@dataclass(frozen=True)
class Report:
    """Rows of one list with what was predicted. error is predicted over published, less one."""

    which: str
    rows: list
    predicted: np.ndarray

    @property
    def published(self):
        return np.array([row.published[0] for row in self.rows])

    @property
    def error(self):
        return self.predicted / self.published - 1.0

    @property
    def within(self):
        """Which rows keep the tolerance of their class."""
        return np.abs(self.error) <= [TOLERANCE[row.tolerance] for row in self.rows]

    @property
    def median(self):
        return float(np.median(np.abs(self.error)))

    @property
    def worst(self):
        return float(np.abs(self.error).max())

    def families(self):
        """family -> (rows, median |error|, worst |error|, rank correlation)."""
        found = {}
        for name in dict.fromkeys(row.family for row in self.rows):
            at = [i for i, row in enumerate(self.rows) if row.family == name]
            error = np.abs(self.error[at])
            found[name] = len(at), float(np.median(error)), float(error.max()), spearman(self.predicted[at], self.published[at])
        return found

    def only(self, family):
        """The rows of one family. Raises UnknownName."""
        if family not in self.families():
            raise unknown("family of rows", family, list(self.families()))
        return self.where(lambda row: row.family == family)

    def where(self, holds):
        at = [i for i, row in enumerate(self.rows) if holds(row)]
        return Report(self.which, [self.rows[i] for i in at], self.predicted[at])

    def to_dict(self):
        """Plain numbers and text, as JSON takes them."""
        found = [dict(id=row.id, family=row.family, published=row.published[0], unit=row.published[1], predicted=float(p),
                      error=float(e), url=row.url) for row, p, e in zip(self.rows, self.predicted, self.error, strict=True)]  # fmt: skip
        return {"which": self.which, "median": self.median, "worst": self.worst, "rows": found}

    def __str__(self):
        head = f"{self.which}: {len(self.rows)} rows, median |error| {self.median:.1%}, worst {self.worst:.1%}"
        lines = [f"{row.id:<44} {row.published[0]:>12,.6g} {p:>12,.6g} {row.published[1]:<14} {e:>+8.1%}"
                 for row, p, e in zip(self.rows, self.predicted, self.error, strict=True)]  # fmt: skip
        table = [f"{name:<20} {n:>4}  median {m:>6.1%}  worst {w:>6.1%}  rank {r:.3f}" for name, (n, m, w, r) in self.families().items()]
        return "\n".join([head, *lines, *table])


def validate(which="heldout", folder=FOLDER):
    """Predict every row of a list -> Report."""
    found = rows(which, folder)
    return Report(which, found, np.array([predict(row) for row in found]))


def setting(row):
    """What runs, on what, at which batch: (device or cluster, model or shape or size, batch)."""
    a = row.args
    shape = tuple(a.get(name) for name in ("m", "n", "k", "size", "params"))
    return str(a.get("device", a.get("on"))), a.get("model", a.get("workload", shape)), a.get("batch")


# The fit: a family's six constants, on the calibration rows of its devices, with priors that keep them physical.

BOUNDS = {"compute": (0.1, 1.0), "tile": (4.0, 160.0), "inner": (4.0, 512.0), "memory": (0.3, 1.0), "launch": (1e-6, 50e-6),
          "attention": (0.2, 1.0)}  # fmt: skip
DEFAULT = Constants(compute=0.80, tile=40.0, inner=64.0, memory=0.80, launch=6e-6, attention=0.75)
WIDTH = {"compute": 0.35, "tile": 0.5, "inner": 0.5, "memory": 0.15, "launch": 0.7, "attention": 0.35}  # of ln, 1 sigma
SHARE, SHARE_WIDTH = 0.80, 0.15  # of a link
LINKS = {
    "nvlink": SHARE,
    "pcie": SHARE,
    "infiniband": 0.85,
    "ethernet": SHARE,
    "ici": 0.85,
    "infinity-fabric": 0.70,
    "neuronlink": 0.75,
    "onboard": 0.90,
}  # declared, where no row fits them
FRAMEWORKS = {"loader": (5e-3, 0.5), "passes": (16.0, 0.4)}  # prior and its width (of ln, 1 sigma)
ERROR = 0.10  # 1 sigma of ln(predicted / published): what a model of this kind may miss by


def minimise(f, start, step=0.2, steps=400):
    """The lowest point found by the simplex of Nelder and Mead 1965, always the same for the same f and start."""
    start = np.asarray(start, float)
    simplex = np.vstack([start, start + step * np.eye(len(start))])
    values = np.array([f(x) for x in simplex])
    for _ in range(steps):
        order = np.argsort(values, kind="stable")
        simplex, values = simplex[order], values[order]
        if values[-1] - values[0] < 1e-6 * (1 + abs(values[0])):
            break
        centre = simplex[:-1].mean(axis=0)
        away = centre - simplex[-1]
        tried = centre + away
        at = f(tried)
        if at < values[0]:
            further = centre + 2 * away
            beyond = f(further)
            simplex[-1], values[-1] = (further, beyond) if beyond < at else (tried, at)
        elif at < values[-2]:
            simplex[-1], values[-1] = tried, at
        else:
            nearer = centre + (0.5 if at < values[-1] else -0.5) * away
            inside = f(nearer)
            if inside < min(at, values[-1]):
                simplex[-1], values[-1] = nearer, inside
            else:
                simplex[1:] = simplex[0] + 0.5 * (simplex[1:] - simplex[0])
                values[1:] = [f(x) for x in simplex[1:]]
    return simplex[np.argmin(values)]


def family_of(row):
    """What a calibration row fits: the family of its device, or the kind of link of a collective."""
    from .devices import device
    from .systems import node

    if row.call == "load":
        return "loader"
    if row.call == "collective":
        of = node(row.args["on"][0])
        return (of.scale_up if row.args["on"][1] <= of.count else of.scale_out).kind
    return node(row.args["on"][0]).device.family if "on" in row.args else device(row.args["device"]).family


def misfit(some):
    """Sum of squares of ln(predicted / published), in units of ERROR."""
    return sum((np.log(predict(row) / row.published[0]) / ERROR) ** 2 for row in some)


def fit(folder=FOLDER):
    """Fit every family and kind of link that the calibration rows name -> {name: (Constants or share, rows)}.

    The held-out rows are not read. Links and what frameworks have in common come first, since training and serving need them;
    constants are rounded to three digits and shares to two, and the rounded ones are what the next fit sees. A family without
    rows has DEFAULT meanwhile; "passes" and the families are fitted twice, since each needs the other.
    Rows of tiny networks fit the factor of a core in data/kernels.toml, not these constants.
    """
    groups, found = {}, {}
    for row in rows("calibration", folder):
        if row.call != "tiny":
            groups.setdefault(family_of(row), []).append(row)
    groups["passes"] = [row for some in groups.values() for row in some if row.call == "train_net"]
    of_families = [name for name in groups if name in families()]
    first = [name for name in groups if name not in of_families and name != "passes"]
    with ExitStack() as stack:
        stack.enter_context(trial(**dict.fromkeys(families(), DEFAULT), **{n: start for n, (start, _) in FRAMEWORKS.items()}))
        for i, name in enumerate([*first, *of_families, "passes", *of_families, "passes", *of_families]):
            some = groups[name] if i >= len([*first, *of_families]) else [row for row in groups[name] if row.call != "train_net"]
            fit_one = _fit_family if name in of_families else _fit_framework if name in FRAMEWORKS else _fit_link
            found[name] = fit_one(name, some), groups[name]
            stack.enter_context(trial(**{name: found[name][0]}))
    return found


def families():
    """Every family of devices, by name."""
    from .devices import devices

    return sorted({d.family for d in devices()})


def _fit_link(name, some):
    def cost(x):
        share = float(np.exp(min(x[0], 0.0)))
        with trial(**{name: share}):
            return misfit(some) + (np.log(share / SHARE) / SHARE_WIDTH) ** 2 + 100 * max(x[0], 0.0)

    return round(float(np.exp(min(minimise(cost, [np.log(SHARE)])[0], 0.0))), 2)


def _fit_framework(name, some):
    start, width = FRAMEWORKS[name]

    def cost(x):
        with trial(**{name: float(np.exp(x[0]))}):
            return misfit(some) + ((x[0] - np.log(start)) / width) ** 2

    return float(f"{np.exp(minimise(cost, [np.log(start)])[0]):.2g}")


def _fit_family(name, some):
    names = [f.name for f in fields(Constants)]
    start = np.log([getattr(DEFAULT, n) for n in names])
    low, high = np.log([BOUNDS[n] for n in names]).T
    width = np.array([WIDTH[n] for n in names])

    def at(x):
        return Constants(**dict(zip(names, np.exp(np.clip(x, low, high)).tolist(), strict=True)))

    def cost(x):
        with trial(**{name: at(x)}):
            outside = np.maximum(low - x, 0) + np.maximum(x - high, 0)
            return misfit(some) + (((x - start) / width) ** 2).sum() + 100 * outside.sum()

    best = at(minimise(cost, start))
    return Constants(**{n: float(f"{getattr(best, n):.3g}") for n in names})


# What is written: data/calibration.toml by a fit, sim/validation/README.md by every run.


def calibrated(found):
    """The text of data/calibration.toml for what fit() found: each family with its rows and what they miss by."""
    lines = [
        "# Six constants a device family and a share for each kind of link. Written by `mlsysim validate --fit`, from",
        "# sim/validation/calibration.toml only; comments name the rows used, with predicted over published, less one.",
    ]
    with trial(**dict.fromkeys(families(), DEFAULT)), trial(**{name: value for name, (value, _) in found.items()}):
        for name in families():
            value, some = found.get(name, (DEFAULT, ()))
            lines += ["", f"[{name}]", *_residuals(some)]
            lines += [f"{f.name} = {getattr(value, f.name)!r}" for f in fields(Constants)]
        lines += ["", "# Share of the printed rate per direction that long messages reach.", "[links]"]
        for kind, share in LINKS.items():
            value, some = found.get(kind, (share, ()))
            lines += [*_residuals(some), f"{kind} = {value!r}"]
        lines += ["", "# Of frameworks, on any device; passes are fitted on the rows of train_net above.", "[frameworks]"]
        for name, (start, _) in FRAMEWORKS.items():
            value, some = found.get(name, (start, ()))
            lines += [*(_residuals(some) if name == "loader" else []), f"{name} = {value!r}"]
    return "\n".join(lines) + "\n"


def _residuals(some):
    return [f"# {row.id}: {predict(row) / row.published[0] - 1:+.1%}" for row in some] or ["# no rows: declared, not fitted"]


def page(folder=FOLDER):
    """The text of sim/validation/README.md: every row with its prediction, by family, from data as they are now."""
    held, fitted = validate("heldout", folder), validate("calibration", folder)
    known = {setting(row) for row in fitted.rows}
    strict = held.where(lambda row: setting(row) not in known)
    over = [(row, e) for row, e in zip(held.rows, held.error, strict=True) if abs(e) > WORST]
    rank = [f"{name} {r:.3f}" for name, (n, _, _, r) in held.families().items() if n >= 3 and r < RANK]
    lines = [
        "# Predicted and published", "",
        "Written by `mlsysim validate`; the tests compare it with what the code computes. Constants are fitted on the "
        f"{len(fitted.rows)} calibration rows ([calibration.toml](calibration.toml)) and on nothing else; the "
        f"{len(held.rows)} held-out rows ([heldout.toml](heldout.toml)) judge them. error is predicted over published, less one. "
        "Configurations, conversions and sources stand in those files. Tolerances: "
        + ", ".join(f"{name} {value:.0%}" for name, value in TOLERANCE.items()) + ".", "",
        f"Held out: median |error| {held.median:.1%}, worst {held.worst:.1%}, {len(over)} rows beyond {WORST:.0%}. "
        f"{len(held.rows) - len(strict.rows)} held-out rows have the device, model and batch of a calibration row at other "
        f"lengths, widths or splits; the other {len(strict.rows)}: median {strict.median:.1%}, worst {strict.worst:.1%}.", "",
        "| family | rows | within tolerance | median | worst | rank correlation |", "| --- | ---: | ---: | ---: | ---: | ---: |",
        *[f"| {name} | {n} | {held.only(name).within.sum()} | {m:.1%} | {w:.1%} | {r:.3f} |"
          for name, (n, m, w, r) in held.families().items()], "",
        f"Beyond {WORST:.0%}: {', '.join(f'{row.id} ({e:+.0%})' for row, e in over) or 'none'}. "
        f"Rank correlation below {RANK}: {', '.join(rank) or 'none'}.", "", MISSES, "",
    ]  # fmt: skip
    for title, report in (("Held-out rows", held), ("Calibration rows", fitted)):
        lines += [f"## {title}", ""]
        for name in report.families():
            lines += [f"### {name}", "", "| row | published | predicted | error | source |", "| --- | ---: | ---: | ---: | --- |"]
            for row, p, e in zip(report.rows, report.predicted, report.error, strict=True):
                if row.family == name:
                    value, unit = row.published
                    lines.append(f"| {row.id} | {value:,.6g} {unit} | {_digits(p)} | {e:+.1%} | [{row.source}]({row.url}), {row.where} |")
            lines.append("")
    return "\n".join(lines)


def _digits(x):
    """Five digits, without an exponent."""
    return f"{float(f'{x:.5g}'):,.10g}"


def main(refit=False, folder=FOLDER):
    """`mlsysim validate`: fit first if asked to, then write the page -> Report of the held-out rows."""
    if refit:
        text = calibrated(fit(folder))
        (Path(__file__).parent / "data" / "calibration.toml").write_text(text, encoding="utf-8")
        from . import efficiency, tables

        for kept in (efficiency._calibrated, efficiency._shared, tables.table):
            kept.cache_clear()
    text = page(folder)
    (Path(folder) / "README.md").write_text(text, encoding="utf-8")
    return validate("heldout", folder)
