"""The tables of a recommender: their size to an order of magnitude, what a batch reads of them, the devices that hold them."""
import math

from mlsysim import devices, llm
from mlsysim.models.recommend import Recommender
from staffml import Fermi, Misconception, Part, Template


def model(p):
    return Recommender("tables", "tables", (p.rows,) * p.tables, (p.lookups,) * p.tables, p.dim, (1, 1), (1,), "declared", "")


def size(p):
    return llm.weight_bytes(model(p).table_params, bytes_per=p.bytes_per)


def read(p):
    return llm.weight_bytes(model(p).graph(batch=p.batch).ops[0].weights, bytes_per=p.bytes_per)     # the gather comes first


template = Template(
    title="Embedding tables of a recommender", area="architecture", topic="recommendation-systems-engineering", track="cloud", level="L2",
    chapter="V1-06", minutes=8,
    space={"tables": (16, 20, 26, 32, 40, 64, 80, 100, 120), "rows": (1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000),
           "dim": (32, 64, 128, 256), "bytes_per": (2, 4), "lookups": (4, 5, 8, 10, 20, 40), "batch": (512, 1024, 2048, 4096),
           "gpu": ("a100", "h100", "h200")},
    derive={"card": lambda p: devices.device(p.gpu).title, "memory": lambda p: devices.device(p.gpu).memory.value},
    where=lambda p: size(p) > p.memory,
    prompt="""
        A recommender keeps {tables} tables of {rows:million} rows on average. A row is {dim} numbers of {bytes_per:B} each. To rank one
        sample it looks up {lookups} rows of every table. It is to run
        on devices of the type {card} ({gpu}), each with {memory:GB} of memory.""",
    parts=(
        Fermi("size", "Without a calculator: how large are the tables together?", "B", size, ("10 GB", "1 PB"), (
            Misconception("one table", lambda p: size(p) / p.tables, 0.0, "That is one of the tables."),
            Misconception("three zeros", lambda p: size(p) / 1e3, 0.0, "You slipped by three powers of ten: rows come in millions."))),
        Part("read", "How many bytes of rows does a batch of {batch} samples look up?", "B", read, ("1 MB", "1 TB"), (
            Misconception("one sample", lambda p: read(p) / p.batch, 0.25, "That is one sample of the batch."),
            Misconception("one lookup", lambda p: read(p) / p.lookups, 0.25, "Each table is asked for several rows, which are summed up."),
            Misconception("the tables", size, 0.0, "A lookup touches its rows alone: capacity is the problem, not traffic."))),
        Part("devices", "How many devices does it take to hold the tables, and nothing else?", "", lambda p: size(p) / p.memory,
             ("2", "10000"), (
            Misconception("rounded down", lambda p: size(p) / p.memory - 1, 0.5, "What is left over needs a device too."),
            Misconception("bits as bytes", lambda p: 8 * size(p) / p.memory, 0.0, "Rows and memory are both in bytes.")),
             rounding=math.ceil)))
