"""Does input that no system can mean give one line with the field, the value, the unit or range, and the nearest name?

The first list is what PyPI's mlsysim 0.3.0 accepts, answers with another library's error, or divides by zero on.
"""

import math
import re

import numpy as np
import pytest

import mlsysim as sim
from mlsysim import Device, collectives, md1, mg1, mmc, model, roofline, serve, solve, train
from mlsysim.errors import Infeasible, RangeError, SimError, UnitError, UnknownName
from mlsysim.simulate.serving import requests, simulate_serving

ON = ("dgx-h100", 64)
GOOD = {
    "define": (lambda **a: Device.define("mine", **a), dict(
        peak={"fp16": "100 TFLOP/s"}, bandwidth="1 TB/s", memory="24 GB", power="300 W", clock="1.5 GHz", cores=64, price="9 kUSD")),
    "solve": (solve, dict(workload="llama-3.1-8b", device="h100", batch=4, tokens=16, context=64, tp=1, precision="fp16")),
    "serve": (serve, dict(model="llama-3.1-8b", device="h100", batch=4, prompt=64, output=16, tp=1, precision="fp16")),
    "train": (train, dict(model="llama-3.1-8b", on=ON, batch=128, tokens=2048, tp=1, pp=1, cp=1, ep=1, micro_batch=1, interleave=1,
                          zero=1, recompute="full", precision="bf16", run_tokens=1e12)),
    "mmc": (mmc, dict(arrivals=80, service=0.01, servers=2)),
    "mg1": (mg1, dict(arrivals=80, service=0.01, variation=1.0)),
    "roofline": (roofline, dict(flop=1e12, traffic=1e9, device="h100", precision="fp16")),
    "all_reduce": (collectives.all_reduce, dict(size=1e9, devices=8, bandwidth=4.5e11, latency=1e-6)),
    "requests": (requests, dict(count=10, rate=5.0, prompt=64, output=16, spread=0.5)),
}  # fmt: skip
WHOLE = {"batch", "tokens", "prompt", "output", "tp", "pp", "cp", "ep", "micro_batch", "interleave", "servers", "devices", "count", "cores",
         "context"}
NULL = {"context", "flop", "traffic", "size", "latency", "variation", "run_tokens", "spread"}  # may be zero
NAMES = {"workload", "model", "device", "precision", "recompute", "on"}
NUMBERS = [(call, field) for call, (_, given) in GOOD.items() for field in given if field not in NAMES | {"zero", "peak"}]


def refused(call, **bad):
    """The error of a good call with some arguments replaced: one line, of this library, that names the argument."""
    ask, given = GOOD[call]
    with pytest.raises(SimError) as raised:
        ask(**given | bad)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 400
    for field in bad:
        assert re.search(rf"\b{field}\b", text), text
    return raised.value


