"""A trace of an input pipeline in which one stage is slower than its data sheet. Which one, and what does mending it bring?"""
from mlsysim import storage, systems
from staffml import Cause, Choice, Diagnosis, Misconception, Table, Template

READERS, REQUEST = 64, 8e6      # requests under way and bytes of each: large enough for the rate that the maker prints
SAID = ("storage", "decode", "link", "accelerator")


def healthy(p):
    """Seconds of a batch in each stage, as the data sheets have it."""
    feed = storage.feed(p.sample, p.takes, storage=p.tier, readers=READERS, request=REQUEST, decode=p.decode, workers=p.workers,
                        decoded=p.decoded, link=p.link)
    return {stage: p.batch * float(feed.tree.find(stage).value) for stage in SAID}


def measured(p):
    return {stage: seconds * (p.slow if stage == p.fault else 1) for stage, seconds in healthy(p).items()}


def shows(table, p):
    normal = healthy(p)
    return max(table.rows, key=lambda row: row[1] / normal[row[0]])[0]


def cause(stage, text):
    return Cause(stage, text, 0.0, "The figures above give {" + stage + ":s} for a batch of this stage, and the trace shows no more.")


template = Template(
    title="Which stage is slow?", area="data", topic="data-pipeline-engineering", track="cloud", level="L4", chapter="V1-04", minutes=15,
    space={"fault": SAID, "slow": (1.5, 2.0, 2.5, 3.0), "sample": (100e3, 200e3, 400e3, 800e3), "decoded": (150528, 602112),
           "batch": (128, 256, 512), "takes": (2500, 4000, 6000), "decode": (2e-3, 3e-3, 5e-3), "workers": (12, 16, 24),
           "link": (1e9, 2e9, 4e9), "tier": ("nvme-gen3", "sata-ssd", "block-store")},
    hidden=("fault", "slow"), derive={"read": lambda p: systems.storage_tier(p.tier).read.value},
    figures={stage: lambda p, stage=stage: healthy(p)[stage] for stage in SAID},
    table=lambda p: Table((("stage", None), ("time for a batch", "s")), tuple(measured(p).items()), tells=("fault", "slow")),
    prompt="""
        Samples of {sample:kB} are read from storage ({tier}, {read:MB/s}), decoded by {workers} workers that take {decode:ms} each
        for a sample, sent over a link of {link:GB/s} as {decoded} bytes, and used by an accelerator that takes {takes} a second.
        The stages work at the same time, on batches of {batch}. One of them is slower than it should be. The trace below shows how
        long each stage is at work on a batch, all its workers together.""",
    parts=(
        Diagnosis("fault", "Which stage is slower than these figures say?", "fault", (
            cause("storage", "Storage delivers less than it should."), cause("decode", "Decoding takes longer than it should."),
            cause("link", "The link carries less than it should."), cause("accelerator", "The accelerator takes fewer than it should.")),
            shows),
        Choice("mended", "How long between two batches once it is mended?", "s", lambda p: max(healthy(p).values()), ("5 ms", "10 s"), (
            Misconception("in turn", lambda p: sum(healthy(p).values()), 0.0, "The stages overlap; the slowest one decides."),
            Misconception("as it is, in turn", lambda p: sum(measured(p).values()), 0.0, "The stages overlap, and one gets faster."),
            Misconception("the fastest", lambda p: min(healthy(p).values()), 0.0, "The slowest stage decides.")))))
