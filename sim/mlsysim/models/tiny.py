"""Networks for microcontrollers: the four reference models of MLPerf Tiny."""

from .nets import Net, Stack

_SOURCE = "MLPerf Tiny reference model, counted layer by layer"


def separable(shape, first, blocks, classes, kernel=3, stride=2):
    """A convolution, then pairs of a depthwise and a 1 x 1 convolution, each with bias and four numbers of norm."""
    net = Stack(shape, norm=4, bias=True).conv(first, kernel, stride)
    for out, step in blocks:
        net.depthwise(3, step).conv(out, 1)
    return tuple(net.global_pool().linear(classes).layers)


_PERSON = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]


def all():
    yield Net("mobilenet-v1-0.25", "MobileNetV1 0.25, 96 x 96 (person detection)",
              separable((3, 96, 96), 8, _PERSON, 2), 96 * 96 * 3, _SOURCE, "2021", "tiny")  # fmt: skip
    yield Net("ds-cnn", "DS-CNN (keyword spotting)", separable((1, 49, 10), 64, [(64, 1)] * 4, 12, (10, 4)), 16_000 * 2,
              _SOURCE + "; the input is one second of 16-bit sound at 16 kHz", "2021", "tiny", "sound")  # fmt: skip