@pytest.mark.parametrize(("call", "changed", "error", "says"), [
    ("define", {"bandwidth": "-1 TB/s"}, RangeError, "-1 TB/s; wanted a finite number, more than 0 B/s"),
    ("define", {"bandwidth": 0}, RangeError, "got 0 B/s; wanted a finite number, more than 0 B/s"),
    ("define", {"bandwidth": math.nan}, RangeError, "got nan B/s"),
    ("define", {"memory": "-80 GiB"}, RangeError, "got -85.9 GB"),
    ("define", {"power": "-700 W"}, RangeError, "got -700 W"),
    ("define", {"peak": {"fp16": "-100 TFLOP/s"}}, RangeError, "got -100 TFLOP/s"),
    ("define", {"bandwidth": "1 TB"}, UnitError, "'1 TB' is in B; wanted B/s, such as '3.35 TB/s'"),
    ("define", {"power": "700 J"}, UnitError, "'700 J' is in J; wanted W"),
    ("define", {"bandwidth": "1 GB + 1"}, UnitError, "unknown unit 'GB + 1'"),
    ("define", {"bandwith": "1 TB/s"}, UnknownName, "did you mean 'bandwidth'?"),
    ("solve", {"batch": 1.5}, RangeError, "got 1.5; wanted a whole number, at least 1"),
    ("solve", {"batch": 0}, RangeError, "got 0; wanted a whole number, at least 1"),
    ("serve", {"batch": -4}, RangeError, "got -4"),
    ("train", {"tokens": -2048}, RangeError, "got -2,048"),
    ("solve", {"precision": "fp12"}, UnknownName, "unknown precision 'fp12'; did you mean"),
    ("all_reduce", {"latency": -5}, RangeError, "got -5 s; wanted a finite number, at least 0 s"),
    ("mmc", {"arrivals": -5}, RangeError, "got -5; wanted a finite number, more than 0"),
    ("train", {"run_tokens": -1e24}, RangeError, "got -1"),
    ("train", {"tp": 256}, RangeError, "does not divide 32 attention heads of Llama 3.1 8B; wanted one of 1, 2, 4, 8"),
    ("train", {"tp": 3}, RangeError, "wanted one of 1, 2, 4, 8"),
    ("train", {"pp": 64}, RangeError, "does not divide the layers of Llama 3.1 8B (32); the nearest are"),
    ("train", {"batch": 100}, RangeError, "not a multiple of 64 replicas"),
    ("requests", {"rate": -5}, RangeError, "got -5"),
])  # fmt: skip
def test_what_another_library_accepts_is_refused_with_the_allowed_range(call, changed, error, says):
    raised = refused(call, **changed)
    assert type(raised) is error and says in str(raised)


@pytest.mark.parametrize("precision", ["int8", "int4", "fp8"])
def test_a_precision_that_a_device_lacks_does_not_fall_back_to_another(precision):
    with pytest.raises(UnknownName, match="V100.*there are fp16, fp32"):
        solve("resnet-50", "v100", precision=precision)


@pytest.mark.parametrize(("ask", "error", "says"), [
    (lambda: sim.device("H1000"), UnknownName, "did you mean 'h100'?"),
    (lambda: sim.device(None), UnknownName, "unknown device None"),
    (lambda: model("llama-3.1-8"), UnknownName, "did you mean 'llama-3.1-8b'?"),
    (lambda: serve("resnet-50", "h100"), SimError, "ResNet-50 is a vision model; wanted a decoder, such as 'llama-3.1-8b'"),
    (lambda: train("resnet-50", ON, batch=64, tokens=8), SimError, "ResNet-50 is a vision; wanted a decoder"),
    (lambda: solve("resnet-50", "h100", tokens=3), SimError, "takes no tokens; its graph takes batch, execution"),
    (lambda: train("llama-3.1-8b", "dgx-h100", batch=64, tokens=8), SimError, "a node's name and a number of devices"),
    (lambda: train("llama-3.1-8b", ("dgx-h100", 12), batch=64, tokens=8), RangeError, "the nearest are 8 or 16"),
    (lambda: train("llama-3.1-8b", ("dgx-h1000", 8), batch=64, tokens=8), UnknownName, "did you mean 'dgx-h100'?"),
    (lambda: serve("llama-3.1-70b", "h100"), Infeasible, "need 141 GB a device, there is 72 GB: 1.96 times that"),
    (lambda: solve("llama-3.1-70b", "h100"), Infeasible, "needs 141 GB, there is 80 GB: 1.76 times that"),
    (lambda: train("llama-3.1-70b", ("dgx-h100", 8), batch=8, tokens=2048), Infeasible, "times that; allow_infeasible=True"),
    (lambda: mmc(300, 0.01, 2), Infeasible, "a queue is stable below 1"),
    (lambda: md1(80, 0.01).quantile(1.0), RangeError, "share: got 1; wanted at least 0 and less than 1"),
    (lambda: md1(80, 0.01).quantile("most"), UnitError, "share: 'most'"),
    (lambda: mg1(80, 0.01, 1).quantile(0.5), RangeError, "do not fix its quantiles"),
    (lambda: sim.device("h100").scaled(peak=0), RangeError, "factor of peak: got 0"),
    (lambda: sim.device("h100").scaled(speed=2), UnknownName, "unknown figure 'speed'"),
    (lambda: simulate_serving("llama-3.1-8b", "h100", requests(3, 1), router="nearest"), UnknownName, "'nearest'"),
    (lambda: roofline([1, 2], [1, 2, 3], "h100"), RangeError, "flop (2,), traffic (3,)"),
    (lambda: solve("llama-3.1-8b", "h100", batch=[1, 2], tokens=[1, 2, 3]), RangeError, "batch (2,), tokens (3,)"),
    (lambda: serve("llama-3.1-8b", "h100", batch=[1, 2], prompt=[1, 2, 3]), RangeError, "batch (2,), prompt (3,)"),
    (lambda: mmc([1, 2], [0.1] * 3), RangeError, "arrivals (2,), service (3,)"),
    (lambda: sim.compress("llama-3.1-8b", "h100", weights={}), UnknownName, "unknown weights {}"),
    (lambda: sim.compress("llama-3.1-8b", "h100", activations=""), UnknownName, "unknown activations ''"),
    (lambda: serve("llama-3.1-8b", "h100", weights=""), UnknownName, "unknown weights ''"),
])  # fmt: skip
def test_a_wrong_name_kind_or_shape_says_what_is_wanted(ask, error, says):
    with pytest.raises(error) as raised:
        ask()
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, None, "eight", "8 m^2", True, 8j, b"8", {}, [1.0, math.nan],
                                   [[1], [1, 2]], np.datetime64("2026"), np.array(["8"])], ids=repr)  # fmt: skip
