"""Front end and novelty, the host's part: clusters are found, mistakes are named, headers say what the arrays are."""

import numpy as np
import pytest

from boardkit import dsp, kmeans
from boardkit.errors import KitError
from boardkit.quantize import Scale


def test_clusters_that_are_far_apart_are_found(rng):
    middles = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    x = np.concatenate([m + rng.normal(size=(50, 2)) for m in middles])
    centres = kmeans.fit(x, 4)
    found = {tuple(np.rint(c / 10).astype(int)) for c in centres}
    assert found == {(0, 0), (1, 0), (0, 1), (1, 1)} and np.array_equal(centres, kmeans.fit(x, 4))
    assert len(kmeans.fit(np.ones((5, 2)), 3)) == 3, "equal samples make equal centres"


def test_what_was_never_heard_is_far_from_all_centres():
    """A machine's faults by their distance to centres of the normal alone, in int8, through the mel bands."""
    from boardkit.data import vibrations

    s = vibrations(240, 1)
    front = dsp.LogMel(rate=3200, size=256, hop=128, bands=16, low=10, high=1600)
    logs = front(np.rint(s.x * 3000).clip(-32768, 32767).astype(np.int16)).mean(axis=1)
    offset, scale = 6500, Scale(16.0)
    x = front.features(np.rint(logs).astype(int), scale, offset)
    normal = x[s.y == 0]
    centres = np.clip(np.rint(kmeans.fit(normal[:40], 4)), -128, 127).astype(np.int8)
    limit = kmeans.nearest(normal[:40], centres)[1].max()
    distances = kmeans.nearest(x, centres)[1]
    assert (distances[s.y == 0] > 1.5 * limit).mean() < 0.2
    assert [(distances[s.y == k] > 1.5 * limit).mean() > 0.8 for k in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: dsp.LogMel(size=500), "power of two"),
        (lambda: dsp.LogMel(high=9000), "rate / 2"),
        (lambda: dsp.fft(np.zeros(8), np.zeros(8)), "got float64; wanted int16"),
        (lambda: dsp.fft(np.zeros(6, np.int16), np.zeros(6, np.int16)), "size 6"),
        (lambda: dsp.LogMel()(np.zeros(100, np.int16)), "at least one frame of 512"),
        (lambda: dsp.log2(-1), "negative"),
        (lambda: kmeans.fit(np.zeros((3, 2)), 4), "N >= k"),
        (lambda: kmeans.nearest(np.zeros((3, 2)), np.zeros((1, 2), np.int8)), "wanted int8"),
    ],
)
def test_bad_input_is_refused_with_what_was_wanted(call, says):
    with pytest.raises(KitError, match=says):
        call()


def test_bands_cover_the_range_and_headers_are_a_function_of_the_front_end():
    front = dsp.LogMel()
    first, count, weights = front.filters
    assert len(first) == 40 and count.sum() == len(weights) and (np.diff(first.astype(int)) >= 0).all() and weights.max() <= 4096
    assert front.header() == dsp.LogMel().header() and "#define FRONT_BANDS 40" in front.header()
    assert "KMEANS_K 2" in kmeans.header(np.zeros((2, 3), np.int8))
