"""Data on its way to an accelerator: storage, network, decoding; how far to read ahead; staging; checkpoints.

A pipeline gives what its slowest stage gives, and the accelerator waits for the rest. Stages work at the same time, each
on other samples. Source: Denning, Buzen 1978 (asymptotic bounds); Little 1961.
"""

from dataclasses import dataclass

import numpy as np

from ._check import amount
from .errors import RangeError
from .result import Result, Term, largest, total
from .systems import storage_tier

PER_CONNECTION = ("object-store",)  # tiers whose printed rate is that of one connection; connections add up


@dataclass(frozen=True, kw_only=True)
class Feed(Result):
    """Samples on their way to an accelerator. seconds is the time between two samples, rate samples a second.

    binding names the slowest stage, stall is the share of time that the accelerator waits for it; depth is the number of
    batches to read ahead so that latency and jitter never show, memory the bytes that they take, traffic those read from
    storage for each sample.
    """

    seconds: np.ndarray
    rate: np.ndarray
    binding: np.ndarray
    stall: np.ndarray
    depth: np.ndarray
    memory: np.ndarray
    traffic: np.ndarray
    units = {"stall": "", "depth": ""}


def _rates(tier, request, readers, direction="read"):
    """(requests a second of a tier at most, latency of one request in s)."""
    stream = getattr(tier, direction).value
    wait = tier.latency.value if tier.latency else 0.0
    one = readers / (wait + request / stream)  # each reader waits for its request, then asks for the next
    shared = np.inf if tier.name in PER_CONNECTION else stream / request
    return np.minimum(np.minimum(one, shared), tier.iops.value if tier.iops else np.inf), wait + request / stream


