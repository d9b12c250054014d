"""Networks for microcontrollers: the four reference models of MLPerf Tiny.

Parameters count four numbers a channel of batch normalisation, as Keras does; folded into the weights none of them stay.
"""

from functools import partial

from .nets import Net, Stack

_SOURCE = "Banbury et al. 2021, MLPerf Tiny Benchmark, arXiv 2106.07597: reference model, counted layer by layer"


def separable(shape, first, blocks, classes, kernel=3, stride=2):
    """A convolution, then pairs of a depthwise and a 1 x 1 convolution, each with bias and four numbers of norm."""
    net = Stack(shape, norm=4, bias=True).conv(first, kernel, stride)
    for out, step in blocks:
        net.depthwise(3, step).conv(out, 1)
    return net.global_pool().linear(classes).layers


def resnet_8():
    net = Stack((3, 32, 32), norm=4, bias=True).conv(16)
    for out, stride in ((16, 1), (32, 2), (64, 2)):
        net.keep().conv(out, 3, stride).conv(out)
        if stride > 1:
            net.project(out, stride, norm=0)
        net.add()
    return net.global_pool().linear(10).layers


def autoencoder():
    net = Stack((640,))
    for out in (*[128] * 4, 8, *[128] * 4):
        net.linear(out, norm=4)
    return net.linear(640).layers


_PERSON = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]


def all():
    yield Net("mobilenet-v1-0.25", "MobileNetV1 0.25, 96 x 96 (person detection)",
              partial(separable, (3, 96, 96), 8, _PERSON, 2), 96 * 96 * 3, _SOURCE, "2021", "tiny")  # fmt: skip
    yield Net("ds-cnn", "DS-CNN (keyword spotting)", partial(separable, (1, 49, 10), 64, [(64, 1)] * 4, 12, (10, 4)), 16_000 * 2,
              _SOURCE + "; the input is one second of 16-bit sound at 16 kHz", "2021", "tiny", "sound")  # fmt: skip
    yield Net("resnet-8", "ResNet-8, 32 x 32 (image classification)", resnet_8, 32 * 32 * 3, _SOURCE, "2021", "tiny")
    yield Net("autoencoder", "FC autoencoder (anomaly detection)", autoencoder, 640,
              _SOURCE + "; the input is five frames of 128 mel bands", "2021", "tiny", "window")  # fmt: skip
