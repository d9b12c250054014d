"""Devices of four tiers: what their makers print, dense and sparse rates kept apart.

A peak is what the arithmetic units could do with data always at hand. Where a maker prints only a sparse rate, the
dense one is half of it and says so. Capacities are as printed: decimal GB for cards and phones (a lower bound, since
DRAM comes in powers of two), binary KiB and MiB for the address ranges of microcontrollers.
"""

from dataclasses import dataclass, field

from .constants import Figure, figure
from .errors import UnknownName, unknown

TIERS = ("cloud", "edge", "mobile", "tiny")


@dataclass(frozen=True)
class Device:
    """One processor with its memory. peak and sparse map a precision to FLOP/s, for int8 to integer OP/s.

    memory is what programs write to; flash, where there is any, holds weights that are only read. power is the limit
    that the maker sets (cloud, edge) or the draw while computing (mobile, tiny); None where nothing citable is known.
    """

    name: str
    title: str
    tier: str
    year: int
    peak: dict
    bandwidth: Figure
    memory: Figure
    power: Figure | None = None
    flash: Figure | None = None
    sparse: dict = field(default_factory=dict)

    def rate(self, precision):
        """Dense peak in FLOP/s at `precision`. Raises UnknownName with what the device lists."""
        try:
            return self.peak[precision].value
        except KeyError:
            raise _precision(self, precision) from None

    @property
    def storage(self):
        """Bytes that can hold weights: flash where there is any, memory otherwise."""
        return (self.flash or self.memory).value

    def __str__(self):
        rates = ", ".join(f"{p} {f.text}" for p, f in self.peak.items())
        return f"{self.title}: {rates}; {self.bandwidth.text}; {self.memory.text}"


def _precision(device, precision):
    error = unknown("precision", precision, list(device.peak))
    return UnknownName(f"{device.title}: {error}")


def device(name):
    """The device called `name`, such as "h100"; a Device passes as it is. Raises UnknownName with the nearest name."""
    if isinstance(name, Device):
        return name
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if key not in DEVICES:
        raise unknown("device", name, list(DEVICES))
    return DEVICES[key]


def _all(texts, source, date, kind="datasheet", uncertainty=0.0):
    return {precision: figure(text, source, date, kind, uncertainty) for precision, text in texts.items()}


_H100 = "NVIDIA H100 Tensor Core GPU datasheet, SXM5", "2023"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet, 80 GB SXM4", "2021"
_L4 = "NVIDIA L4 Tensor Core GPU datasheet", "2023"
_ORIN = "NVIDIA Jetson Orin Nano Series module datasheet, DS-11105", "2023"
_AGX = "NVIDIA Jetson AGX Orin Series technical brief v1.2, 64 GB module", "2022"
_NRF = "Nordic nRF52840 product specification, docs.nordicsemi.com", "2024"
_F746 = "STMicroelectronics STM32F745xx STM32F746xx datasheet, DS10916", "2016"
_S3 = "Espressif ESP32-S3 Series datasheet", "2023"
_HALF = "; printed with sparsity, halved"

