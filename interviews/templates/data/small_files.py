"""One file a sample or a few large ones: an epoch of each, and the size of a sample from which it makes no difference."""
from mlsysim import storage, systems
from staffml import Misconception, Part, Template

READERS, ACCELERATOR = 4096, 1e12       # requests under way and samples a second: so many that only storage decides


def epoch(p, request):
    feed = storage.feed(p.sample, ACCELERATOR, storage=p.tier, readers=READERS, request=request)
    return p.samples * feed.seconds


template = Template(
    title="Many small files", area="data", topic="storage-format-selection", track="cloud", level="L3", chapter="V1-04", minutes=8,
    space={("medium", "tier", "sample"): tuple((medium, tier, kb * 1e3) for medium, tier, sizes in (
               ("hard disk", "hdd", (50, 100, 200, 400, 800)), ("network volume", "block-store", (4, 8, 12, 16, 20)),
               ("SATA drive", "sata-ssd", (0.5, 1, 1.5, 2, 3))) for kb in sizes),
           "samples": (0.5e6, 0.8e6, 1.2e6, 2e6, 3e6, 4e6, 5e6, 6e6, 8e6, 10e6, 12e6, 15e6, 20e6, 30e6), "shard": (100e6, 256e6, 500e6)},
    derive={"read": lambda p: systems.storage_tier(p.tier).read.value,
            "random": lambda p: int(systems.storage_tier(p.tier).iops.value)},
    prompt="""
        A training set holds {samples:million} samples of {sample:kB} each. It lies on a {medium} ({tier}), which takes {random} read
        requests a second and delivers {read:MB/s} at most. Enough requests are under way at any time that nothing else holds it up. An
        epoch reads every sample once, in random order.""",
    parts=(
        Part("files", "Each sample is a file, read with one request. How long does an epoch take at least?", "s",
             lambda p: epoch(p, p.sample), ("1 s", "40 days"), (
            Misconception("rate alone", lambda p: p.samples * p.sample / p.read, 0.25,
                          "A request costs the same however little it asks for; here requests run out long before bandwidth."),
            Misconception("per kilobyte", lambda p: epoch(p, p.sample) * p.sample / 1e3, 0.0, "One request fetches a whole sample."))),
        Part("shards", "Samples are packed in files of {shard:MB}, read as a whole and shuffled in memory. How long is an epoch now?", "s",
             lambda p: epoch(p, p.shard), ("0.1 s", "10 days"), (
            Misconception("one file after another", lambda p: p.samples / p.random, 0.0, "A request fetches many samples now."),
            Misconception("bits as bytes", lambda p: 8 * epoch(p, p.shard), 0.25, "The rate is in bytes a second already."),
            Misconception("requests alone", lambda p: p.samples * p.sample / p.shard / p.random, 0.25,
                          "Few requests are left, so now it is the bytes that take time."))),
        Part("even", "From which size of a sample on would files of their own be as quick as packed ones?", "B",
             lambda p: p.read / p.random, ("1 kB", "100 MB"), (
            Misconception("in bits", lambda p: 8 * p.read / p.random, 0.25, "The rate is in bytes a second already."),
            Misconception("this sample", lambda p: p.sample, 0.0, "At this size requests run out first.")))))
