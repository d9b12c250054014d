"""Lab V1-00: keys agree with formulas written out, slips are told apart, and the small network is never the quick one."""

import pytest
from pytest import approx

from mlsysbook.labs.tracks import TRACKS, lot
from mlsysim import device, model
from tests.labs.lab import MLSYS, failing, reference, run_plain

BITS = {8: "int8", 16: "fp16", 32: "fp32"}


@pytest.fixture(scope="module")
def lab():
    return reference("labs/v1_00_portal")


def parts(network, hardware, bits, batch=1, *, share=True):
    """Arithmetic and memory traffic in seconds, written out."""
    net, d, width = model(network), device(hardware), bits / 8
    read = width * (net.params + 2 * batch * net.activations) if share else batch * width * (net.params + 2 * net.activations)
    return batch * net.flop / d.rate(BITS[bits]), read / d.bandwidth.value


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        net, d = model(v["network"]), device(v["device"])
        compute, memory = parts(v["network"], v["device"], v["bits"], v["batch"])
        assert lab.key("weights", v).value == approx(net.params * v["bits"] / 8)
        assert lab.key("seconds", v).value == approx(max(compute, memory))
        assert lab.key("intensity", v).value == approx(v["batch"] * net.flop / (memory * d.bandwidth.value))
        kept, alive = (v["bits"] / 8 * x for x in (net.params, v["batch"] * net.live))
        room = kept + alive <= d.memory.value if d.flash is None else kept <= d.flash.value and alive <= d.memory.value
        assert lab.ruling("first", v).binding == ("capacity" if not room else "arithmetic" if compute > memory else "memory traffic")


@pytest.mark.parametrize("track", TRACKS)
def test_the_small_network_has_half_the_weights_or_less_and_is_slower(lab, track):
    small, large, where, bits = {
        "cloud": ("efficientnet-b4", "vit-b-32", "l4", 16), "edge": ("efficientnet-b0", "resnet-18", "jetson-orin-nano", 16),
        "mobile": ("yolo-v8n", "resnet-18", "iphone-15-pro", 16), "tiny": ("ds-cnn", "autoencoder", "stm32f746", 8)}[track]
    assert 2 * model(small).params < model(large).params
    ratio = max(parts(small, where, bits)) / max(parts(large, where, bits))
    assert lab.key("small_over_large", {"track": track}).value == approx(ratio) and ratio > 1.1


def fitting(networks, hardware, bits, batch=1, *, flash=True, together=True, alive=True, order=None):
    d, width, found = device(hardware), bits / 8, []
    for name in networks:
        kept, live = width * model(name).params, width * batch * model(name).live * alive
        split = d.flash is not None and flash
        fits = kept <= d.flash.value and live <= d.memory.value if split else (
            kept + live <= d.memory.value if together else max(kept, live) <= d.memory.value)
        found += [name] if fits else []
    return sorted(found, key=order or (lambda n: max(parts(n, hardware, bits, batch))))


def as_float(x):
    return lambda *a: float(x(*a))


SLIPS = [
    ("pass_seconds", "none", as_float(lambda *a: max(parts(*a))), set()),
    ("pass_seconds", "both added", as_float(lambda *a: sum(parts(*a))), {0, 1, 2}),
    ("pass_seconds", "the quicker", as_float(lambda *a: min(parts(*a))), {0, 1, 2}),
    ("pass_seconds", "arithmetic alone", as_float(lambda *a: parts(*a)[0]), {0}),
    ("pass_seconds", "traffic alone", as_float(lambda *a: parts(*a)[1]), {0, 1}),
    ("pass_seconds", "weights read for each", as_float(lambda *a: max(parts(*a, share=False))), {1}),
    ("pass_seconds", "always 16 bits", as_float(lambda n, h, b, k=1: max(parts(n, h, 16 if b != 8 or h[0] != "s" else 8, k))), {2}),
    ("pass_seconds", "no error", as_float(lambda n, h, b, k=1: max(parts(n, h, b, k)) if BITS[b] in device(h).peak else 1.0), {3}),
    ("fitting", "none", fitting, set()),
    ("fitting", "flash ignored", lambda *a: fitting(*a, flash=False), {0}),
    ("fitting", "activations ignored", lambda *a: fitting(*a, alive=False), {2}),
    ("fitting", "each alone fits", lambda *a: fitting(*a, together=False), {2}),
    ("fitting", "as they came", lambda n, *a: [x for x in n if x in fitting(n, *a)], {1}),
    ("fitting", "the smallest first", lambda *a: fitting(*a, order=lambda n: model(n).params), {0, 1}),
    ("fitting", "the slowest first", lambda *a: fitting(*a)[::-1], {0, 1}),
    ("fitting", "all of them", lambda n, *a: fitting(n, "h100", 16), {0, 2, 3}),
]


@pytest.mark.parametrize(("name", "slip", "function", "wanted"), SLIPS, ids=lambda x: x if isinstance(x, str) else None)
def test_a_slip_fails_its_own_behaviours(lab, name, slip, function, wanted):
    for seed in range(6):
        wrong = failing(lab, name, function, seed)
        assert wanted <= wrong and (wanted or not wrong), (seed, wrong)


def test_each_track_has_variants_with_each_limit(lab):
    for track in TRACKS:
        found = {lab.ruling("first", v).binding for v in lab.pool if v["track"] == track}
        assert found == {"arithmetic", "memory traffic", "capacity"}


def test_a_choice_made_in_the_portal_is_the_track_there_and_in_the_next_lab(tmp_path):
    track = next(t for t in TRACKS if t != lot(MLSYS.id, "ada", TRACKS))
    portal = tmp_path / "portal"
    out = run_plain(MLSYS.find("labs/v1_00_portal"), portal, "ada", None, change=lambda s: s.replace(f'# choose(\\"{track}', f'choose(\\"{track}'))
    assert f"track: {track}, in every lab" in out and f"Your track: {track}." in out
    out = run_plain(MLSYS.find("labs/v1_08_training_gauntlet"), tmp_path / "next", "ada", None, data=portal / "data")
    assert f"Your track: {track}." in out
