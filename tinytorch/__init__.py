"""TinyTorch: the framework that students build.

    import tinytorch as tt
    x = tt.Tensor([[1.0, 2.0]]) @ tt.ones((2, 3))

Modules of the course export to tinytorch/*.py; the names below load them on first use, so that a part whose module is
not there yet is missed only where it is used.
"""

from importlib import import_module

_MODULES = {
    "tensor": (
        "DTypeError", "Function", "OverlapError", "ShapeError", "Storage", "Tensor",
        "arange", "bool_", "float16", "float32", "float64", "full", "int8", "int32", "int64", "ones", "zeros",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'tinytorch' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
