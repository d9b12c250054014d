"""Denoising networks: one step of making an image, which is done tens of times."""

from .nets import Net, Stack

TEXT, WORD = 77, 768  # rows and width of the text that CLIP ViT-L/14 hands over


def _residual(net, out, time):
    """Two convolutions, with the time of the step added between them."""
    into = net.shape[0]
    net.keep().normalise().conv(out).beside("time", 1, out, time).normalise().conv(out)
    return (net.project(out) if into != out else net).add()


def _transformer(net, heads):
    """Attention of pixels to each other and to the text, then a gated feed-forward layer."""
    width, *sides = net.shape
    rows = sides[0] * sides[1]
    net.keep().normalise().conv(width, 1, name="in").view(rows, width)
    net.keep().normalise(width).attention(heads, bias=False).add()
    net.keep().normalise(width).attention(heads, keys=TEXT, kv=WORD, bias=False).add()
    net.keep().normalise(width).linear(8 * width, rows=rows)
    net.layer("gate", (rows, 4 * width), kind="vector", flop=5 * rows * 4 * width).linear(width, rows=rows).add()
    return net.view(width, *sides).conv(width, 1, name="out").add()


def unet(widths=(320, 640, 1280, 1280), each=2, heads=8, side=64):
    """The U-Net of Stable Diffusion 1: what goes down is kept and joined on the way up. Source: Rombach et al. 2021."""
    time = 4 * widths[0]
    net = Stack((4, side, side), norm=0, bias=True)
    net.beside("time embedding", 1, time, widths[0]).beside("time embedding", 1, time, time)
    net.conv(widths[0]).keep()
    last = len(widths) - 1
    for i, width in enumerate(widths):
        for _ in range(each):
            _residual(net, width, time)
            if i < last:
                _transformer(net, heads)
            net.keep()
        if i < last:
            net.conv(width, 3, 2, name="down").keep()
    _residual(_transformer(_residual(net, widths[-1], time), heads), widths[-1], time)
    for i, width in reversed(list(enumerate(widths))):
        for _ in range(each + 1):
            _residual(net.cat(), width, time)
            if i < last:
                _transformer(net, heads)
        if i:
            channels, *sides = net.shape
            net.layer("enlarge", (channels, *(2 * n for n in sides)), kind="vector", flop=0).conv(width, name="up")
    return net.normalise().conv(4).layers


def dit(layers=28, width=1152, heads=16, patch=2, side=32, classes=1000):
    """Diffusion transformer: scales and shifts of every norm come from the time and the class. Source: Peebles and Xie 2022."""
    rows = (side // patch) ** 2
    net = Stack((4, side, side), norm=0, bias=True)
    net.beside("time embedding", 1, width, 256).beside("time embedding", 1, width, width)
    net.conv(width, patch, patch, name="patches")
    net.layer("class and positions", (rows, width), kind="vector", flop=rows * width, params=(rows + classes + 1) * width,
              weights=(rows + 1) * width)  # fmt: skip

    def norm():  # scaled and shifted, no parameters of its own
        return net.layer("norm", net.shape, kind="vector", flop=10 * net.elements)

    for _ in range(layers):
        net.beside("scales and shifts", 1, 6 * width, width).keep()
        norm().attention(heads).add().keep()
        norm().linear(4 * width, rows=rows).linear(width, rows=rows).add()
    net.beside("scales and shifts", 1, 2 * width, width)
    return norm().linear(patch * patch * 8, rows=rows).layers


def all():
    yield Net("stable-diffusion-1.5", "Stable Diffusion 1.5 U-Net, one step of 512 x 512", unet, 4 * 64 * 64 * 2,
              "Rombach et al. 2021, arXiv 2112.10752; unet/config.json of stable-diffusion-v1-5 on Hugging Face", "2022-10",
              "diffusion", "step")  # fmt: skip
    yield Net("dit-xl-2", "DiT-XL/2, one step of 256 x 256", dit, 4 * 32 * 32 * 2, "Peebles and Xie 2022, arXiv 2212.09748, table 1",
              "2022-12", "diffusion", "step")  # fmt: skip
