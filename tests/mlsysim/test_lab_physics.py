"""Lab V1-02: do its hidden cases tell slips apart, and can every student's numbers be judged?"""

import re
from pathlib import Path

import numpy as np
import pytest
from pytest import approx

from mlsysbook import catalogue
from mlsysbook.answers.check import run_case, verdict
from mlsysbook.build.reference import load
from mlsysbook.labs.tracks import TRACKS
from mlsysim import device, model
from tests.labs.lab import run_plain

ROOT = Path(__file__).parents[2]
ASSIGNMENT = catalogue.load(ROOT).find("labs/v1_02_physics")
SEEDS = range(25)


@pytest.fixture(scope="module")
def lab():
    course = catalogue.load(ROOT)
    return load(course, course.find("labs/v1_02_physics"))


def failing(lab, name, function, seed):
    """Behaviours of check `name` that `function` gets wrong, in the order of its hidden cases."""
    cases = lab.hidden_cases(name, np.random.default_rng(seed))
    wants = lab.outcomes(name, cases)
    wrong = [
        c.behaviour
        for c, want in zip(cases, wants, strict=True)
        if verdict(lab.checks[name], c, run_case(function, c), want) is not None
    ]
    return set(wrong)


def behaviours(lab, name):
    return list(dict.fromkeys(c.behaviour for c in lab.hidden_cases(name, np.random.default_rng(0))))


V = 299_792_458 / 1.468
WIRE_SLIPS = {
    "light one way": (lambda d, q, a, u, w: d / V + 8 * q / u + 8 * a / w, {0, 3}),
    "light in vacuum": (lambda d, q, a, u, w: 2 * d / 299_792_458 + 8 * q / u + 8 * a / w, {0, 3}),
    "kilometres": (lambda d, q, a, u, w: 2 * d / 1000 / V + 8 * q / u + 8 * a / w, {0, 3}),
    "bytes over bits": (lambda d, q, a, u, w: 2 * d / V + q / u + a / w, {1, 2, 3}),
    "no answer": (lambda d, q, a, u, w: 2 * d / V + 8 * q / u, {2, 3}),
    "answer on the uplink": (lambda d, q, a, u, w: 2 * d / V + 8 * (q + a) / u, {2, 3}),
    "no sending": (lambda d, q, a, u, w: 2 * d / V, {1, 2, 3}),
    "scalars only": (lambda d, q, a, u, w: float(2 * d / V + 8 * q / u + 8 * a / w), {3}),
    "a constant": (lambda d, q, a, u, w: 0.0147, {0, 1, 2, 3}),
}


@pytest.mark.parametrize("slip", WIRE_SLIPS)
def test_a_slip_on_the_wire_fails_its_own_behaviours(lab, slip):
    function, wanted = WIRE_SLIPS[slip]
    names = behaviours(lab, "round_trip_seconds")
    for seed in SEEDS:
        assert failing(lab, "round_trip_seconds", function, seed) == {names[i] for i in wanted}


def place(s, p, compute=max, wire=True, radio=True, fits=True, late=True, rank=lambda c: (c[2], c[1]), empty=None):
    """The decision written another way, with a switch for each slip."""
    offers = []
    for q in p:
        busy = compute(s["flop"] / q["peak"], s["traffic"] / q["bandwidth"])
        up, down = 8 * s["request"] / q["uplink"], 8 * s["response"] / q["downlink"]
        away = q["distance"] > 0
        time = busy + (2 * q["distance"] / V + up + down if away and wire else 0)
        energy = q["compute_watts"] * busy + (q["radio_watts"] * up if away and radio else 0)
        if (s["weights"] <= q["memory"] or not fits) and (time <= s["deadline"] or not late):
            offers.append((q["name"], time, energy))
    return min(offers, key=rank) if offers else empty


