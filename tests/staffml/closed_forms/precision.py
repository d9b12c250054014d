"""Closed forms of the templates in precision: the second path to every answer."""


def block_scale(p):
    bits = (p.block * p.width + p.scale) / p.block                          # a block, shared out
    size = p.params * bits / 8
    token = size / p.bandwidth
    return {
        "bits": (bits, {"no scale": p.width}),
        "size": (size, {"no scale": p.params * p.width / 8, "bits as bytes": p.params * bits, "GiB as GB": size / 1024**3 * 1000**3}),
        "token": (token, {"bandwidth in bits": 8 * token, "written back": 2 * token, "unquantized": 2 * p.params / p.bandwidth}),
    }
