"""Links, machines, clusters, storage, places and prices: sources, arithmetic, and what is refused."""

import math
import re
from itertools import pairwise

import pytest
from pytest import approx

from mlsysim import cluster, device, fabric, node, price, site, storage_tier, units
from mlsysim.constants import KINDS, Figure
from mlsysim.errors import RangeError, SimError, UnitError, UnknownName
from mlsysim.systems import FABRICS, NODES, PRICES, SITES, STORAGE, Fabric, Price, Site
from mlsysim.tables import Registry

REGISTRIES = (FABRICS, NODES, STORAGE, SITES, PRICES)
RECORDS = [pytest.param(r, name, id=f"{r.kind}-{name}") for r in REGISTRIES for name in r]
USD = ("USD/s", "USD/J", "USD")


@pytest.mark.parametrize("registry, name", RECORDS)
def test_every_figure_has_value_source_url_date_and_kind(registry, name):
    record, found = registry[name], 0
    for key, unit in registry.units.items():
        f = getattr(record, key)
        if f is None:
            continue
        found += 1
        assert isinstance(f, Figure) and math.isfinite(f.value) and f.value > 0, key
        value, kind = units.parse(f.text)
        assert value == approx(f.value, rel=1e-4) and kind in (USD if unit is None else [units.parse(f"1 {unit}")[1]])
        assert len(f.source) > 10 and f.kind in KINDS and f.url.startswith("https://"), f
        assert re.fullmatch(r"(19|20)[0-9]{2}(-[01][0-9])?", f.date) and int(f.date[:4]) <= 2026, f
        if f.kind == "estimate":
            assert 0 < f.uncertainty <= 0.6 and f.note, f
    assert found >= (0 if registry is NODES else 1) and record.name == name and record.title
    assert registry.find(name.upper().replace("-", " ")) is record and registry.find(record) is record


def test_there_is_enough_to_choose_from():
    assert len(FABRICS) >= 14 and len(NODES) >= 8 and len(STORAGE) >= 7 and len(PRICES) >= 12
    kinds = [s.kind for s in SITES.values()]
    assert kinds.count("grid") >= 12 and kinds.count("operator") >= 4 and kinds.count("average") == 1
    for r in REGISTRIES:
        assert len({x.title for x in r.values()}) == len(r), r.kind


@pytest.mark.parametrize("f", FABRICS.values(), ids=lambda f: f.name)
def test_both_directions_are_twice_one(f):
    assert f.bidirectional.value == approx(2 * f.per_direction.value, rel=1e-9) and 1e-7 < f.latency.value < 1e-3
    assert 1e8 < f.per_direction.value < 1e13


# what one device sends, in GB/s, by hand: lanes x gigabits a lane / 8, or links x rate of one
@pytest.mark.parametrize(
    "name, by_hand",
    [
        ("nvlink-1", 4 * 20), ("nvlink-2", 6 * 25), ("nvlink-3", 12 * 25), ("nvlink-4", 18 * 25), ("nvlink-5", 18 * 50),
        ("pcie-3-x16", 16 * 8 / 8 * 128 / 130), ("pcie-4-x16", 16 * 16 / 8 * 128 / 130),
        ("pcie-5-x16", 16 * 32 / 8 * 128 / 130), ("pcie-3-x4", 4 * 8 / 8 * 128 / 130), ("pcie-6-x16", 16 * 64 / 8),
        ("infiniband-hdr", 4 * 50 / 8), ("infiniband-ndr", 4 * 100 / 8), ("infiniband-xdr", 4 * 200 / 8),
        ("ethernet-400g", 50), ("roce-400g", 50), ("infinity-fabric-3", 7 * 64), ("infinity-fabric-4", 7 * 76.8),
        ("tpu-ici-v4", 6 * 45), ("tpu-ici-v5e", 4 * 50), ("tpu-ici-v5p", 6 * 100), ("gaudi2-roce", 24 * 100 / 8),
    ],
)  # fmt: skip
def test_rates_by_hand(name, by_hand):
    assert fabric(name).per_direction.value / 1e9 == approx(by_hand, rel=0.01)


@pytest.mark.parametrize(
    "line",
    [
        ["nvlink-1", "nvlink-2", "nvlink-3", "nvlink-4", "nvlink-5"],
        ["pcie-3-x16", "pcie-4-x16", "pcie-5-x16", "pcie-6-x16"],
        ["infiniband-edr", "infiniband-hdr", "infiniband-ndr", "infiniband-xdr"],
        ["infinity-fabric-2", "infinity-fabric-3", "infinity-fabric-4"],
        ["neuronlink-2", "neuronlink-3", "neuronlink-4"],
    ],
    ids=lambda line: line[0],
)
def test_a_newer_link_is_faster(line):
    for old, new in pairwise(map(fabric, line)):
        assert old.year < new.year and old.per_direction.value < new.per_direction.value


