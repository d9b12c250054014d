"""Memory of an online feature store, to an order of magnitude, and the reads that ranking puts on it."""
from mlsysim import llm
from staffml import Fermi, Misconception, Part, Template


def memory(p):
    return llm.weight_bytes(p.goods * p.features * p.copies, bytes_per=p.size)


def reads(p):
    return p.requests * p.candidates


template = Template(
    title="Size of a feature store", area="data", topic="feature-store-management", track="cloud", level="L1", chapter="V1-04", minutes=3,
    space={"goods": (2e6, 5e6, 8e6, 20e6, 50e6, 80e6, 200e6, 500e6), "features": (50, 80, 100, 200, 300), "size": (4, 8), "copies": (2, 3),
           "requests": (200, 300, 500, 800, 1000, 2000, 5000), "candidates": (100, 200, 300, 500, 1000)},
    prompt="""
        A shop ranks its goods by a model. For each of {goods:million} goods an online store keeps {features} features of {size:B} each,
        all in memory, and all {copies} times over, so that a machine may fail. At the busiest hour {requests} requests a second come;
        each ranks {candidates} goods, and a read fetches all features of one of them.""",
    parts=(
        Fermi("memory", "Without a calculator: how much memory do the features take in all?", "B", memory, ("500 MB", "20 TB"), (
            Misconception("one feature", lambda p: memory(p) / p.features, 0.0, "Each of the goods has many features."),
            Misconception("milli for kilo", lambda p: memory(p) / 1e3, 0.0, "You slipped by three powers of ten."))),
        Part("reads", "How many reads a second does the store have to answer?", "", reads, ("1000", "1e7"), (
            Misconception("a read a request", lambda p: p.requests, 0.25, "Every candidate of a request has features of its own."),
            Misconception("a read a feature", lambda p: reads(p) * p.features, 0.5, "The features of one of the goods come together."),
            Misconception("a read a copy", lambda p: reads(p) * p.copies, 0.25, "One copy answers; the copies share the reads.")))))
