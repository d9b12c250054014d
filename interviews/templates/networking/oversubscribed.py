"""Leaves with fewer links up than down: oversubscription, the rate that is left when everybody talks to everybody, a shuffle."""
from mlsysim import network, topology
from staffml import Misconception, Part, Template


def over(p):
    return p.down / p.up


def rate(p, over):
    tree = topology.fat_tree(p.hosts, radix=p.down + p.up, oversubscription=over)
    return tree.bandwidth(p.card, "all-to-all")


def shuffle(p, rate):
    return network.transfer_seconds(p.size * (p.hosts - 1) / p.hosts, rate)


template = Template(
    title="Oversubscribed leaves", area="networking", topic="interconnect-topology", track="cloud", level="L3", chapter="V2-03", minutes=10,
    space={("down", "up"): ((32, 16), (64, 32), (24, 8), (48, 16), (96, 32), (40, 8), (80, 16), (28, 4), (56, 8),
           (112, 16)), "leaves": (3, 4, 5, 6, 8), "card": (12.5e9, 25e9, 50e9), "size": (10e9, 20e9, 40e9, 60e9, 100e9, 200e9)},
    derive={"hosts": lambda p: p.down * p.leaves},
    prompt="""
        {hosts} hosts with one card of {card:Gbit/s} each hang on {leaves} leaf switches. Every leaf has {down} links down to hosts and
        {up} links up to spine switches, all of the rate of a card. Traffic between hosts of one leaf stays in the leaf, and paths share
        the rest evenly.""",
    parts=(
        Part("over", "By what factor are the leaves oversubscribed?", "", over, ("1", "20"), (
            Misconception("share of the ports", lambda p: (p.down + p.up) / p.up, 0.5, "Compare links down with links up, not with all."),
            Misconception("upside down", lambda p: p.up / p.down, 0.5, "Oversubscribed by more than one means less up than down."))),
        Part("rate", "All hosts send evenly to all others. At what rate can each send?", "bit/s", rate, ("50 MB/s", "50 GB/s"), (
            Misconception("full rate", lambda p: p.card, 0.0, "The links up are too few for what the hosts of a leaf can send."),
            Misconception("all goes up", lambda p, over: p.card / over, 0.5, "Part of the traffic is for hosts of the same leaf."),
            Misconception("share of the hosts", lambda p: p.card / p.leaves, 0.0, "Links up are what is scarce; count them."))),
        Part("shuffle", "Each host has {size:GB} in equal parts for all hosts, itself included. How long does the exchange take?", "s",
             shuffle, ("50 ms", "1 h"), (
            Misconception("card's rate", lambda p: shuffle(p, p.card), 0.25, "The links up of a leaf decide, not the card."),
            Misconception("bits as bytes", lambda p, rate: shuffle(p, 8 * rate), 0.25, "The data is in bytes, the rate in bits a second."),
            Misconception("through one leaf", lambda p, rate: shuffle(p, rate) * p.leaves, 0.0, "All leaves send at the same time.")))))