@pytest.mark.parametrize(("call", "field"), NUMBERS)
def test_no_number_is_made_of_what_is_none(call, field, value):
    optional = value is None and (call, field) in {("define", f) for f in ("power", "clock", "cores", "price")} | {("train", "run_tokens")}
    if optional:
        GOOD[call][0](**GOOD[call][1] | {field: value})
    else:
        refused(call, **{field: value})


@pytest.mark.parametrize(("call", "field"), NUMBERS)
def test_a_number_out_of_its_range_is_refused_with_the_range(call, field):
    whole = field in WHOLE and (call, field) not in (("requests", "prompt"), ("requests", "output"))  # those are means
    least = "whole" if whole else "finite"
    for value in (-1, -0.5, *([] if field in NULL else [0]), *([2.5] if whole else [])):
        raised = refused(call, **{field: value})
        assert isinstance(raised, RangeError) and f"wanted a {least} number" in str(raised)


@pytest.mark.parametrize(("call", "field"), [(c, f) for c, (_, given) in GOOD.items() for f in given if f in NAMES - {"on"}])
@pytest.mark.parametrize("value", ["", "nothing of that name", 3, None, ["fp16"], {}], ids=repr)
def test_a_name_that_is_not_listed_is_refused_with_what_is(call, field, value):
    ask, given = GOOD[call]
    with pytest.raises(SimError, match="unknown|wanted"):
        ask(**given | {field: value})


@pytest.mark.parametrize("load", ["many", 1000, None, {}], ids=repr)
def test_what_is_simulated_has_to_be_made_first(load):
    from mlsysim.simulate.cluster import simulate_cluster

    with pytest.raises(SimError, match=r"load: got .*requests\(1000"):
        simulate_serving("llama-3.1-8b", "h100", load)
    with pytest.raises(SimError, match=r"load: got .*jobs\(500"):
        simulate_cluster(load, 64)


@pytest.mark.parametrize("on", ["dgx-a100", 8, None, {}, ("dgx-a100",)], ids=repr)
def test_devices_to_train_on_are_a_cluster_or_a_pair(on):
    from mlsysim.training_nets import train_net

    with pytest.raises(SimError, match="on: got .*a node's name and a number of devices"):
        train_net("resnet-50", on, batch=256)