# behaviours: 0 the slower decides, 1 the battery decides, 2 weights fit, 3 the wire, 4 none
PLACE_SLIPS = {
    "none": ({}, set()),
    "arithmetic only": ({"compute": lambda a, b: a}, {0, 2}),
    "traffic only": ({"compute": lambda a, b: b}, {0, 3}),
    "added up": ({"compute": lambda a, b: a + b}, {0, 1, 2, 3}),
    "fastest wins": ({"rank": lambda c: c[1]}, {1}),
    "memory ignored": ({"fits": False}, {2, 4}),
    "wire ignored": ({"wire": False}, {3}),
    "radio ignored": ({"radio": False}, {3}),
    "deadline ignored": ({"late": False}, {3, 4}),
    "no offer is an empty tuple": ({"empty": ()}, {4}),
}


@pytest.mark.parametrize("slip", PLACE_SLIPS)
def test_a_slip_in_the_decision_fails_its_own_behaviours(lab, slip):
    switches, wanted = PLACE_SLIPS[slip]
    names = behaviours(lab, "best_place")
    assert len(names) == 5
    for seed in SEEDS:
        wrong = failing(lab, "best_place", lambda s, p: place(s, p, **switches), seed)
        assert {names[i] for i in wanted} <= wrong and (wanted or not wrong), seed


def test_ties_go_to_the_faster_and_a_greedy_first_offer_fails(lab):
    names = behaviours(lab, "best_place")
    for seed in SEEDS:
        assert failing(lab, "best_place", lambda s, p: place(s, p, rank=lambda c: c[2]), seed) == {names[1]}
        assert names[0] in failing(lab, "best_place", lambda s, p: (p[0]["name"], 1.0, 1.0), seed)


@pytest.mark.parametrize("name", ["round_trip_seconds", "best_place"])
def test_remembering_the_worked_examples_earns_nothing(lab, name):
    spec = lab.checks[name]
    known = {repr(run_case(lambda *a, **k: [a, k], c)["out"]): lab.outcomes(name, [c])[0] for c in spec.cases}
    assert len(known) == len(spec.cases)
    core = behaviours(lab, name)[0]
    for seed in SEEDS:
        cases = [c for c in lab.hidden_cases(name, np.random.default_rng(seed)) if c.behaviour == core]
        assert not any(repr(run_case(lambda *a, **k: [a, k], c)["out"]) in known for c in cases)


def test_the_pool_is_large_and_within_reach(lab):
    for track in TRACKS:
        mine = [v for v in lab.pool if v["track"] == track]
        assert len(mine) >= 24 and len({(v["distance"], v["request"], v["uplink"]) for v in mine}) >= 10
        assert {lab.ruling("place", v).binding for v in mine} == set(lab.options("place"))
        for v in mine:
            assert 0.01 < lab.key("round_trip", v).value < 0.5 and 1 < lab.key("decode_rate", v).value < 1000


SCALE = {"B": 1, "kB": 1e3, "MB": 1e6, "km": 1e3, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}


def si(text):
    """A text of the lab in metres, bytes or bits a second, read without MLSys·im."""
    number, unit = text.split()
    return float(number.replace(",", "")) * SCALE[unit]


CARDS = {"cloud": 3.35e12, "edge": 3.35e12, "mobile": 864e9, "tiny": 300e9}  # B/s of H100, L40S and L4: datasheets


def test_keys_agree_with_the_formulas_written_out(lab):
    for v in lab.pool:
        light = 2 * si(v["distance"]) / V
        sending = 8 * si(v["request"]) / si(v["uplink"]) + 8 * si(v["response"]) / si(v["downlink"])
        assert lab.key("round_trip", v).value == approx(light + sending)
        m = model(v["model"])
        read = m.params * v["weight_bits"] / 8 + 4 * m.layers * m.kv_heads * m.head_dim * v["context"]
        rate = device(v["device"]).bandwidth.value / read
        assert lab.key("decode_rate", v).value == approx(rate)
        assert read < device(v["device"]).memory.value
        writing = v["answer_tokens"] * read / CARDS[v["track"]]
        assert lab.key("far_answer", v).value == approx(light + sending + writing)
        terms = {"light": light, "sending": sending, "memory at the far end": writing}
        near = v["answer_tokens"] / rate < sum(terms.values())
        assert lab.ruling("place", v).binding == ("memory of the device" if near else max(terms, key=terms.get))