@pytest.mark.parametrize("n", NODES.values(), ids=lambda n: n.name)
def test_a_node_is_of_one_piece(n):
    assert n.scale_up.name == n.device.link, "the devices are joined by the link that they have"
    assert n.scale_up.per_direction.value >= n.scale_out.per_direction.value
    assert n.scale_out_rate == n.nics * n.scale_out.per_direction.value
    assert n.memory == n.count * n.device.memory.value
    assert n.rate("fp16" if "fp16" in n.device.peak else "bf16") > 0
    assert n.year >= n.device.year
    if n.power:
        devices = n.count * n.device.power.value
        assert n.power.value == approx(devices + n.host_power.value, rel=1e-9) and 0.2 < devices / n.power.value < 0.9
        assert n.host_power.kind == "estimate"


def test_a_node_by_hand():
    n = node("DGX H100")
    assert (n.count, n.device.name, n.nics) == (8, "h100", 8) and n.memory == 640e9
    assert n.rate("fp16") == approx(8 * 989e12) and n.scale_out_rate == 400e9 and n.host_power.value == approx(4600)


def test_a_cluster_by_hand():
    c = cluster("dgx-h100", gpus=1024)
    assert (c.nodes, c.devices, c.device.name, c.topology, c.oversubscription) == (128, 1024, "h100", "fat-tree", 1)
    assert c.rate("fp16") == approx(1024 * 989e12) and c.memory == 1024 * 80e9
    same = cluster(node("dgx-h100"), nodes=128, topology="rail", oversubscription="2")
    assert same.devices == 1024 and same.topology == "rail" and same.oversubscription == 2


@pytest.mark.parametrize(
    "args, error, words",
    [
        ({"gpus": 1020}, RangeError, "gpus: got 1020; NVIDIA DGX H100 has 8, so the nearest are 1016 or 1024"),
        ({"gpus": 3}, RangeError, "gpus: got 3; .* nearest are 8"),
        ({"gpus": 0}, RangeError, "gpus: got 0"),
        ({"gpus": 12.5}, RangeError, "gpus: got 12.5"),
        ({"nodes": -1}, RangeError, "nodes: got -1"),
        ({"nodes": math.nan}, RangeError, "nodes: got nan"),
        ({}, RangeError, "neither"),
        ({"gpus": 8, "nodes": 1}, RangeError, "both"),
        ({"nodes": 4, "topology": "fat tree"}, UnknownName, "did you mean 'fat-tree'"),
        ({"nodes": 4, "oversubscription": 0.5}, RangeError, "oversubscription: got 0.5"),
        ({"nodes": "4 GB"}, UnitError, "nodes"),
    ],
)
def test_a_bad_cluster_is_refused(args, error, words):
    with pytest.raises(error, match=words):
        cluster("dgx-h100", **args)


@pytest.mark.parametrize(
    "find, asked, near",
    [
        (fabric, "nvlink4", "nvlink-4"),
        (node, "dgx-h10", "dgx-h100"),
        (storage_tier, "nvme-gen6", "nvme-gen"),
        (site, "swedn", "sweden"),
        (price, "aws-p55", "aws-p5"),
    ],
)
def test_an_unknown_name_points_at_the_nearest(find, asked, near):
    with pytest.raises(UnknownName, match=f"did you mean '{near}"):
        find(asked)


def test_storage_by_hand():
    assert storage_tier("nvme-gen4").read.value == 6.9e9 and storage_tier("hdd").capacity.value == 20e12
    assert storage_tier("object-store").price.value * 1e9 * 730 * 3600 == approx(0.023)
    rates = [storage_tier(n).read.value for n in ("microsd", "hdd", "sata-ssd", "nvme-gen3", "nvme-gen4", "nvme-gen5")]
    assert rates == sorted(rates)
    for t in STORAGE.values():
        assert t.write.value <= t.read.value and (t.latency is None or 1e-5 < t.latency.value < 1)
        if t.iops and t.latency:
            assert t.iops.value * t.latency.value >= 0.9, f"{t.name}: one request at a time does more than its iops"


