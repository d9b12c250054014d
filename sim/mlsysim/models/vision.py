"""Image classifiers, from the papers that define them."""

from .nets import Net, Stack, shortcut


def resnet(blocks, bottleneck=True, classes=1000):
    """ResNet, with the stride in the 3 x 3 convolution of a bottleneck as torchvision has it. Source: He et al. 2015."""
    net = Stack((3, 224, 224)).conv(64, 7, 2).pool(3, 2)
    for stage, count in enumerate(blocks):
        width = 64 << stage
        out = 4 * width if bottleneck else width
        for i in range(count):
            stride = 2 if i == 0 and stage else 1
            before = net.shape
            if bottleneck:
                net.conv(width, 1).conv(width, 3, stride).conv(out, 1)
            else:
                net.conv(width, 3, stride).conv(width, 3)
            if before[0] != out or stride > 1:
                shortcut(net, before, out, stride)
            net.add()
    return tuple(net.global_pool().linear(classes).layers)


def _net(name, title, layers, source, date, side=224):
    return Net(name, title, layers, side * side * 3, source, date)


def all():
    yield _net("resnet-50", "ResNet-50", resnet([3, 4, 6, 3]), "He et al. 2015, arXiv 1512.03385", "2015-12")