def test_a_wrong_round_trip_is_carried_into_the_whole_answer(lab):
    for v in lab.pool[::7]:
        right, trip = lab.key("far_answer", v).value, lab.key("round_trip", v)
        slip = trip.mistakes[0].value
        assert lab.key("far_answer", v, {"round_trip": slip}).value == approx(right - trip.value + slip)


def seconds(flop, traffic, rate, bandwidth):
    return max(flop / rate, traffic / bandwidth)


def through(kilometres, sent, back, up, down):
    return 2e3 * kilometres / V + 8 * sent / up + 8 * back / down


# ResNet-50 has 11.1 million activations: He et al. 2015, table 1, counted. Rates and bandwidths: datasheets.
WORK = 8.18e9, 2 * (25_557_032 + 2 * 11.1e6)
BOARD = seconds(*WORK, 10e12, 68e9)
FAR = through(1500, 150_528, 100, 20e6, 100e6) + seconds(*WORK, 989e12, 3.35e12)
# Of the others only work and pictures are needed: arithmetic decides on the spot, or (mobile) the wire is all but the whole time.
CLAIM = 64 * 123e9  # FLOP, ViT-L/16
SPEEDUP = {
    "cloud": CLAIM / 121e12 / (through(1500, 64 * 150_528, 2e3, 10e9, 10e9) + CLAIM / 989e12),
    "edge": BOARD / FAR,
    "mobile": 66.7e6 / 51.2e9 / through(600, 3 * 640**2, 2e3, 25e6, 150e6),
    "tiny": 25e6 / 256e6 / through(600, 3 * 32**2, 20, 1e6, 1e6),
}


@pytest.mark.parametrize("track", TRACKS)
def test_the_bet_worked_out_without_the_library(lab, track):
    """The card has 8 to 900,000 times the arithmetic, and on every track the wire decides by how much it wins or loses."""
    assert lab.key("cloud_speedup", {"track": track}).value == approx(SPEEDUP[track], rel=0.02)


def test_places_tell_different_stories():
    assert SPEEDUP["mobile"] < 0.01 < SPEEDUP["edge"] < 0.05 and 1.5 < SPEEDUP["cloud"] < SPEEDUP["tiny"] < 5
    assert BOARD / FAR == approx(1 / 53, rel=0.02)


@pytest.mark.parametrize("track", TRACKS)
def test_the_whole_lab_runs_as_plain_python_and_says_who_is_first(tmp_path, track):
    out = run_plain(ASSIGNMENT, tmp_path / "work", "ada", track)
    shown = ("3 of 3", "4 of 4", "round_trip: recorded", "decode_rate: recorded", "far_answer: recorded", "place: recorded")
    assert all(text in out for text in (*shown, "inside your interval", "IDLE {'wire_panel': []}"))
    assert float(re.search(r"; it is ([\d.]+)\. ", out)[1]) == approx(SPEEDUP[track], rel=0.02)
    first = "the remote one" if SPEEDUP[track] > 1 else "the board"
    assert re.search(rf"^At kilometres .*: {first} is first\.$", out, re.M)


def test_figure_and_panel_say_the_numbers_of_the_edge_track(tmp_path):
    out = run_plain(ASSIGNMENT, tmp_path / "work", "ada", "edge")
    assert "Figure: time from question to answer" in out
    assert float(re.search(r"it is (0\.\d+)", out)[1]) == approx(BOARD / FAR, rel=5e-3)
    # as far as light in fibre comes, there and back, while the board computes
    km = BOARD * V / 2e3
    assert float(re.search(r"the board's time at ([\d.]+) km", out)[1]) == approx(km, rel=5e-3)
    shown = re.search(r"At kilometres 1,500, link 20 Mbit/s, remote h100: the remote answer takes ([\d.]+) ms.*board is first", out)
    assert float(shown[1]) / 1e3 == approx(FAR + 8 * 100 / 20e6 - 8 * 100 / 100e6, rel=0.01)