def test_sites_by_hand():
    grams = {name: s.carbon.value * 3.6e6 for name, s in SITES.items() if s.kind == "grid"}
    assert grams["sweden"] == approx(40.7) and grams["france"] == approx(56) and grams["poland"] == approx(662)
    assert all(10 < g < 900 for g in grams.values()) and min(grams, key=grams.get) == "norway"
    assert max(grams, key=grams.get) == "india"
    operators = {name: s for name, s in SITES.items() if s.kind == "operator"}
    assert all(1.05 < s.pue.value < 1.3 for s in operators.values()) and site("world").pue.value == 1.56
    assert all(s.pue.value < site("world").pue.value for s in operators.values())
    assert all(s.pue.value >= 1 for s in SITES.values())
    assert site("aws").wue.value * 1e3 * 3.6e6 == approx(0.15), "m3/J, so a litre a kWh is 1 / 3.6e9"


def test_what_is_not_known_of_a_place_is_the_average_and_says_so():
    france, google, world = site("france"), site("google"), site("world")
    assert france.pue.value == world.pue.value and google.carbon.value == world.carbon.value
    assert france.pue.kind == google.carbon.kind == "estimate" and world.pue.kind == "datasheet"
    both = site("google", grid="france")
    assert (both.pue, both.carbon, both.kind) == (google.pue, france.carbon, "operator") and both.name == "google-france"
    assert site(both) is both and isinstance(both, Site)


def test_an_operator_has_no_grid_to_give():
    with pytest.raises(SimError, match="grid: .*'google'.*operator"):
        site("aws", grid="google")


def test_prices_by_hand():
    p = price("aws-p5")
    assert p.each * 3600 == approx(55.04 / 8) and p.device == "h100" and p.count == 8
    assert price("electricity-us").each * 3.6e6 == approx(0.0806) and price("gaudi3-kit").each == 125000 / 8
    for p in PRICES.values():
        assert p.device is None or device(p.device)
        hourly = p.each * 3600
        assert p.per != "hour" or 0.3 < hourly < 20, p.name
        assert p.per != "unit" or 1e3 < p.each < 1e5, p.name
        assert p.per != "kWh" or 0.02 < p.each * 3.6e6 < 0.5, p.name
    assert price("aws-p5-block").each < price("aws-p5").each < price("aws-p6-b200").each


SOURCE = '[sources.a]\ntitle = "A document"\ndate = "2024"\nurl = "https://example.org/"\n'


@pytest.mark.parametrize(
    "registry, record, words",
    [
        (PRICES, 'title = "X"\nper = "hour"\nusd = ["3 USD", "a"]', r"x.toml: \[x\]: usd: 3 USD is not per hour"),
        (PRICES, 'title = "X"\nper = "week"\nusd = ["3 USD", "a"]', r"x.toml: \[x\]: unknown per 'week'"),
        (PRICES, 'title = "X"\nper = "unit"\nusd = ["3 USD", "a"]\ndevice = "h10"', r"x.toml: \[x\]: unknown device 'h10'"),
        (SITES, 'title = "X"\nkind = "town"\npue = ["1.1", "a"]', r"x.toml: \[x\]: unknown kind 'town'"),
        (FABRICS, 'title = "X"\nkind = "nvlink"\nyear = 2020', r"x.toml: \[x\] lacks per_direction, bidirectional, latency"),
        (FABRICS, 'title = "X"\nkind = "string"', r"x.toml: \[x\]: unknown kind 'string'"),
        (NODES, 'title = "X"\ndevice = "h100"\nscale_up = "nvlnk-4"\nscale_out = "pcie-5-x16"', r"\[x\]: unknown fabric 'nvlnk-4'"),
        (NODES, 'title = "X"\ndevice = "h100"', r"x.toml: \[x\] lacks scale_up"),
        (STORAGE, 'title = "X"\nread = ["1 GB", "a"]', r"x.toml: \[x\] read: .*B/s"),
    ],
)  # fmt: skip
def test_a_bad_table_names_file_record_and_field(tmp_path, registry, record, words):
    path = tmp_path / "x.toml"
    path.write_text(f"{SOURCE}[x]\n{record}\n", encoding="utf-8")
    with pytest.raises(SimError, match=words):
        Registry(registry.kind, registry.cls, registry.units, str(path), finish=registry.finish)["x"]


def test_records_of_ones_own_pass():
    rate = Figure(1e9, "GB/s", "mine", "2026")
    f = Fabric(name="mine", title="Mine", kind="pcie", year=2026, per_direction=rate, bidirectional=rate, latency=rate)
    assert fabric(f) is f and price(Price(name="p", title="P", per="unit", usd=Figure(2.0, "USD", "mine", "2026"))).each == 2
    assert node(node("dgx-h100")) is node("dgx-h100")
