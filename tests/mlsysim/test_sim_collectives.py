"""Collectives and networks against messages counted one by one: rings and trees step by step, routes link by link."""

from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import cluster
from mlsysim.collectives import ALGORITHMS, all_gather, all_reduce, all_to_all, hierarchical_all_reduce
from mlsysim.efficiency import link_share
from mlsysim.errors import RangeError, UnitError, UnknownName
from mlsysim.systems import find_cluster
from mlsysim.topology import OPERATIONS, collective, dragonfly, fat_tree, grid, links, network, torus

sizes, rates, delays = st.floats(1, 1e11), st.floats(1e8, 1e12), st.floats(1e-7, 1e-4)
H100 = cluster("dgx-h100", gpus=1024)


# One collective, message by message.


@pytest.mark.parametrize("n", [2, 3, 8, 13])
def test_a_ring_walked_step_by_step_gives_the_sum_in_the_time_of_the_closed_form(n):
    size, bandwidth, latency = 1e6, 1e9, 1e-6
    held = np.random.default_rng(0).normal(size=(n, n))  # rank, chunk
    wanted = held.sum(axis=0)
    clock = 0.0
    for step in range(2 * (n - 1)):
        gathering = step >= n - 1
        moving = [((r - step) % n, held[r, (r - step) % n]) for r in range(n)]
        for r, (chunk, value) in enumerate(moving):
            held[(r + 1) % n, chunk] = value + (0 if gathering else held[(r + 1) % n, chunk])
        clock += latency + size / n / bandwidth
        if step == n - 2:
            assert clock == approx(all_gather(size, n, bandwidth, latency=latency), rel=1e-12)
    assert held == approx(np.tile(wanted, (n, 1)))
    assert all_reduce(size, n, bandwidth, latency=latency) == approx(clock, rel=1e-12)


def pipelined_tree(n, pieces):
    """Steps until piece by piece has gone up a heap of n nodes, one piece a node and step, and down again."""
    sent, steps = [0] * n, 0
    while sent[0] < pieces:
        before = list(sent)
        for i in range(n):
            children = [c for c in (2 * i + 1, 2 * i + 2) if c < n]
            sent[i] += before[i] < min([pieces, *(before[c] for c in children)])
        steps += 1
    return 2 * (steps - 1)  # the root adds and sends nothing up


@pytest.mark.parametrize("n", [4, 16, 64])
@pytest.mark.parametrize("size", [1e3, 1e5, 1e7, 1e9])
def test_a_tree_cut_into_the_best_number_of_pieces_takes_the_time_of_the_closed_form(n, size):
    bandwidth, latency = 25e9, 5e-6
    counts = np.unique(np.round(np.geomspace(1, 400, 40)).astype(int))
    best = min(pipelined_tree(n, k) * (latency + 2 * size / k / bandwidth) for k in counts.tolist())
    assert all_reduce(size, n, bandwidth, latency=latency, algorithm="tree") == approx(best, rel=0.06)


@given(sizes, st.integers(1, 5000), rates, delays)
def test_nothing_undercuts_the_ring_bound_without_help_of_the_switch(size, n, bandwidth, latency):
    bound = 2 * (n - 1) / n * size / bandwidth
    for algorithm in ("ring", "tree", "double-tree", "best"):
        assert all_reduce(size, n, bandwidth, latency=latency, algorithm=algorithm) >= bound * (1 - 1e-12)


@given(sizes, st.integers(1, 64), st.integers(1, 64), rates)
def test_layers_of_equal_links_move_what_a_ring_moves(size, inner, outer, bandwidth):
    layered = hierarchical_all_reduce(size, inner, outer, bandwidth, bandwidth)
    assert layered == approx(all_reduce(size, inner * outer, bandwidth), rel=1e-9, abs=1e-15)


@given(sizes, st.integers(1, 4096), rates, delays, st.floats(1, 10))
def test_more_bytes_devices_or_latency_never_help_and_more_bandwidth_never_hurts(size, n, bandwidth, latency, more):
    for algorithm in ALGORITHMS:

        def time(size=size, n=n, bandwidth=bandwidth, latency=latency, algorithm=algorithm):
            return all_reduce(size, n, bandwidth, latency=latency, algorithm=algorithm) * (1 + 1e-12)

        assert time(size=size * more) >= time() / (1 + 1e-11) and time(latency=latency * more) >= time() / (1 + 1e-11)
        assert time(bandwidth=bandwidth * more) <= time() * (1 + 1e-11)
        if algorithm != "in-switch" or n == 1:  # there each part is smaller with more devices
            assert time(n=n + 1) >= time() / (1 + 1e-11)


