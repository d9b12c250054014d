"""Hardware kits: compile a sketch, run it on a board or an emulator of one, talk to it, measure it.

    from boardkit import compile_sketch, open_target

    report = compile_sketch("echo", "uno")
    with open_target("simavr:atmega328p", firmware=report) as target:
        target.serial.write(b"x")

Names load on first use, so that importing the package costs nothing.
"""

_PUBLIC = {
    "KitError": "errors", "ToolMissing": "errors", "SketchError": "errors", "PlatformMissing": "errors", "UsageError": "errors",
    "BoardError": "errors", "TargetError": "errors", "ProtocolError": "errors",
    "boards": "boards", "board": "boards",
    "compile_sketch": "toolchain", "find_toolchain": "toolchain", "CompileReport": "toolchain",
    "open_target": "targets",
    "symbols": "elf", "memory": "elf",
    "QuantModel": "quantize", "QuantizeError": "quantize", "write_header": "export", "plan_model": "arena", "Link": "protocol",
    "LogMel": "dsp",
    "memory_map": "panels", "against_prediction": "panels", "LivePlot": "panels",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'boardkit' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value
