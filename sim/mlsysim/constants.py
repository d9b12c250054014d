"""Numbers with a source: physics, fibre and radio. A Figure is what every constant and every device is made of."""

from dataclasses import dataclass

from . import units

KINDS = ("datasheet", "measured", "estimate")


@dataclass(frozen=True)
class Figure:
    """One number and where it comes from.

    value in the base unit of its kind; unit as the source prints it; source and date (year, or year-month) of the
    document; kind "datasheet" (the maker prints it), "measured" (somebody did, under the stated conditions) or
    "estimate" (derived from other figures, the source or the note says how); uncertainty relative, one standard
    deviation.
    """

    value: float
    unit: str
    source: str
    date: str
    kind: str = "datasheet"
    uncertainty: float = 0.0
    note: str = ""
    url: str = ""

    def __float__(self):
        return self.value

    def __str__(self):
        spread = f" ± {100 * self.uncertainty:.2g} %" if self.uncertainty else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.text}{spread} ({self.kind}: {self.source}, {self.date}{note})"

    @property
    def text(self):
        """The number in its printed unit, such as "3.35 TB/s"."""
        return units.format(self.value, self.unit, digits=5)


def figure(text, source, date, kind="datasheet", uncertainty=0.0):
    """Figure from text with a unit, such as "3.35 TB/s"."""
    return Figure(units.parse(text)[0], text.partition(" ")[2], source, date, kind, uncertainty)


LIGHT = 299_792_458.0  # m/s, exact: SI Brochure, 9th edition, 2019

# A pulse travels at the group index, not at the refractive index. 1.4676 at 1310 nm, 1.4682 at 1550 nm.
FIBRE_INDEX = Figure(
    1.468, "", "Corning SMF-28 Ultra product information, effective group index", "2014", "datasheet", 1e-3
)

_NRF52840 = "Nordic nRF52840 product specification, current consumption, 3 V, DC/DC regulator"
BLE_RATE = figure("1 Mbit/s", "Bluetooth Core Specification, LE 1M PHY; payload rates are lower", "2010")
BLE_SEND = figure("19.2 mW", f"{_NRF52840}: radio sending at 0 dBm, 1 Mbit/s, 6.40 mA", "2024", "estimate", 0.1)
