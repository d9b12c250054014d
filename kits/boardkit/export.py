"""A QuantModel as a C header for kits/sketches/lib: constants in flash, the arena, and model_run().

The header is text that depends on the model alone, so that equal models give equal files. It defines, for a prefix "model":
MODEL_NAME, MODEL_DIGEST (first 32 bits of the model's SHA-256), MODEL_INPUTS, MODEL_OUTPUTS, MODEL_ARENA, MODEL_MACS,
int8_t MODEL_INPUT[], MODEL_OUTPUT[] in the arena, and void model_run(void), which spends the input.
"""

import os
import re
from math import prod
from pathlib import Path

import numpy as np

from .arena import plan_model
from .quantize import QuantizeError

_CALLS = {"conv2d": "mlk_conv2d", "depthwise": "mlk_depthwise", "max_pool": "mlk_max_pool", "mean_pool": "mlk_mean_pool"}


def array(name, values, ctype):
    """A constant in flash as C text, 120 columns wide."""
    lines, line = [], ""
    for value in np.asarray(values).reshape(-1).tolist():
        if len(line) + len(str(value)) > 110:
            lines.append(line)
            line = ""
        line += f"{value}, "
    body = "\n  ".join([*lines, line.rstrip(", ")])
    return f"static const {ctype} {name}[] MLK_ROM = {{\n  {body}}};\n"


def _record(prefix, i, layer, zero):
    pointers = [f"{prefix}_{part}{i}" if layer.weight is not None else "0" for part in "wbms"]
    top, _, left, _ = layer.padding
    shape = (1, 1, prod(layer.in_shape)) if layer.kind == "dense" else layer.in_shape  # a dense layer sees a vector
    numbers = [*shape, *layer.out_shape, *layer.kernel, *layer.stride, top, left, int(layer.per_channel)]
    fields = ", ".join(map(str, [*pointers, *numbers, zero, layer.output.zero, layer.low, layer.high]))
    return f"static const mlk_layer {prefix}_l{i} MLK_ROM = {{{fields}}};\n"


def header(model, prefix="model"):
    """C text of a model. Raises QuantizeError if prefix is no C name."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,31}", prefix):
        raise QuantizeError(f"prefix {prefix!r}: wanted a C name in small letters, such as 'model'")
    arena = plan_model(model)
    big, title = prefix.upper(), "".join(c for c in model.name if c.isprintable() and c.isascii() and c not in '"\\*/')[:40]
    bytes_ = model.weight_bytes
    out = [
        f"/* {title}: {model.in_shape} -> {model.out_shape} in int8, {model.macs} multiply-adds, {bytes_['weights']} B of weights,\n"
        f"   {bytes_['constants']} B of constants, an arena of {arena.size} B. boardkit.export writes this file: edit the model. */\n"
        f"#ifndef {big}_H\n#define {big}_H\n\n#include \"mlk.h\"\n\n"
        f'#define {big}_NAME "{title}"\n#define {big}_DIGEST UINT32_C(0x{model.digest[:8]})\n'
        f"#define {big}_INPUTS {prod(model.in_shape)}\n#define {big}_OUTPUTS {prod(model.out_shape)}\n"
        f"#define {big}_MACS UINT32_C({model.macs})\n#define {big}_ARENA {arena.size}\n\n"
        f"#if defined(__AVR__) && {sum(bytes_.values())} > 57344\n"
        f'#error "{title}: {sum(bytes_.values())} B of constants; near loads reach 64 KiB of flash, the program included"\n#endif\n\n'
    ]
    run, tensor = [], 0
    for i, layer in enumerate(model.layers):
        x = f"{prefix}_arena + {arena.offsets[f't{tensor}']}"
        tensor += layer.kind != "softmax"
        y = f"{prefix}_arena + {arena.offsets[f't{tensor}']}"
        if layer.kind == "softmax":
            out.append(array(f"{prefix}_t{i}", layer.table, "uint16_t"))
            run.append(f"mlk_softmax({x}, {y}, {prod(layer.in_shape)}, {prefix}_t{i});")
            continue
        if layer.kind == "argmax":
            run.append(f"*({y}) = (int8_t)mlk_argmax({x}, {prod(layer.in_shape)});")
            continue
        if layer.weight is not None:
            out.append(array(f"{prefix}_w{i}", layer.weight, "int8_t"))
            out.append(array(f"{prefix}_m{i}", layer.multiplier, "int32_t"))
            out.append(array(f"{prefix}_s{i}", layer.shift, "int8_t"))
        if layer.kind == "dense":  # its kernels may want the zero point of the input in the bias
            choices = (("#ifdef MLK_FOLD\n", layer.folded_bias, 0), ("#else\n", layer.bias, layer.input.zero))
            for condition, bias, zero in choices:
                out.append(condition + array(f"{prefix}_b{i}", bias, "int32_t") + _record(prefix, i, layer, zero))
            out.append("#endif\n")
        else:
            if layer.weight is not None:
                out.append(array(f"{prefix}_b{i}", layer.bias, "int32_t"))
            out.append(_record(prefix, i, layer, layer.input.zero))
        call = "MLK_DENSE" if layer.kind == "dense" else _CALLS[layer.kind]
        run.append(f"MLK_LOAD(q, {prefix}_l{i});\n  {call}(&q, {x}, {y});")
    record = "  mlk_layer q;\n" if any("(&q" in line for line in run) else ""
    out.append(
        f"\nstatic int8_t {prefix}_arena[{big}_ARENA];\n#define {big}_INPUT ({prefix}_arena + {arena.offsets['t0']})\n"
        f"#define {big}_OUTPUT ({prefix}_arena + {arena.offsets[f't{tensor}']})\n\n"
        f"MLK_FN void {prefix}_run(void) {{\n{record}  " + "\n  ".join(run) + "\n}\n\n#endif\n"
    )
    return "".join(out)


def write_header(model, path, prefix="model"):
    """Write header(model) to path: at every instant there is the old file or the new one, whole -> Path. Raises OSError."""
    from tinytorch.training import write_atomic

    text = header(model, prefix)  # before anything is opened: a model that has no header changes no file
    write_atomic(path, text.encode())
    os.chmod(path, 0o644)
    return Path(path)