@pytest.mark.parametrize("n", [2, 3, 8, 72])
def test_a_switch_that_adds_moves_each_tensor_and_one_part_more_whichever_way_it_is_asked_for(n):
    size, bandwidth = n * 1e6, 1e9
    out, back = np.zeros(n), np.zeros(n)
    for owner in range(n):  # adds one part: all send theirs to the switch, the owner gets the sum and has it copied to all
        out += size / n
        back[owner] += size / n
        out[owner] += size / n
        back += size / n
    flat = all_reduce(size, n, bandwidth, latency=1e-6, algorithm="in-switch")
    assert flat == approx(2e-6 + out.max() / bandwidth) == approx(2e-6 + back.max() / bandwidth)
    assert flat == approx(hierarchical_all_reduce(size, n, 1, bandwidth, 1.0, inner_latency=1e-6, inside="in-switch"))


def test_a_library_reaches_less_of_a_link_when_the_switch_adds():
    for node, share in (("dgx-h100", 0.85 * 15 / 16), ("dgx-b200", 0.74 * 23 / 24)):
        on = cluster(node, nodes=1)
        link = on.node.scale_up.per_direction.value * link_share("nvlink")
        assert collective(on, "all-reduce", 1e12, algorithm="in-node-switch").seconds == approx(1e12 / link / share / (5 / 6), rel=1e-3)


def test_one_device_has_nothing_to_do():
    for algorithm in (*ALGORITHMS, "best"):
        assert all_reduce(1e9, 1, 1e9, latency=1e-3, algorithm=algorithm) == 0
    assert all_gather(1e9, 1, 1e9, latency=1.0) == all_to_all(1e9, 1, 1e9, latency=1.0) == 0
    for operation in OPERATIONS:
        assert collective(H100, operation, 1e9, ranks=1).seconds == 0


def test_trees_win_small_messages_and_rings_large_ones_with_one_crossing():
    size = np.geomspace(1, 1e12, 200)
    ring, tree = (all_reduce(size, 256, 25e9, latency=5e-6, algorithm=a) for a in ("ring", "double-tree"))
    signs = np.sign(ring - tree)
    assert signs[0] > 0 > signs[-1] and (np.diff(signs) != 0).sum() == 1
    assert all_reduce(size, 256, 25e9, latency=5e-6, algorithm="best") == approx(np.minimum(ring, tree))


def test_published_rates():
    assert all_reduce("1 GiB", 8, "450 GB/s") == approx(4.18e-3, rel=2e-3)
    for name, low, high in (("dgx-a100", 230, 235), ("dgx-h100", 360, 370)):  # nccl-tests, large messages, no switch that adds
        assert 0.9 * low < collective((name, 8), "all-reduce", "8 GiB").bus / 1e9 < 1.1 * high


# Networks, route by route.


def spread(edges, hosts):
    """Every host sends 1/(N - 1) to each other one, evenly over all shortest routes -> (load of every link, hops of every pair).

    edges: (a, b) -> capacity in host rates, both directions.
    """
    near = {}
    for (a, b), capacity in edges.items():
        near.setdefault(a, {})[b] = capacity
        near.setdefault(b, {})[a] = capacity
    load, hops = dict.fromkeys([(a, b) for a in near for b in near[a]], 0.0), []
    for goal in hosts:
        away, line = {goal: 0}, [goal]
        for a in line:
            for b in near[a]:
                if b not in away:
                    away[b] = away[a] + 1
                    line.append(b)
        flow = dict.fromkeys(near, 0.0)
        for a in reversed(line):
            if a == goal:
                continue
            if a in hosts:
                flow[a] += 1 / (len(hosts) - 1)
                hops.append(away[a])
            following = {b: c for b, c in near[a].items() if away[b] < away[a]}
            for b, c in following.items():
                part = flow[a] * c / sum(following.values())
                flow[b] += part
                load[a, b] += part / c
    return load, hops


