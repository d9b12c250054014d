"""Networks of images, from the papers that define them, with the details of torchvision; YOLOv8 from its configuration."""

from functools import partial
from math import ceil

from .nets import Net, Stack


def alexnet():
    """One tower, as in Krizhevsky 2014, without the normalisation of 2012."""
    net = Stack((3, 224, 224), norm=0, bias=True).conv(64, 11, 4, pad=2, act=True).pool(3, 2, pad=0)
    net.conv(192, 5, act=True).pool(3, 2, pad=0).conv(384, act=True).conv(256, act=True).conv(256, act=True).pool(3, 2, pad=0)
    return net.linear(4096, act=True).linear(4096, act=True).linear(1000).layers


def vgg(*convs):
    """VGG with that many convolutions of 3 x 3 in its five stages."""
    net = Stack((3, 224, 224), norm=0, bias=True)
    for count, out in zip(convs, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            net.conv(out, act=True)
        net.pool()
    return net.linear(4096, act=True).linear(4096, act=True).linear(1000).layers


def resnet(blocks, bottleneck=True, classes=1000, groups=1, width=64, squeeze=0):
    """ResNet, with the stride in the 3 x 3 convolution of a bottleneck as torchvision has it. Source: He et al. 2015.

    width is that of a group in a bottleneck of the first stage: ResNeXt-50 32x4d has groups=32, width=4.
    squeeze > 0 scales what a bottleneck makes by squeeze-and-excitation that narrow (Hu et al. 2017).
    """
    net = Stack((3, 224, 224)).conv(64, 7, 2).pool(3, 2)
    for stage, count in enumerate(blocks):
        base = 64 << stage
        inner, out = base * width // 64 * groups, 4 * base if bottleneck else base
        for i in range(count):
            stride = 2 if i == 0 and stage else 1
            before = net.shape[0]
            net.keep()
            if bottleneck:
                net.conv(inner, 1).conv(inner, 3, stride, groups=groups).conv(out, 1)  # the activation of the last follows the addition
            else:
                net.conv(base, 3, stride).conv(base)
            if squeeze:
                net.excite(out // squeeze)
            if before != out or stride > 1:
                net.project(out, stride)
            net.add()
    return net.global_pool().linear(classes).layers


def mobilenet_v1():
    net = Stack((3, 224, 224)).conv(32, 3, 2)
    for out, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        net.depthwise(3, stride).conv(out, 1)
    return net.global_pool().linear(1000).layers


def inverted(net, kernel, stride, wide, out, squeeze=0):
    """Widen, filter each channel, narrow again; a residual connection if the shape stays."""
    same = stride == 1 and out == net.shape[0]
    if same:
        net.keep()
    if wide != net.shape[0]:
        net.conv(wide, 1)
    net.depthwise(kernel, stride)
    if squeeze:
        net.excite(squeeze)
    net.conv(out, 1, act=False)
    return net.add() if same else net


def mobilenet_v2():
    net = Stack((3, 224, 224)).conv(32, 3, 2)
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for times, out, count, stride in stages:
        for i in range(count):
            inverted(net, 3, 1 if i else stride, times * net.shape[0], out)
    return net.conv(1280, 1).global_pool().linear(1000).layers


def mobilenet_v3_large():
    net = Stack((3, 224, 224), smooth=True).conv(16, 3, 2)
    for row in ((3, 1, 16, 16), (3, 2, 64, 24), (3, 1, 72, 24), (5, 2, 72, 40, 24), (5, 1, 120, 40, 32), (5, 1, 120, 40, 32),
                (3, 2, 240, 80), (3, 1, 200, 80), (3, 1, 184, 80), (3, 1, 184, 80), (3, 1, 480, 112, 120),
                (3, 1, 672, 112, 168), (5, 2, 672, 160, 168), (5, 1, 960, 160, 240), (5, 1, 960, 160, 240)):  # fmt: skip
        inverted(net, *row)
    return net.conv(960, 1).global_pool().linear(1280).linear(1000).layers


def efficientnet(width=1.0, depth=1.0, side=224):
    """EfficientNet, B0 scaled by width, depth and side. Source: Tan and Le 2019, table 1 and section 4."""

    def channels(n):
        near = max(8, int(n * width + 4) // 8 * 8)
        return near + 8 if near < 0.9 * n * width else near

    net = Stack((3, side, side), smooth=True).conv(channels(32), 3, 2)
    for times, kernel, stride, out, count in ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
                                              (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)):  # fmt: skip
        for i in range(ceil(count * depth)):
            into = net.shape[0]
            inverted(net, kernel, 1 if i else stride, times * into, channels(out), into // 4)
    return net.conv(4 * net.shape[0], 1).global_pool().linear(1000).layers


def densenet(*blocks, growth=32):
    """DenseNet: each layer reads all that the layers of its block made before it. Source: Huang et al. 2016, table 1."""
    net = Stack((3, 224, 224)).conv(64, 7, 2).pool(3, 2)
    for i, count in enumerate(blocks):
        if i:
            net.normalise(batch=True).conv(net.shape[0] // 2, 1, norm=0).pool()
        for _ in range(count):
            net.keep().normalise(batch=True).conv(4 * growth, 1).conv(growth, norm=0).cat()
    return net.normalise(batch=True).global_pool().linear(1000).layers


def vit(layers, width, heads, patch=16, side=224):
    """Vision transformer: patches are the tokens, and one more is classified. Source: Dosovitskiy et al. 2020, table 1."""
    rows = (side // patch) ** 2 + 1
    net = Stack((3, side, side), norm=0, bias=True).conv(width, patch, patch, name="patches")
    net.layer("class and positions", (rows, width), kind="vector", flop=rows * width, params=(rows + 1) * width,
              weights=(rows + 1) * width)  # fmt: skip
    for _ in range(layers):
        net.keep().normalise(width).attention(heads).add()
        net.keep().normalise(width).linear(4 * width, rows=rows, act=True).linear(width, rows=rows).add()
    return net.normalise(width).view(width).linear(1000, name="head").layers


def convnext(counts, widths):
    """ConvNeXt, with its layer scale folded into the second product. Source: Liu et al. 2022, section 2."""
    net = Stack((3, 224, 224), norm=0, bias=True).conv(widths[0], 4, 4).normalise()
    for i, (count, width) in enumerate(zip(counts, widths, strict=True)):
        if i:
            net.normalise().conv(width, 2, 2)
        for _ in range(count):
            net.keep().depthwise(7).normalise().conv(4 * width, 1, act=True).conv(width, 1, norm=1, act=False).add()
    return net.global_pool().normalise().linear(1000).layers


def yolo_v8(depth, width, most, side=640, classes=80):
    """YOLOv8: three scales of features, joined on the way up and down again, each with a head for boxes and one for classes."""

    def wide(channels):
        return ceil(min(channels, most) * width / 8) * 8

    def split(net, out, count, residual):  # half of the channels goes on, and all that it becomes is joined again
        half, count = wide(out) // 2, max(round(count * depth), 1)
        net.conv(2 * half, 1).keep().view(half, *net.shape[1:])
        for i in range(count):
            if i:
                net.keep()
            if residual:
                net.keep().conv(half).conv(half).add()
            else:
                net.conv(half).conv(half)
        return net.cat(*range(-count, 0)).conv(wide(out), 1)

    def heads(net):
        box, kind = max(16, wide(256) // 4, 64), max(wide(256), min(classes, 100))
        for inner, out in ((box, 64), (kind, classes)):
            net.keep().conv(inner).conv(inner).conv(out, 1, norm=0, bias=True).back()

    net = Stack((3, side, side), smooth=True).conv(wide(64), 3, 2).conv(wide(128), 3, 2)
    split(net, 128, 3, True).conv(wide(256), 3, 2)
    split(net, 256, 6, True).keep().conv(wide(512), 3, 2)
    split(net, 512, 6, True).keep().conv(wide(1024), 3, 2)
    split(net, 1024, 3, True).conv(wide(1024) // 2, 1)
    for _ in range(3):  # maxima of ever larger windows
        net.keep().pool(5, 1)
    net.cat(-3, -2, -1).conv(wide(1024), 1).keep()
    split(net.enlarge().cat(1), 512, 3, False).keep()
    heads(split(net.enlarge().cat(0), 256, 3, False))
    heads(split(net.conv(wide(256), 3, 2).cat(1), 512, 3, False))
    heads(split(net.conv(wide(512), 3, 2).cat(0), 1024, 3, False))
    places = sum((side // step) ** 2 for step in (8, 16, 32))  # boxes are means over 16 distances on each of 4 sides
    net.layer("boxes", (4, places), reads=64 * places, kind="vector", flop=7 * 64 * places, params=16)
    return net.layers


def _net(name, title, build, source, date, side=224):
    return Net(name, title, build, side * side * 3, source, date)


def all():
    yield _net("alexnet", "AlexNet", alexnet, "Krizhevsky 2014, One weird trick, arXiv 1404.5997", "2014-04")
    for name, convs in (("vgg-11", (1, 1, 2, 2, 2)), ("vgg-16", (2, 2, 3, 3, 3)), ("vgg-19", (2, 2, 4, 4, 4))):
        yield _net(name, name.upper(), partial(vgg, *convs), "Simonyan and Zisserman 2014, arXiv 1409.1556, table 1", "2014-09")
    for depth, blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)), (50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))):
        yield _net(f"resnet-{depth}", f"ResNet-{depth}", partial(resnet, blocks, depth >= 50),
                   "He et al. 2015, arXiv 1512.03385, table 1", "2015-12")  # fmt: skip
    yield _net("resnext-50-32x4d", "ResNeXt-50 32x4d", partial(resnet, (3, 4, 6, 3), groups=32, width=4),
               "Xie et al. 2016, arXiv 1611.05431, table 1", "2016-11")  # fmt: skip
    yield _net("resnext-101-32x4d", "ResNeXt-101 32x4d", partial(resnet, (3, 4, 23, 3), groups=32, width=4),
               "Xie et al. 2016, arXiv 1611.05431, table 1", "2016-11")  # fmt: skip
    yield _net("se-resnext-101-32x4d", "SE-ResNeXt-101 32x4d", partial(resnet, (3, 4, 23, 3), groups=32, width=4, squeeze=16),
               "Hu et al. 2017, arXiv 1709.01507, table 1", "2017-09")  # fmt: skip
    yield _net("wide-resnet-50", "Wide ResNet-50-2", partial(resnet, (3, 4, 6, 3), width=128),
               "Zagoruyko and Komodakis 2016, arXiv 1605.07146", "2016-05")  # fmt: skip
    yield _net("densenet-121", "DenseNet-121", partial(densenet, 6, 12, 24, 16), "Huang et al. 2016, arXiv 1608.06993, table 1", "2016-08")
    yield _net("mobilenet-v1", "MobileNetV1", mobilenet_v1, "Howard et al. 2017, arXiv 1704.04861, table 1", "2017-04")
    yield _net("mobilenet-v2", "MobileNetV2", mobilenet_v2, "Sandler et al. 2018, arXiv 1801.04381, table 2", "2018-01")
    yield _net("mobilenet-v3-large", "MobileNetV3-Large", mobilenet_v3_large, "Howard et al. 2019, arXiv 1905.02244, table 1", "2019-05")
    paper = "Tan and Le 2019, EfficientNet, arXiv 1905.11946, table 1"
    yield _net("efficientnet-b0", "EfficientNet-B0", efficientnet, paper, "2019-05")
    yield _net("efficientnet-b4", "EfficientNet-B4, 380 x 380", partial(efficientnet, 1.4, 1.8, 380), paper, "2019-05", 380)
    paper = "Dosovitskiy et al. 2020, arXiv 2010.11929, table 1"
    yield _net("vit-b-16", "ViT-B/16", partial(vit, 12, 768, 12), paper, "2020-10")
    yield _net("vit-b-32", "ViT-B/32", partial(vit, 12, 768, 12, 32), paper, "2020-10")
    yield _net("vit-l-16", "ViT-L/16", partial(vit, 24, 1024, 16), paper, "2020-10")
    yield _net("convnext-tiny", "ConvNeXt-T", partial(convnext, (3, 3, 9, 3), (96, 192, 384, 768)),
               "Liu et al. 2022, arXiv 2201.03545, section 2", "2022-01")  # fmt: skip
    scales = {"n": (0.33, 0.25, 1024), "s": (0.33, 0.5, 1024), "m": (0.67, 0.75, 768), "l": (1, 1, 512), "x": (1, 1.25, 512)}
    for size, scale in scales.items():
        yield _net(f"yolo-v8{size}", f"YOLOv8{size}, 640 x 640", partial(yolo_v8, *scale), "Ultralytics 2023, yolov8.yaml", "2023-01", 640)
