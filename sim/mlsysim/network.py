"""Time on the wire: light in glass, and bits at a rate."""

from ._check import amount
from .constants import FIBRE_INDEX, LIGHT


def propagation_seconds(distance, *, index=FIBRE_INDEX):
    """Time for light to travel `distance` (m, one way) in a medium of group index `index`; 1 is vacuum. Both broadcast.

    Speed of light: SI, exact. Index of fibre: 1.468, Corning SMF-28 Ultra.
    """
    return (amount("distance", distance, "m") * amount("index", index, "", least=1.0) / LIGHT)[()]


def transfer_seconds(size, bandwidth, *, distance=0.0, index=FIBRE_INDEX):
    """Time from the first bit sent to the last bit received: size / bandwidth and the flight of the last bit.

    size (B), bandwidth (B/s, or text such as "20 Mbit/s"), distance (m, one way); all broadcast. No queues.
    """
    sending = amount("size", size, "B") / amount("bandwidth", bandwidth, "B/s", above=0.0)
    return (sending + propagation_seconds(distance, index=index))[()]
