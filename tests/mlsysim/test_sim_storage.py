"""Data pipelines: bounds by hand, a pipeline simulated sample by sample, and limits that must agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mlsysim import solve
from mlsysim.errors import RangeError, UnitError, UnknownName
from mlsysim.storage import checkpoint, feed, staging
from mlsysim.systems import storage_tier

positive = st.floats(1e-5, 1.0)


def simulated(times, lanes, n=20_000, depth=64):
    """Seconds a sample of a line of stages with so many lanes each and room for `depth` samples between two of them."""
    ends = np.zeros((len(times), n))
    for i in range(n):
        ready = 0.0
        for s, (t, c) in enumerate(zip(times, lanes, strict=True)):
            start = max(ready, ends[s, i - c] if i >= c else 0.0)
            if s + 1 < len(times) and i >= depth:
                start = max(start, ends[s + 1, i - depth])  # no room ahead
            ready = ends[s, i] = start + t
    return (ends[-1, -1] - ends[-1, n // 2]) / (n - 1 - n // 2)


@given(st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=2), st.integers(1, 6))
def test_a_line_of_stages_gives_what_its_slowest_gives(times, workers):
    decode, accelerate = times
    f = feed("100 kB", 1 / accelerate, storage="nvme-gen4", readers=8, decode=decode, workers=workers)
    tier = storage_tier("nvme-gen4")
    one = tier.latency.value + 1e5 / tier.read.value
    assert f.seconds == approx(simulated([one, decode, accelerate], [8, workers, 1], 3000), rel=0.01)


def test_small_reads_of_a_disk_are_bound_by_its_seeks_and_large_ones_by_its_rate():
    disk = storage_tier("hdd")
    assert feed("110 kB", 1e9, storage="hdd", readers=64).rate == approx(disk.iops.value)
    assert feed("110 kB", 1e9, storage="hdd", readers=64, request="64 MB").rate == approx(disk.read.value / 110e3, rel=0.06)
    assert feed("110 kB", 1e9, storage="hdd").rate == approx(1 / (disk.latency.value + 110e3 / disk.read.value))


def test_connections_of_an_object_store_add_up():
    one, many = feed("1 MB", 1e9, storage="object-store", readers=[1, 100]).rate
    assert many == approx(100 * one)
    assert one == approx(1 / (0.1 + 1e6 / 85e6))


def test_resnet_on_a_fast_card_waits_for_slow_disks_and_says_so():
    card = solve("resnet-50", "a100", batch=256)
    f = feed("110 kB", card, storage="hdd", readers=64, request="64 MB", decode="7 ms", workers=64, batch=256)
    assert str(f.binding) == "storage" and f.stall == approx(1 - f.rate / card.rate)
    assert f.why().binding == "storage" and f.why().elasticities["storage"] == approx(-1, abs=1e-3)
    fast = feed("110 kB", card, storage="nvme-gen5", readers=64, decode="7 ms", workers=64, batch=256)
    assert str(fast.binding) in ("decode", "accelerator") and fast.stall < f.stall


@given(st.floats(0, 0.99), positive)
def test_what_the_cache_holds_is_not_read_from_storage(hit, decode):
    cold, warm = feed(1e6, 1e9, storage="sata-ssd", hit=[0.0, hit], decode=decode, workers=1000)
    assert warm.traffic == approx(1e6 * (1 - hit)) and warm.rate >= cold.rate
    free = feed(1e6, 1e9, storage="sata-ssd", hit=hit)
    assert free.rate == approx(min(feed(1e6, 1e9, storage="sata-ssd").rate / (1 - hit), 1e9), rel=1e-9)


@given(st.floats(10, 1e4), st.integers(1, 256), st.floats(0, 10))
def test_reading_ahead_covers_what_is_under_way_by_littles_law(rate, batch, jitter):
    f = feed(1e5, rate, storage="nvme-gen4", readers=256, decode=0.01, workers=200, batch=batch, jitter=jitter)
    held = f.depth * batch
    assert held >= f.rate * (0.01 + jitter) and held <= f.rate * (0.02 + jitter) + 2 * batch
    assert f.memory == approx(held * 1e5)


@given(positive, positive, st.floats(1.01, 5))
def test_a_faster_stage_never_slows_the_line(decode, accelerate, factor):
    slow, fast = feed(1e5, 1 / accelerate, decode=[decode, decode / factor])
    assert fast.rate >= slow.rate and 0 <= fast.stall <= slow.stall < 1


def test_staging_pays_from_the_epoch_where_both_ways_are_equal():
    s = staging("1 TB", np.arange(1, 40), remote="200 MB/s", local="nvme-gen4")
    assert s.break_even[0] == approx((1e12 / 200e6) / (1e12 / 200e6 - 1e12 / 6.9e9))
    assert ((s.staged < s.streamed) == (np.arange(1, 40) > s.break_even)).all()
    assert staging("1 TB", 5, remote="200 MB/s", local="nvme-gen4", compute="2 h").break_even == np.inf  # computing hides it all
    assert s[3].tree.value == s[3].seconds


def test_a_checkpoint_takes_the_narrower_of_storage_and_ranks():
    tier = storage_tier("parallel-fs")
    c = checkpoint("5 TB", storage=tier, writers=[8, 10_000], each="1 GB/s")
    assert c.seconds == approx([tier.latency.value + 5e12 / 8e9, tier.latency.value + 5e12 / tier.write.value])
    assert c.restore[1] == approx(tier.latency.value + 5e12 / tier.read.value)
    near = checkpoint("5 TB", storage=None, writers=64, each="nvme-gen4")
    assert near.seconds == approx(5e12 / (64 * 4.1e9)) and near.why().elasticities["bandwidth"] == approx(-1)


def test_arrays_and_points_agree():
    sizes = np.array([1e4, 1e5, 1e6])
    many = feed(sizes, 5000, storage="sata-ssd", readers=4, decode=1e-3, workers=[[1], [16]])
    assert many.shape == (2, 3)
    for i, workers in enumerate((1, 16)):
        for j, size in enumerate(sizes):
            one = feed(size, 5000, storage="sata-ssd", readers=4, decode=1e-3, workers=workers)
            assert many[i, j].rate == one.rate and many.binding[i, j] == one.binding and many[i, j].tree.value == one.seconds


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: feed(-1, 100), RangeError, "sample: got -1"),
        (lambda: feed("1 MB/s", 100), UnitError, "sample"),
        (lambda: feed("1 MB", 0), RangeError, "accelerator: got 0"),
        (lambda: feed("1 MB", 1, hit=1.5), RangeError, "hit: got 1.5"),
        (lambda: feed("1 MB", 1, readers=0), RangeError, "readers: got 0"),
        (lambda: feed("1 MB", 1, storage="nvme"), UnknownName, "nvme-gen"),
        (lambda: staging("1 TB", 0, remote=1e9, local=1e9), RangeError, "epochs: got 0"),
        (lambda: staging("1 TB", 1, remote=1e9, local="nvm-gen4"), UnknownName, "nvme-gen4"),
        (lambda: checkpoint("1 TB", storage=None), RangeError, "each="),
        (lambda: checkpoint("1 TB", writers=0.5), RangeError, "writers"),
    ],
)
def test_bad_input_is_refused_with_the_field(call, error, says):
    with pytest.raises(error, match=says):
        call()
