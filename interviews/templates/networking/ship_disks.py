"""Move a data set over a link or send disks by courier: days on the link, rate of the courier, and where they break even."""
from mlsysim import network
from staffml import Fermi, Misconception, Part, Template


def wire(p):
    return network.transfer_seconds(p.size, p.link * p.share)


def courier(p):
    return 2 * network.transfer_seconds(p.size, p.copy) + p.trip


def even(p):
    return p.trip / (1 / (p.link * p.share) - 2 / p.copy)


template = Template(
    title="Disks by courier", area="networking", topic="network-bandwidth-bottlenecks", track="global", level="L2", chapter="V2-04",
    minutes=6,
    space={"size": (0.2e15, 0.5e15, 0.8e15, 1e15, 1.5e15, 2e15, 3e15, 5e15, 8e15), "link": (0.125e9, 0.625e9, 1.25e9), "share": (0.3, 0.4,
           0.5, 0.6), "copy": (4e9, 5e9, 6e9, 8e9, 10e9), "trip": tuple(86400.0 * d for d in (1, 2, 3, 4))},
    prompt="""
        A lab abroad collected {size:TB} of recordings and wants them in your data centre. Its line carries {link:Gbit/s}, of which this
        transfer may use {share:%}. A courier takes {trip:days} with a case of drives, however full; they are filled there and read here
        at {copy:GB/s}, each before the next step begins.""",
    parts=(
        Fermi("wire", "Without a calculator: how long does the transfer take on the line?", "s", wire, ("1 h", "10000 days"), (
            Misconception("bits as bytes", lambda p: wire(p) / 8, 0.25, "The line is in bits a second, the data in bytes."),
            Misconception("milli for kilo", lambda p: wire(p) / 1e3, 0.0, "You slipped by three powers of ten."))),
        Part("courier", "And with the courier?", "s", courier, ("1 day", "100 days"), (
            Misconception("trip only", lambda p: p.trip, 0.25, "Drives have to be filled and read, and that takes days too."),
            Misconception("copied once", lambda p: courier(p) - network.transfer_seconds(p.size, p.copy), 0.5,
                          "Data is copied twice: on the drives there, off the drives here."))),
        Part("even", "From which size of the data on is the courier quicker?", "B", even, ("10 GB", "100 PB"), (
            Misconception("trip only", lambda p: p.trip * p.link * p.share, 0.5, "Copying takes longer for more data, too."),
            Misconception("whole line", lambda p: p.trip * p.link, 0.25, "The transfer gets a share of the line."),
            Misconception("in bits", lambda p: 8 * even(p), 0.25, "A byte has eight bits.")), tol=0.01)))
