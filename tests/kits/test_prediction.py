"""MLSys·im's tiny tier against simulated cycles, on layers that none of its constants was fitted to."""

import numpy as np
import pytest
from pytest import approx

from boardkit.calibrate import CALIBRATION, HELD_OUT, fit, measure
from mlsysim.tinyml import CORES, predict
from tests.kits.conftest import need

pytestmark = pytest.mark.slow

pytest.importorskip("serial", reason="the kits' extra is not installed: pip install '.[kits]'")


@pytest.mark.parametrize("url, device", [("simavr:atmega2560", "atmega2560"), ("qemu:cortex-m4", "nrf52840")])
def test_layers_that_were_not_fitted_are_within_a_quarter(url, device, record_property):
    """Dense layers, convolutions with stride and padding, depthwise ones: cycles on AVR, instructions on Cortex-M4."""
    need(url)
    results = [predict(case.net(), device, kernels="plain", allow_infeasible=True) for case in HELD_OUT]
    factor = next(core for core in CORES.values() if device in core.devices).factor.value
    errors = np.array([r.cycles for r in results]) / factor / measure(HELD_OUT, url) - 1
    for case, result in zip(HELD_OUT, results, strict=True):
        assert result.macs == case.model().macs, "both count the same work"
    assert np.abs(errors).max() < 0.25, dict(zip(HELD_OUT, errors, strict=True))
    dense = [e for case, e in zip(HELD_OUT, errors, strict=True) if case.kind == "dense"]
    assert np.abs(dense).max() < 0.10
    record_property("table", f"predicted over counted on {url}, layers not fitted: {', '.join(f'{e:+.0%}' for e in errors)}")


def test_the_constants_on_record_are_what_the_fit_gives():
    need("qemu:cortex-m4")
    core = CORES.find("cortex-m4")
    wanted = fit(CALIBRATION, measure(CALIBRATION, "qemu:cortex-m4"))
    assert [core.plain.value, core.plain_depthwise.value, core.plain_output.value, core.plain_row.value] == approx(wanted, rel=0.02)