def feed(sample, accelerator, *, storage="nvme-gen4", readers=1, request=None, hit=0.0, cache=None, network=None, decode=0.0,
         workers=1, decoded=None, link=None, batch=1, jitter=0.0):  # fmt: skip
    """Samples of `sample` bytes from storage through network and decoding to an accelerator -> Feed.

    accelerator: samples a second that it could take, or a result with a rate. `readers` requests of `request` bytes (one
    sample if not given) are under way at a time; `hit` is the share of samples found in the cache, a tier or, if None,
    memory that costs nothing. network (B/s); decode: seconds of one worker for a sample, augmentation included; decoded:
    its bytes after that (as `sample` if not given), over a link (B/s) to the accelerator; jitter: the longest pause (s)
    that reading ahead shall bridge. All numbers broadcast. Raises RangeError, UnknownName.
    """
    tier = storage_tier(storage)
    sample, readers = amount("sample", sample, "B", above=0.0), amount("readers", readers, "", least=1, whole=True)
    request = sample if request is None else amount("request", request, "B", above=0.0)
    hit = amount("hit", hit, "%" if isinstance(hit, str) else "")
    if (hit > 1).any():
        raise RangeError(f"hit: got {float(hit.max()):g}; wanted a share from 0 to 1")
    takes = amount("accelerator", getattr(accelerator, "rate", accelerator), "1/s" if isinstance(accelerator, str) else "", above=0.0)
    decode, workers = amount("decode", decode, "s"), amount("workers", workers, "", least=1, whole=True)
    decoded = sample if decoded is None else amount("decoded", decoded, "B", above=0.0)
    batch, jitter = amount("batch", batch, "", least=1, whole=True), amount("jitter", jitter, "s")
    network = None if network is None else amount("network", network, "B/s", above=0.0)
    link = None if link is None else amount("link", link, "B/s", above=0.0)
    miss, share = 1 - hit, sample / request
    most, wait = _rates(tier, request, readers)

    def stages(**scale):
        """Seconds that each stage needs for a sample; scale divides the time of a stage."""
        times = {"storage": miss * share / most}
        if cache is not None:
            times["cache"] = hit * share / _rates(storage_tier(cache), request, readers)[0]
        if network is not None:
            times["network"] = miss * sample / network
        times["decode"] = decode / workers
        if link is not None:
            times["link"] = decoded / link
        times["accelerator"] = 1 / takes
        return {name: np.asarray(t / scale.get(name, 1.0)) for name, t in times.items()}

    def slowest(**scale):
        return np.maximum.reduce(np.broadcast_arrays(*stages(**scale).values()))

    times = stages()
    table = np.stack(np.broadcast_arrays(*times.values()))
    seconds = table.max(axis=0)
    names = np.array(list(times))
    # Little's law: what is under way is the rate times how long one sample is under way, and a pause empties the rest
    under_way = miss * wait * np.maximum(share, 1.0) + decode + (0 if network is None else miss * sample / network)
    depth = np.maximum(np.ceil((under_way + jitter) / seconds / batch), 1.0)
    formulas = {
        "storage": "misses / min(readers / (latency + request / rate), rate / request, iops)", "cache": "hits, as storage",
        "network": "misses x sample / network", "decode": "decode / workers", "link": "decoded / link", "accelerator": "1 / its rate",
    }  # fmt: skip
    return Feed(
        seconds=seconds[()], rate=(1 / seconds)[()], binding=np.asarray(names[table.argmax(axis=0)])[()], depth=depth[()],
        stall=(1 - times["accelerator"] / seconds)[()], memory=(depth * batch * decoded)[()], traffic=(miss * sample)[()],
        grow=lambda: largest("between two samples", [Term(n, t, formula=formulas[n]) for n, t in times.items()]),
        knobs={name: (lambda s, name=name: slowest(**{name: s})) for name in times},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Staging(Result):
    """A run over a dataset. seconds is the shorter of staged (copied first) and streamed (read from afar each epoch);
    break_even is the number of epochs from which staging is shorter, infinite where it never is."""

    seconds: np.ndarray
    staged: np.ndarray
    streamed: np.ndarray
    break_even: np.ndarray
    units = {"staged": "s", "streamed": "s", "break_even": ""}


def staging(dataset, epochs, *, remote, local, compute=0.0):
    """Copy a dataset (B) once and read it locally, or stream it from afar in every epoch -> Staging.

    remote (B/s) and local (B/s, or a StorageTier or its name) are rates; compute (s) is what an epoch takes when data is
    always there: reading and computing overlap. Everything broadcasts.
    """
    dataset, epochs = amount("dataset", dataset, "B", above=0.0), amount("epochs", epochs, "", least=1, whole=True)
    remote, compute = amount("remote", remote, "B/s", above=0.0), amount("compute", compute, "s")
    if isinstance(local, str) and not local.strip()[:1].isdigit() or hasattr(local, "read"):
        tier = storage_tier(local)
        read, write = tier.read.value, tier.write.value
    else:
        read = write = amount("local", local, "B/s", above=0.0)

    def times(remote=remote, read=read, write=write):
        near, far = np.maximum(dataset / read, compute), np.maximum(dataset / remote, compute)
        return dataset / np.minimum(remote, write) + epochs * near, epochs * far, near, far

    staged, streamed, near, far = times()
    copy = staged - epochs * near
    with np.errstate(divide="ignore"):
        even = np.where(far > near, copy / np.where(far > near, far - near, 1.0), np.inf)
    return Staging(
        seconds=np.minimum(staged, streamed)[()], staged=staged[()], streamed=streamed[()], break_even=even[()],
        grow=lambda: Term("shorter way", np.minimum(staged, streamed), formula="the smaller of the two", parts=(
            total("staged", [Term("copy", copy, formula="dataset / min(remote, local write)"), Term("epochs", epochs * near)]),
            Term("streamed", streamed, formula="epochs x max(dataset / remote, compute)"))),
        knobs={"remote rate": lambda s: np.minimum(*times(remote=remote * s)[:2]),
               "local rate": lambda s: np.minimum(*times(read=read * s, write=write * s)[:2])},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Result):
    """A checkpoint written and read back. seconds is the time to write it, restore that to read it, traffic its
    bytes, bandwidth those a second."""

    seconds: np.ndarray
    restore: np.ndarray
    traffic: np.ndarray
    bandwidth: np.ndarray
    units = {"restore": "s", "bandwidth": "B/s"}


def checkpoint(size, *, storage="parallel-fs", writers=1, each=None):
    """Write `size` bytes by `writers` ranks that send at most `each` B/s, to a tier or to one per rank -> Checkpoint.

    storage: a StorageTier shared by all, or its name; each: the rate of a rank's own link, or a tier of its own such as
    "nvme-gen4", with storage=None for that alone. All numbers broadcast.
    """
    size, writers = amount("size", size, "B", above=0.0), amount("writers", writers, "", least=1, whole=True)
    tier = None if storage is None else storage_tier(storage)
    own = None
    if each is not None:
        named = isinstance(each, str) and not each.strip()[:1].isdigit() or hasattr(each, "read")
        own = storage_tier(each) if named else amount("each", each, "B/s", above=0.0)
    if tier is None and own is None:
        raise RangeError("storage: got None; wanted a storage tier, or each= for storage of every rank's own")

    def speed(direction):
        alone = np.inf if own is None else (getattr(own, direction).value if hasattr(own, "read") else own) * writers
        if tier is None:
            return alone
        rate = getattr(tier, direction).value * (writers if tier.name in PER_CONNECTION else 1.0)
        return np.minimum(alone, rate)

    wait = tier.latency.value if tier is not None and tier.latency else 0.0
    write, read = speed("write"), speed("read")
    return Checkpoint(
        seconds=(wait + size / write)[()], restore=(wait + size / read)[()], traffic=size[()], bandwidth=(size / (wait + size / write))[()],
        grow=lambda: total("write", [Term("latency", wait), Term("bytes", size / write, formula="size / min(tier, writers x each)")]),
        knobs={"bandwidth": lambda s: wait + size / (write * s)},
    )  # fmt: skip
