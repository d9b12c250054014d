"""The limits of this machine, measured, and how close the kernels come to them.

    python -m tinytorch.bench roofline                 a table
    python -m tinytorch.bench roofline --plot roof.png and a plot

    roof = roofline()                                  the same in a program
    mine = measure("mine", flop=2 * n**3, traffic=12 * n**2, run=lambda: f(a, b))
    print(roof.table([*roof.points, mine]))
    roof.plot("mine.svg", [mine])
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tinytorch import backend
from tinytorch.backend import backend_info, kernel

EXPLANATION = """\
A kernel that does `flop` operations on `traffic` bytes of memory takes at least

    max(flop / peak, traffic / bandwidth)

seconds (Williams, Waterman and Patterson 2009). flop / traffic is its intensity. Below peak / bandwidth, the ridge, memory
is the limit, above it arithmetic. This command measures

  peak       multiplications and additions in registers, once for each instruction set that this machine has
  bandwidth  STREAM triad, a[i] = b[i] + 3 c[i], on arrays that no cache holds (McCalpin 1995)
  kernels    the time of kernels, as points below that roof; flop and traffic are what the operation needs at least

A point far below the roof can be made faster; one on the roof only by needing fewer operations or bytes. Above the roof is
a point whose data stay in cache between two runs, or one that reads less than triad for each byte that it writes. Figures
are the best of several runs for the two limits, medians for the kernels; with one thread, of processor time, so that other
programs on the machine count less.
"""
MOST_TRIAD = 64 << 20  # bytes of one array of the triad, so that three fit in the memory of a small hub server
EMPTY_CACHE = 32 << 20  # bytes of the last cache where the system does not tell


@dataclass(frozen=True)
class Point:
    """One kernel: the operations and bytes that it needs at least, and the median time of a run in seconds."""

    name: str
    flop: float
    traffic: float
    seconds: float

    @property
    def intensity(self):
        """Operations for each byte, FLOP/byte."""
        return self.flop / self.traffic

    @property
    def rate(self):
        """Operations a second, FLOP/s."""
        return self.flop / self.seconds


@dataclass(frozen=True)
class Roofline:
    """What a machine can do at most. peaks: instruction set -> FLOP/s, the best last; bandwidth in byte/s."""

    machine: str
    threads: int
    peaks: dict[str, float]
    bandwidth: float
    points: tuple[Point, ...] = ()

    @property
    def peak(self):
        return max(self.peaks.values())

    @property
    def ridge(self):
        """The intensity, FLOP/byte, from which on arithmetic is the limit."""
        return self.peak / self.bandwidth

    def bound(self, flop, traffic):
        """The least time in seconds for this work: arithmetic and memory overlapped, the slower one decides."""
        return max(flop / self.peak, traffic / self.bandwidth)

    def limit(self, point):
        return "arithmetic" if point.intensity >= self.ridge else "memory"

    def share(self, point):
        """How much of the roof above it a point reaches: 1 is on it."""
        return self.bound(point.flop, point.traffic) / point.seconds

    def table(self, points=None):
        """The limits and the points (by default the measured kernels) as text."""
        points = self.points if points is None else points
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        lines = [f"{self.machine}, {threads}", ""]
        lines += [f"peak, {name:<14}{peak / 1e9:8.0f} GFLOP/s" for name, peak in self.peaks.items()]
        lines += [f"{'memory, triad':<20}{self.bandwidth / 1e9:8.1f} GB/s", f"{'ridge':<20}{self.ridge:8.1f} FLOP/byte"]
        if points:
            wide = max(len(p.name) for p in points) + 2
            lines += ["", f"{'kernel':<{wide}}{'time':>10}{'FLOP/byte':>11}{'GFLOP/s':>10}{'GB/s':>8}  {'limit':<12}of it"]
        for p in points:
            lines.append(f"{p.name:<{wide}}{seconds(p.seconds):>10}{p.intensity:>11.3g}{p.rate / 1e9:>10.3g}"
                         f"{p.traffic / p.seconds / 1e9:>8.3g}  {self.limit(p):<12}{self.share(p):>4.0%}")
        return "\n".join(lines)

    def alt_text(self, points=None):
        """What the plot shows, for those who do not see it."""
        points = self.points if points is None else points
        shown = "; ".join(f"{p.name}: {p.intensity:.3g} FLOP/byte, {p.rate / 1e9:.3g} GFLOP/s, {self.share(p):.0%} of its "
                          f"{self.limit(p)} limit" for p in points)
        return (f"Roofline of {self.machine}, {self.threads} thread{'s' * (self.threads > 1)}, both axes logarithmic. The roof rises "
                f"with {self.bandwidth / 1e9:.1f} GB/s to {self.peak / 1e9:.0f} GFLOP/s, which it meets at "
                f"{self.ridge:.1f} FLOP/byte. {shown or 'No kernels are shown'}.")

    def plot(self, path, points=None):
        """Write a plot to path; its ending chooses the format. The alt text goes into the file."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        points = self.points if points is None else list(points)
        low = min([0.05, *(p.intensity / 2 for p in points)])
        high = max([self.ridge * 32, *(p.intensity * 3 for p in points)])
        figure = Figure(figsize=(8, 5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(xscale="log", yscale="log", xlabel="intensity (FLOP/byte)", ylabel="GFLOP/s", xlim=(low, high))
        for name, peak in self.peaks.items():
            best = peak == self.peak
            start = peak / self.bandwidth
            axes.plot([start, high], [peak / 1e9] * 2, color="black" if best else "0.6", lw=2 if best else 1)
            axes.annotate(f"{name}, {peak / 1e9:.0f} GFLOP/s", (high, peak / 1e9), (-4, 3), textcoords="offset points", ha="right")
        axes.plot([low, self.ridge], [low * self.bandwidth / 1e9, self.peak / 1e9], color="black", lw=2)
        middle = (low * self.ridge) ** 0.5
        axes.annotate(f"memory, {self.bandwidth / 1e9:.1f} GB/s", (middle, middle * self.bandwidth / 1e9), (-8, 4),
                      textcoords="offset points", ha="right")
        axes.axvline(self.ridge, color="0.6", ls=":", lw=1)
        markers = "osD^vP*X<>"
        for k, p in enumerate(points):
            axes.plot(p.intensity, p.rate / 1e9, markers[k % len(markers)], label=f"{p.name}, {self.share(p):.0%}")
        if points:
            axes.legend(fontsize="small", loc="lower right", title="share of the roof")
        axes.set_title(f"{self.machine}, {self.threads} thread{'s' * (self.threads > 1)}", fontsize="medium")
        kind = Path(path).suffix.lower()
        note = {"Description": self.alt_text(points)} if kind in (".png", ".svg") else None
        figure.savefig(path, metadata=note, dpi=150)


def seconds(t):
    """A time as text: 12.3 us, 4.56 ms."""
    unit, factor = next((u, f) for u, f in (("s", 1), ("ms", 1e3), ("us", 1e6)) if t * f >= 1 or u == "us")
    return f"{t * factor:.3g} {unit}" if t * factor < 1000 else f"{t * factor:.0f} {unit}"


def clock(threads):
    """Processor time where one thread does the work: other programs do not count. Wall time otherwise."""
    return time.thread_time if threads == 1 else time.perf_counter


def samples(run, threads=1, budget=0.2, least=5):
    """Times of run() in seconds, at least 5 of them, until the budget of seconds is used up; one run goes before."""
    run()
    now, start, times = clock(threads), time.perf_counter(), []
    while len(times) < least or time.perf_counter() - start < budget:
        before, runs = now(), 0
        while runs == 0 or now() - before < budget / 100:  # short ones in a row: clocks have a grain
            run()
            runs += 1
        times.append((now() - before) / runs)
    return times


def measure(name, flop, traffic, run, threads=1, budget=0.2):
    """Time run(), which does `flop` operations on at least `traffic` bytes of memory -> Point."""
    if not (flop > 0 and traffic > 0):
        raise ValueError(f"{name}: flop and traffic must be positive, got {flop} and {traffic}")
    return Point(name, float(flop), float(traffic), statistics.median(samples(run, threads, budget)))


def measured_peaks(threads, budget=0.2):
    """Instruction set -> FLOP/s in registers; of NumPy's product of matrices where the kernel is not native."""
    run = kernel("multiply_add")
    if not (backend_info().backend == "cython" and "multiply_add" in backend_info().native):
        return {"NumPy's product": best_rate(lambda: run(2**26, threads), threads, budget)}
    from tinytorch._ext import probe

    before, found = probe.isa()[0], {}
    try:
        for level in backend.isa_levels():
            probe.set_isa(level)
            name = probe.isa()[1].removesuffix(" VNNI")  # which is about integers
            found[name] = best_rate(lambda: run(400_000, threads), threads, budget)
    finally:
        probe.set_isa(before)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def best_rate(run, threads, budget):
    """What run() returns, operations or bytes, per second of its fastest run."""
    return run() / min(samples(run, threads, budget))


def last_cache():
    """Bytes of the largest cache."""
    sizes = [EMPTY_CACHE // 1024]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text[:-1]) if text.endswith("K") else 0)
    return max(sizes) * 1024


def measured_bandwidth(threads, budget=0.5):
    """STREAM triad in byte/s, on arrays of twice the last cache, but of 64 MiB at most."""
    size = min(2 * last_cache(), MOST_TRIAD) // 4
    a, b, c = (np.ones(size, np.float32) for _ in "abc")
    run = kernel("triad")
    return best_rate(lambda: run(a, b, c, 3.0, threads), threads, budget)


def kernel_points(threads, budget=0.2):
    """What the course's kernels do, each on a size of its own: some bound by memory, some by arithmetic."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    def point(name, flop, traffic, run):
        return measure(name, flop, traffic, run, threads, budget)

    index, grad, table = rng.integers(0, 50_000, 16_384), normal(16_384, 256), normal(50_000, 256)
    yield point("scatter-add, 16,384 rows of 256", grad.size, 12 * grad.size,
                lambda: kernel("scatter_add")(grad, index, table, threads=threads))
    x, out = normal(8192, 1024), np.empty((8192, 1024), np.float32)
    yield point("softmax, 8,192 rows of 1,024", 5 * x.size, 8 * x.size, lambda: kernel("softmax")(x, out, threads=threads))
    yield point("ReLU, 8,192 x 1,024", x.size, 8 * x.size, lambda: kernel("activate")(x, out, "relu", threads=threads))
    query, keys, values, one = normal(1, 8, 64), normal(1, 16_384, 8, 64), normal(1, 16_384, 8, 64), np.empty((1, 8, 64), np.float32)
    yield point("decoding, 16,384 keys, 8 heads of 64", 4 * keys.size, 8 * keys.size,
                lambda: kernel("attention_decode")(query, keys, values, np.array([16_384]), one, threads=threads))
    heads, lse = normal(1, 1024, 24, 64), np.empty((1, 8, 1024), np.float32)
    q, k, v, result = heads[:, :, :8], heads[:, :, 8:16], heads[:, :, 16:], np.empty((1, 1024, 8, 64), np.float32)
    yield point("causal attention, 1,024 x 8 heads of 64", 2 * 8 * 1024**2 * 64, 16 * q.size,
                lambda: kernel("attention_forward")(q, k, v, result, lse, threads=threads))
    image, filters, planes = normal(16, 32, 32, 32), normal(32, 32, 3, 3), np.empty((16, 32, 32, 32), np.float32)
    yield point("conv 3 x 3, 16 x 32 x 32 x 32 -> 32", 18 * 32 * planes.size, 8 * planes.size,
                lambda: kernel("conv2d")(image, filters, planes, padding=(1, 1), threads=threads))
    for n in (64, 1024):
        a, b, c = normal(n, n), normal(n, n), np.empty((n, n), np.float32)
        yield point(f"product of matrices, {n:,}", 2 * n**3, 12 * n**2,
                    lambda a=a, b=b, c=c: kernel("gemm")(a, b, c, threads=threads))


def machine():
    """The processor's name, how many of them there are, and the system."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name)
    except FileNotFoundError:  # not Linux
        pass
    return f"{name}, {os.cpu_count()} processors, {platform.system()}"


def roofline(threads=1, *, points=True, budget=0.2, progress=lambda done, what: None):
    """Measure this machine -> Roofline, with the course's kernels as points unless points=False.

    budget: seconds for each figure, a dozen in all. progress(share, what) is called before each.
    Raises ValueError for less than one thread. Without compiled kernels the peak is that of NumPy's product of matrices.
    """
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    progress(0.0, "peak")
    peaks = measured_peaks(threads, budget)
    progress(0.15, "memory")
    bandwidth = measured_bandwidth(threads, budget)
    found = []
    if points:
        progress(0.3, "kernels")
        for point in kernel_points(threads, budget):
            found.append(point)
            progress(0.3 + 0.7 * len(found) / 8, point.name)
    return Roofline(machine(), threads, peaks, bandwidth, tuple(found))


def progress_bar(stream):
    """A function (share, what) that draws a bar on a terminal, and nothing elsewhere."""
    def draw(share, what):
        if stream.isatty():
            done = round(24 * share)
            print(f"\r\033[K[{'#' * done}{'.' * (24 - done)}] {what}", end="\n" if share >= 1 else "", file=stream, flush=True)
    return draw


def positive(text):
    """A whole number, 1 or more, from the command line."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a number of threads, 1 or more, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tinytorch.bench", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("roofline", help="peak, bandwidth, and the kernels as points below them",
                                  formatter_class=argparse.RawDescriptionHelpFormatter, description=EXPLANATION)
    command.add_argument("--threads", type=positive, default=1, help="how many the kernels use (default: 1)")
    command.add_argument("--plot", type=Path, metavar="FILE", help="also draw it; .png, .svg and .pdf are known endings")
    command.add_argument("--json", action="store_true", help="print figures for programs, in FLOP/s, byte/s and seconds")
    options = parser.parse_args(arguments)
    if options.plot and (options.plot.suffix.lower() not in (".png", ".svg", ".pdf") or not options.plot.parent.is_dir()):
        parser.error(f"--plot: {options.plot} must end in .png, .svg or .pdf and be in a folder that exists")
    roof = roofline(options.threads, progress=progress_bar(sys.stderr))
    if options.json:
        print(json.dumps(asdict(roof) | {"peak": roof.peak, "ridge": roof.ridge}, indent=2))
    else:
        print(roof.table())
    if options.plot:
        roof.plot(options.plot)
        print(f"{options.plot}: {roof.alt_text()}", file=sys.stderr if options.json else sys.stdout)


if __name__ == "__main__":
    main()