_LIST = [
    Device(
        "h100",
        "NVIDIA H100 80 GB SXM",
        "cloud",
        2022,
        peak=_all(
            {"fp16": "989 TFLOP/s", "bf16": "989 TFLOP/s", "fp8": "1979 TFLOP/s", "int8": "1979 TOP/s"},
            _H100[0] + _HALF,
            _H100[1],
        )
        | _all({"fp32": "67 TFLOP/s"}, *_H100),
        sparse=_all(
            {"fp16": "1979 TFLOP/s", "bf16": "1979 TFLOP/s", "fp8": "3958 TFLOP/s", "int8": "3958 TOP/s"}, *_H100
        ),
        bandwidth=figure("3.35 TB/s", *_H100),
        memory=figure("80 GB", *_H100),
        power=figure("700 W", *_H100),
    ),
    Device(
        "a100",
        "NVIDIA A100 80 GB SXM",
        "cloud",
        2020,
        peak=_all(
            {
                "fp16": "312 TFLOP/s",
                "bf16": "312 TFLOP/s",
                "int8": "624 TOP/s",
                "tf32": "156 TFLOP/s",
                "fp32": "19.5 TFLOP/s",
            },
            *_A100,
        ),
        sparse=_all(
            {"fp16": "624 TFLOP/s", "bf16": "624 TFLOP/s", "int8": "1248 TOP/s", "tf32": "312 TFLOP/s"}, *_A100
        ),
        bandwidth=figure("2039 GB/s", *_A100),
        memory=figure("80 GB", *_A100),
        power=figure("400 W", *_A100),
    ),
    Device(
        "l4",
        "NVIDIA L4",
        "cloud",
        2023,
        peak=_all(
            {"fp16": "121 TFLOP/s", "bf16": "121 TFLOP/s", "fp8": "242.5 TFLOP/s", "int8": "242.5 TOP/s"},
            _L4[0] + _HALF,
            _L4[1],
        )
        | _all({"fp32": "30.3 TFLOP/s"}, *_L4),
        sparse=_all({"fp16": "242 TFLOP/s", "bf16": "242 TFLOP/s", "fp8": "485 TFLOP/s", "int8": "485 TOP/s"}, *_L4),
        bandwidth=figure("300 GB/s", *_L4),
        memory=figure("24 GB", *_L4),
        power=figure("72 W", *_L4),
    ),
    Device(
        "jetson-agx-orin",
        "NVIDIA Jetson AGX Orin 64 GB",
        "edge",
        2022,
        peak=_all(
            {"int8": "85 TOP/s", "fp16": "42.5 TFLOP/s"},
            _AGX[0] + ": GPU only, 170 TOP/s with sparsity; fp16 is half of int8",
            _AGX[1],
            "estimate",
            0.03,
        )
        | _all({"fp32": "5.3 TFLOP/s"}, *_AGX),
        sparse=_all({"int8": "170 TOP/s"}, *_AGX),
        bandwidth=figure("204.8 GB/s", *_AGX),
        memory=figure("64 GB", *_AGX),
        power=figure("60 W", *_AGX),
    ),
    Device(
        "jetson-orin-nano",
        "NVIDIA Jetson Orin Nano 8 GB",
        "edge",
        2023,
        peak=_all({"int8": "20 TOP/s"}, *_ORIN)
        | _all(
            {"fp16": "10 TFLOP/s"},
            _ORIN[0] + ": half the dense int8 rate of Ampere tensor cores",
            _ORIN[1],
            "estimate",
            0.03,
        ),
        sparse=_all({"int8": "40 TOP/s"}, *_ORIN),
        bandwidth=figure("68 GB/s", *_ORIN),
        memory=figure("8 GB", *_ORIN),
        power=figure("15 W", *_ORIN),
    ),
    Device(
        "iphone-15-pro",
        "Apple iPhone 15 Pro (A17 Pro)",
        "mobile",
        2023,
        peak=_all(
            {"int8": "35 TOP/s"},
            "Apple newsroom, 35 trillion operations a second; no precision named, taken as int8",
            "2023-09",
            "estimate",
            0.3,
        )
        | _all({"fp16": "17.5 TFLOP/s"}, "half of the rate taken as int8", "2023-09", "estimate", 0.4),
        bandwidth=figure("51.2 GB/s", "LPDDR5-6400 on 64 bits; Apple prints none", "2023", "estimate", 0.1),
        memory=figure("8 GB", "reported by teardowns; Apple prints none", "2023", "estimate", 0.01),
        power=figure("5 W", "what a phone's case sheds for minutes", "2023", "estimate", 0.4),
    ),
    Device(
        "stm32f746",
        "STM32F746 (Cortex-M7, 216 MHz)",
        "tiny",
        2015,
        peak=_all(
            {"int8": "864 MOP/s", "fp32": "432 MFLOP/s"},
            _F746[0] + ": 216 MHz x 2 int16 MAC (SMLAD) or 1 fp32 MAC a cycle",
            _F746[1],
            "estimate",
            0.1,
        ),
        bandwidth=figure(
            "1.73 GB/s", _F746[0] + ": 64-bit tightly coupled memory x 216 MHz", _F746[1], "estimate", 0.2
        ),
        memory=figure("320 KiB", *_F746),
        flash=figure("1 MiB", *_F746),
    ),
    Device(
        "nrf52840",
        "Nordic nRF52840 (Cortex-M4F, 64 MHz)",
        "tiny",
        2018,
        peak=_all(
            {"int8": "256 MOP/s", "fp32": "64 MFLOP/s"},
            _NRF[0] + ": 64 MHz x 2 int16 MAC (SMLAD), or 1 fp32 FLOP a cycle",
            _NRF[1],
            "estimate",
            0.1,
        ),
        bandwidth=figure("256 MB/s", _NRF[0] + ": 32-bit bus x 64 MHz", _NRF[1], "estimate", 0.2),
        memory=figure("256 KiB", *_NRF),
        flash=figure("1 MiB", *_NRF),
        power=figure("9.9 mW", _NRF[0] + ": CPU running from flash, 3.3 mA at 3 V, DC/DC", _NRF[1], "estimate", 0.1),
    ),
    Device(
        "esp32-s3",
        "Espressif ESP32-S3 (two LX7 cores, 240 MHz)",
        "tiny",
        2021,
        peak=_all(
            {"int8": "15.36 GOP/s", "fp32": "960 MFLOP/s"},
            _S3[0] + ": 2 cores x 240 MHz x 16 int8 MAC (EE.VMULAS.S8) or 1 fp32 MAC a cycle",
            _S3[1],
            "estimate",
            0.1,
        ),
        bandwidth=figure(
            "7.68 GB/s", _S3[0] + ": 128-bit loads x 240 MHz x 2 cores, internal SRAM only", _S3[1], "estimate", 0.3
        ),
        memory=figure("512 KiB", *_S3),
        flash=figure("8 MiB", "Espressif ESP32-S3FN8, in-package flash", "2023"),
    ),
]
DEVICES = {d.name: d for d in _LIST}
