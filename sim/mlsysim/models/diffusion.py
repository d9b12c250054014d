"""Denoising networks: one step of making an image, which is done tens of times."""

from functools import partial

from .nets import Net, Stack

TEXT = 77  # rows of text that CLIP hands over


def _residual(net, out, time):
    """Two convolutions, with the time of the step added between them."""
    into = net.shape[0]
    net.keep().normalise().conv(out).beside("time", 1, out, time).normalise().conv(out)
    return (net.project(out) if into != out else net).add()


def _transformer(net, depth, heads, word):
    """Attention of pixels to each other and to the text, then a gated feed-forward layer, `depth` times."""
    width, *sides = net.shape
    if not depth:
        return net
    rows = sides[0] * sides[1]
    net.keep().normalise().conv(width, 1, name="in").view(rows, width)
    for _ in range(depth):
        net.keep().normalise(width).attention(heads, bias=False).add()
        net.keep().normalise(width).attention(heads, keys=TEXT, kv=word, bias=False).add()
        net.keep().normalise(width).linear(8 * width, rows=rows)
        net.layer("gate", (rows, 4 * width), kind="vector", flop=5 * rows * 4 * width).linear(width, rows=rows).add()
    return net.view(width, *sides).conv(width, 1, name="out").add()


def unet(side=64, widths=(320, 640, 1280, 1280), depths=(1, 1, 1, 0), heads=(8, 8, 8, 8), middle=1, word=768, size=0, each=2):
    """The U-Net of Stable Diffusion: what goes down is kept and joined on the way up. Source: Rombach et al. 2021.

    depths are transformers after each residual block, word the width of the text, size that of what else is known.
    """
    time = 4 * widths[0]
    levels = list(enumerate(zip(widths, depths, heads, strict=True)))
    net = Stack((4, side, side), norm=0, bias=True)
    for inner in (widths[0], time, *((size, time) if size else ())):
        net.beside("time embedding", 1, time, inner)
    net.conv(widths[0]).keep()
    for i, (width, depth, split) in levels:
        for _ in range(each):
            _transformer(_residual(net, width, time), depth, split, word).keep()
        if i < len(widths) - 1:
            net.conv(width, 3, 2, name="down").keep()
    _residual(_transformer(_residual(net, widths[-1], time), middle, heads[-1], word), widths[-1], time)
    for i, (width, depth, split) in reversed(levels):
        for _ in range(each + 1):
            _transformer(_residual(net.cat(), width, time), depth, split, word)
        if i:
            net.enlarge().conv(width, name="up")
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
    large = partial(unet, 128, (320, 640, 1280), (0, 2, 10), (5, 10, 20), 10, 2048, 2816)
    yield Net("stable-diffusion-xl", "Stable Diffusion XL U-Net, one step of 1024 x 1024", large, 4 * 128 * 128 * 2,
              "Podell et al. 2023, SDXL, arXiv 2307.01952, table 1; unet/config.json of stable-diffusion-xl-base-1.0 on Hugging Face",
              "2023-07", "diffusion", "step")  # fmt: skip
    yield Net("dit-xl-2", "DiT-XL/2, one step of 256 x 256", dit, 4 * 32 * 32 * 2, "Peebles and Xie 2022, arXiv 2212.09748, table 1",
              "2022-12", "diffusion", "step")  # fmt: skip