def clos(hosts, down, up):
    """Two levels: leaves of `down` hosts, each with `up` uplinks, one to every spine."""
    edges = {(("host", i), ("leaf", i // down)): 1.0 for i in range(hosts)}
    return edges | {(("leaf", leaf), ("spine", s)): 1.0 for leaf in range(-(-hosts // down)) for s in range(up)}


def mesh(sides):
    edges = {}
    for at in product(*map(range, sides)):
        for d, s in enumerate(sides):
            to = (*at[:d], (at[d] + 1) % s, *at[d + 1 :])
            key = (at, to) if (to, at) not in edges else (to, at)
            edges[key] = edges.get(key, 0.0) + 1 / (2 * len(sides))
    return edges


@pytest.mark.parametrize("hosts, radix, over", [(32, 8, 1), (24, 8, 3), (48, 8, 3), (12, 6, 2)])
def test_a_fat_tree_is_as_loaded_as_its_busiest_link(hosts, radix, over):
    n = fat_tree(hosts, radix=radix, oversubscription=over)
    down = radix * over // (1 + over)
    edges = clos(hosts, down, radix - down)
    load, hops = spread(edges, [a for a, _ in edges if a[0] == "host"])
    uplinks = [x for (a, b), x in load.items() if a[0] == "leaf" and b[0] == "spine"]
    assert n.loads["all-to-all"] == approx(max(uplinks), rel=1e-9) and n.slowed("all-to-all") == approx(max(load.values()), rel=1e-9)
    assert (n.hops, n.mean_hops, n.links) == (max(hops), approx(np.mean(hops)), len(edges))
    assert n.bisection == approx(hosts / 2 / over)


@pytest.mark.parametrize("sides", [(4,), (5,), (8,), (2, 2), (4, 4), (3, 4), (2, 4), (3, 3, 3), (4, 2, 2)])
def test_a_torus_is_as_loaded_as_its_busiest_link(sides):
    n, edges = torus(*sides), mesh(sides)
    load, hops = spread(edges, list(product(*map(range, sides))))
    assert n.loads["all-to-all"] == approx(max(load.values()), rel=1e-9) and n.slowed("all-to-all") >= 1
    assert (n.hops, n.mean_hops) == (max(hops), approx(np.mean(hops)))
    assert n.links == approx(sum(edges.values()) * 2 * len(sides))


@pytest.mark.parametrize("sides", [(4,), (5,), (8,), (2, 4), (3, 4), (4, 4)])
def test_the_bisection_of_a_torus_is_the_least_cut_into_halves(sides):
    edges, hosts = mesh(sides), list(product(*map(range, sides)))
    cuts = [sum(c for (a, b), c in edges.items() if (a in half) != (b in half))
            for half in map(set, combinations(hosts, len(hosts) // 2))]  # fmt: skip
    assert torus(*sides).bisection == approx(min(cuts))


def test_a_balanced_dragonfly_is_as_loaded_as_its_busiest_link():
    p, a, h = 2, 4, 2
    groups = a * h + 1
    n = dragonfly(groups * a * p, radix=p + a - 1 + h)
    assert (n.hosts, n.switches, n.hops) == (72, (36,), 5)
    assert n.links == 72 + groups * a * (a - 1) // 2 + groups * a * h // 2

    def gate(g, to):  # router of group g with the long link to group `to`
        return g, ((to - g - 1) % groups) // h

    load, hops = {}, []
    hosts = list(product(range(groups), range(a), range(p)))
    for one, other in product(hosts, hosts):
        if one == other:
            continue
        start, end = one[:2], other[:2]
        route = [start] if one[0] == other[0] else [start, gate(one[0], other[0]), gate(other[0], one[0])]
        route = [one, *route, end, other]
        steps = [s for s in pairwise(route) if s[0] != s[1]]
        hops.append(len(steps))
        for s in steps:
            load[s] = load.get(s, 0.0) + 1 / 71
    busiest = {
        kind: max(v for s, v in load.items() if (len(s[0]) == 2 == len(s[1])) and (s[0][0] == s[1][0]) == kind) for kind in (True, False)
    }
    raw = 2 * p * (64 / 71) / a + p * p / 71
    assert busiest[True] == approx(raw) and busiest[False] == approx(64 / 71) and n.mean_hops == approx(np.mean(hops))
    assert n.loads["all-to-all"] == approx(max(busiest.values()))
    few = dragonfly(36, radix=7)  # fewer groups, each pair with more long links
    assert few.loads["all-to-all"] < n.loads["all-to-all"] and few.hops == 5 and dragonfly(8, radix=7).hops == 3


@pytest.mark.parametrize(
    "nodes, switches, cables",
    [(128, (32, 16), (1024, 1024)), (256, (64, 32), (2048, 2048)), (512, (128, 128, 64), (4096, 4096, 4096)),
     (1024, (256, 256, 128), (8192,) * 3), (2048, (512, 512, 256), (16384,) * 3)],
)  # fmt: skip
def test_switches_and_cables_are_those_of_a_superpod(nodes, switches, cables):
    """NVIDIA DGX SuperPOD B200 reference architecture, table of larger component counts."""
    n = fat_tree(nodes, ports=8, radix=64, rail=True)
    assert (n.switches, n.links) == (switches, sum(cables))


def test_a_rail_joins_more_hosts_below_a_leaf_than_a_fat_tree():
    rail, plain = (fat_tree(128, ports=8, oversubscription=2, rail=r) for r in (True, False))
    assert rail.mean_hops < plain.mean_hops and rail.loads["all-to-all"] < plain.loads["all-to-all"] < 2
    assert rail.slowed("ring") == plain.slowed("ring") == 1 and rail.bandwidth(400e9) > plain.bandwidth("400 GB/s")


# Collectives on a cluster.


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("topology", ["fat-tree", "rail", "torus", "dragonfly"])
def test_arrays_are_points_and_parts_make_the_whole(operation, topology):
    on = cluster("dgx-h100", gpus=512, topology=topology)
    size = np.geomspace(1e3, 1e11, 9)
    many = collective(on, operation, size)
    for i in (0, 4, 8):
        one = collective(on, operation, size[i])
        assert one.seconds == many.seconds[i] and one.algorithm == many.algorithm[i] == many[i].algorithm
        start, moving = one.tree.parts
        assert start.value + moving.value == approx(one.seconds) and sum(p.value for p in start.parts) == approx(start.value, rel=1e-6)
        join = {"sum": sum, "max": max}[moving.join]
        assert join(p.value for p in moving.parts) == approx(moving.value)
        assert one.bandwidth * one.seconds == approx(size[i])
    assert (np.diff(many.seconds) > 0).all()


@given(st.sampled_from([8, 16, 64, 1024]), sizes)
def test_the_best_is_the_fastest_and_cards_bound_it(ranks, size):
    best = collective(H100, "all-reduce", size, ranks=ranks)
    for algorithm in ("ring", "tree", "double-tree"):
        assert best.seconds <= collective(H100, "all-reduce", size, ranks=ranks, algorithm=algorithm).seconds
    near, far = links(H100, 8, 1).bandwidth, links(H100, 1024, 1).bandwidth * 8
    nodes = ranks // 8
    assert best.seconds >= 2 * (nodes - 1) / nodes * size / far * (1 - 1e-12), "what leaves a node passes its cards"
    assert best.seconds >= 7 / 8 * size / near


@pytest.mark.parametrize("where", [("dgx-h100", 16), ("dgx-a100", 32), ("dgx-b200", 32)], ids=str)
def test_tokens_to_experts_on_several_nodes_take_what_an_all_to_all_takes(where):
    """train() and collective() are two routes to one quantity; messages inside a node do not go through its cards."""
    n, size = where[1], 1e10
    group = links(find_cluster(where), n, 1, pattern="all-to-all")
    assert all_to_all(size, n, group.bandwidth, latency=group.latency) == approx(
        float(collective(where, "all-to-all", size, algorithm="pairwise").seconds), rel=0.01)
    alone = links(find_cluster(where), n, 8, pattern="all-to-all")
    assert alone.bandwidth < group.bandwidth, "one device of each node: all of its peers are outside"


def test_why_goes_from_latency_to_bandwidth_with_the_size():
    small, large = (collective(H100, "all-reduce", s).why() for s in (1e3, 1e11))
    assert small.binding == "scale-out latency" and large.binding == "scale-out bandwidth"
    assert large.elasticities["scale-out bandwidth"] == approx(-1, abs=0.02)
    assert collective(H100, "all-reduce", 1e11, ranks=8).why().binding == "scale-up bandwidth"


def test_switches_that_add_halve_what_the_cards_carry():
    ring, switch = (hierarchical_all_reduce(1e11, 8, 128, 1e13, 4e10, inside="in-switch", algorithm=a) for a in ("ring", "in-switch"))
    assert 1.9 < ring / switch < 2
    plain, helped = (collective(H100, "all-reduce", 1e11, algorithm=a) for a in ("hierarchical", "in-switch"))
    assert plain.why().binding == "scale-out bandwidth" and helped.why().binding == "scale-up bandwidth"
    assert 1.6 < plain.seconds / helped.seconds < 2


def test_oversubscription_slows_all_to_all_but_no_ring_in_order():
    thin = cluster("dgx-h100", gpus=1024, oversubscription=4)
    assert collective(thin, "all-reduce", 1e11).seconds == approx(collective(H100, "all-reduce", 1e11).seconds)
    ratio = collective(thin, "all-to-all", 1e11).seconds / collective(H100, "all-to-all", 1e11).seconds
    assert 3 < ratio < 4, "all but the pairs below one leaf pay"


def test_a_torus_of_devices_has_no_node_boundary():
    pod = cluster("tpu-v4-host", gpus=64, topology="torus")
    gather = collective(pod, "all-gather", 1e10).seconds
    assert gather == approx(63 / 64 * 1e10 / (link_share("ici") * 270e9), rel=1e-3)
    line = collective(cluster("tpu-v4-host", gpus=8, topology="torus"), "all-to-all", 1e10, sides=(8, 1, 1))
    assert line.seconds == approx(8e10 / 4 / (link_share("ici") * 90e9), rel=1e-3), (
        "a quarter of gathering 8e10 over the two links of a line"
    )
    assert grid(64, 3) == [4, 4, 4] and grid(32, 3) == [2, 4, 4] and grid(7, 2) == [1, 7]
    assert network(pod, hosts=64).hops == 6 and torus(8, 1, 1).slowed("ring") == 3, "two of the six links of a device"


def test_cards_beyond_the_fabric_of_the_node_do_not_help_a_ring():
    many = replace(H100, node=replace(H100.node, nics=64))
    assert collective(many, "all-reduce", 1e12, algorithm="ring").bus == approx(links(H100, 8, 1).bandwidth, rel=1e-2)


def test_pairs_across_nodes_and_pairs_inside_start_at_the_same_time():
    start = collective(H100, "all-to-all", 0.0, algorithm="pairwise").seconds
    assert start == approx((1024 - 8) * H100.node.scale_out.latency.value)
    rail = collective(cluster("dgx-h100", gpus=1024, topology="rail"), "all-to-all", 0.0)
    assert rail.algorithm == "hierarchical" and rail.seconds < start / 5, "one message to each node"


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: collective(H100, "all-reduce", -1.0), RangeError, "size: got -1"),
        (lambda: collective(H100, "all-reduce", "1 GB/s"), UnitError, "size"),
        (lambda: collective(H100, "allreduce", 1e9), UnknownName, "did you mean 'all-reduce'"),
        (lambda: collective(H100, "all-reduce", 1e9, algorithm="tre"), UnknownName, "did you mean 'tree'"),
        (lambda: collective(H100, "all-reduce", 1e9, ranks=2000), RangeError, "ranks: got 2000; the cluster has 1024"),
        (lambda: collective(H100, "all-reduce", 1e9, ranks=12), RangeError, "multiple of its 8"),
        (lambda: torus(4, 0), RangeError, r"sides\[1\]: got 0"),
        (lambda: torus(), RangeError, "sides"),
        (lambda: network(cluster("dgx-h100", nodes=16, topology="torus"), sides=(3, 5)), RangeError, "holds 15 nodes; wanted 16"),
        (lambda: fat_tree(64, oversubscription=0.5), RangeError, "oversubscription: got 0.5"),
        (lambda: dragonfly(10**6, radix=16), RangeError, "at most"),
        (lambda: torus(4).bandwidth(1e9, "all"), UnknownName, "pattern"),
        (lambda: all_reduce(1e9, 8, 0.0), RangeError, "bandwidth: got 0"),
        (lambda: all_reduce(1e9, 8.5, 1e9), RangeError, "devices: got 8.5"),
        (lambda: all_reduce(1e9, 8, 1e9, latency=float("nan")), RangeError, "latency: got nan"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
