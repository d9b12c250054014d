# Exported from modules/tinytorch/03_layers by `mlsys build`; edit the module's source, not this file.

"""Modules: parameters with names, layers that hold them, and the values they start from.

    Parameter   a tensor that is trained
    Module      a tree of parameters, buffers and other modules, and a forward
    Linear, Dropout, Sequential            layers
    xavier_uniform_, kaiming_normal_, ...  starting values, drawn in place

Errors, each one line that says what it got and what it wanted:

    ValueError <- StateError   a state that does not fit a module: every mismatch at once
    ShapeError, DTypeError     from tinytorch.tensor
    TypeError, IndexError, AttributeError
"""

import difflib
import math
import operator
from typing import NamedTuple

import numpy as np

from tinytorch.backend import native_module
from tinytorch.tensor import DTypeError, ShapeError, Tensor, float32, write, zeros


class StateError(ValueError):
    """A state that does not fit a module."""


class Parameter(Tensor):
    """A tensor that is trained. A module lists it when it becomes an attribute. Copies data, which must be floats."""

    def __init__(self, data, dtype=None, requires_grad=True):
        super().__init__(data, dtype, requires_grad)
        if self.dtype.kind != "f":
            raise DTypeError(f"a parameter is moved by small steps and holds floats, got {self.dtype}; "
                             "register_buffer keeps other tensors")

    def __repr__(self):
        return super().__repr__().replace("Tensor(", "Parameter(", 1)


def overwrite(tensor, values):
    """Write an array into a tensor's storage and count it as a write. No operation is recorded. -> tensor."""
    write(tensor.storage.data, tensor.layout, np.asarray(values))
    tensor.storage.version += 1
    return tensor


REGISTRIES = ("_parameters", "_buffers", "_modules")


def registry_of(module, name):
    """The registry of module that holds name, or None."""
    return next((r for r in map(module.__dict__.get, REGISTRIES) if r and name in r), None)


def nearest(name, names):
    """The most similar of names, or None if none resembles name."""
    return next(iter(difflib.get_close_matches(name, names, 1, 0.5)), None)


def dotted(prefix, name):
    """The name of a member of the module called prefix; the outermost module is called ""."""
    return f"{prefix}.{name}" if prefix else name


class Unmatched(NamedTuple):
    """Names that load_state_dict passed over."""

    missing: list
    unexpected: list


class Module:
    """A part of a model: its parameters, its buffers (tensors that are kept but not trained), its submodules.

    A subclass calls super().__init__(), assigns parameters and modules as attributes, and defines forward.
    """

    def __init__(self):
        for name in (*REGISTRIES, "_forward_hooks"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "training", True)

    def forward(self, *inputs):
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs, **options):
        output = native_module(self, inputs, options)  # one compiled kernel, if there is one for this class and these tensors
        if output is NotImplemented:
            output = self.forward(*inputs, **options)
        return run_hooks(self._forward_hooks, self, inputs, output) if self._forward_hooks else output

    # Attributes. Python calls __setattr__ for every assignment, __getattr__ only for names that it does not find.

    def __setattr__(self, name, value):
        if isinstance(value, Parameter | Module) or registry_of(self, name) is not None:
            self._check_name(name)
            register(self, name, value)
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name):
        registry = registry_of(self, name)
        if registry is not None:
            return registry[name]
        if name in REGISTRIES:
            raise AttributeError(f"{type(self).__name__} has no registry yet: call super().__init__() first")
        near = nearest(name, [*self.__dict__, *(n for r in REGISTRIES for n in self.__dict__.get(r, ()))])
        hint = f"; the nearest is {near}" if near else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def __delattr__(self, name):
        registry = registry_of(self, name)
        if registry is not None:
            del registry[name]
        else:
            object.__delattr__(self, name)

    def __dir__(self):
        return sorted({*super().__dir__(), *(n for r in REGISTRIES for n in self.__dict__.get(r, ()))})

    def _check_name(self, name):
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"a member's name is a text without dots, got {name!r}: dots join the names of a path")
        if hasattr(type(self), name):
            raise ValueError(f"{type(self).__name__}.{name} belongs to the class; call the member something else")

    def add_module(self, name, module):
        """self.name = module, for names that are made at run time such as "0"."""
        if not isinstance(module, Module):
            raise TypeError(f"{name}: wanted a Module, got {type(module).__name__}")
        self._check_name(name)
        self._modules[name] = module

    def register_buffer(self, name, tensor):
        """Keep a tensor that is not trained: it is in state_dict and buffers(), not in parameters()."""
        if isinstance(tensor, Parameter) or not isinstance(tensor, Tensor | None):
            raise TypeError(f"{name}: a buffer is a Tensor that is not a Parameter, got {type(tensor).__name__}")
        self._check_name(name)
        if registry_of(self, name) not in (None, self._buffers):
            raise ValueError(f"{name} is registered already, and not as a buffer: del it first")
        self.__dict__.pop(name, None)
        self._buffers[name] = tensor

    # The tree. Names are paths: "0.weight" is the weight of the module called "0".

    def named_modules(self):
        """(name, module) of this module, called "", and all below it, parents first; shared ones once."""
        return named_modules(self)

    def modules(self):
        return (module for _, module in self.named_modules())

    def named_children(self):
        """(name, module) of the modules right below this one; shared ones once."""
        first = {module: name for name, module in reversed(self._modules.items())}
        return ((first[module], module) for module in dict.fromkeys(self._modules.values()) if module is not None)

    def children(self):
        return (module for _, module in self.named_children())

    def named_parameters(self):
        """(name, parameter) of this module and all below it; shared ones once, under their first name."""
        return named_tensors(self.named_modules(), "_parameters")

    def parameters(self):
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self):
        """(name, buffer) of this module and all below it; shared ones once, under their first name."""
        return named_tensors(self.named_modules(), "_buffers")

    def buffers(self):
        return (buffer for _, buffer in self.named_buffers())

    def train(self, mode=True):
        """Set training to mode here and below -> self. Dropout and batch normalisation look at it."""
        set_training(self.modules(), mode)
        return self

    def eval(self):
        return self.train(False)

    def requires_grad_(self, flag=True):
        """Set requires_grad of all parameters -> self. False freezes them."""
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    # State

    def state_dict(self):
        """Parameters and buffers by name, as plain tensors that are copies. Shared ones come under each name."""
        return state_of(named_modules(self, shared=True))

    def load_state_dict(self, state, strict=True):
        """Copy a state, tensors or arrays by name, into this module's own tensors, which stay the same objects.

        strict=False passes over missing and unexpected names -> Unmatched(missing, unexpected).
        Raises StateError, and changes nothing, if names are missing or unexpected, or shapes or dtypes differ.
        """
        own = state_of(named_modules(self, shared=True), copy=False)
        return Unmatched(*load_state(own, state, strict))

    def register_forward_hook(self, hook):
        """Call hook(module, inputs, output) after each forward -> Handle. Unless None, what it returns is the output."""
        return Handle(self._forward_hooks, hook)

    # Text

    def extra_repr(self):
        """What stands in the brackets of a module without children."""
        return ""

    def __repr__(self):
        name = type(self).__name__
        lines = [f"({name}): {module!r}" for name, module in self._modules.items()]
        if not lines:
            return f"{name}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{name}(\n  {body}\n)"


def register(module, name, value):
    """Make module.name be value, kept in one place: _parameters, _buffers, _modules or, for the rest, module.__dict__.

    Raises TypeError if name is registered and value is neither of its kind, nor a Parameter, nor a Module, nor None.
    """
    held = registry_of(module, name)
    if isinstance(value, Parameter | Module):
        home = module._parameters if isinstance(value, Parameter) else module._modules
        if held is not None and held is not home:
            del held[name]
        module.__dict__.pop(name, None)
        home[name] = value
    elif value is None or held is module._buffers and isinstance(value, Tensor):
        held[name] = value
    else:
        wanted = {"_parameters": "a Parameter", "_buffers": "a Tensor", "_modules": "a Module"}
        kind = next(k for k in REGISTRIES if getattr(module, k) is held)
        raise TypeError(f"{name} is registered and takes {wanted[kind]} or None, got {type(value).__name__}; "
                        "del it first to make it something else")


def named_modules(module, prefix="", shared=False):
    """(name, module) of module, called prefix, and of all below it, parents before children, in order of registration.

    A module that stands in several places comes once, under its first name; with shared=True under each of its names.
    """
    seen, waiting = set(), [(prefix, module)]
    while waiting:
        path, current = waiting.pop()
        if id(current) in seen and not shared:
            continue
        seen.add(id(current))
        yield path, current
        children = [(dotted(path, name), child) for name, child in current._modules.items() if child is not None]
        waiting.extend(reversed(children))


def named_tensors(modules, registry):
    """(name, tensor) of what modules, pairs (name, module), hold in a registry; a shared tensor once."""
    seen = set()
    for prefix, module in modules:
        for name, tensor in getattr(module, registry).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield dotted(prefix, name), tensor


def set_training(modules, mode):
    """Set training of each module to mode, a bool. Raises TypeError for any other mode."""
    if not isinstance(mode, bool):
        raise TypeError(f"the mode of train() is True or False, got {type(mode).__name__}")
    for module in modules:
        module.training = mode


def state_of(modules, copy=True):
    """Parameters and buffers that modules, pairs (name, module), hold -> dict of tensors by name.

    copy=False gives the tensors themselves, copy=True plain tensors with storages of their own.
    """
    held = {dotted(prefix, name): tensor
            for prefix, module in modules
            for registry in (module._parameters, module._buffers)
            for name, tensor in registry.items() if tensor is not None}
    return {name: Tensor(tensor) for name, tensor in held.items()} if copy else held


def load_state(own, state, strict=True):
    """Copy the tensors or arrays of state into those of own, both by name -> (missing, unexpected), lists of names.

    Raises StateError, and changes nothing, if shapes or dtypes differ or, when strict, a name is missing or unexpected.
    """
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    wrong = []
    if strict:
        wrong += [f"missing {name}" for name in missing]
        for name in unexpected:
            near = nearest(name, own)
            wrong.append(f"unexpected {name}" + (f" (nearest: {near})" if near else ""))
    arrays = {name: np.asarray(state[name]) for name in own if name in state}
    for name, array in arrays.items():
        if array.shape != own[name].shape:
            wrong.append(f"{name} has shape {array.shape}, wanted {own[name].shape}")
        if array.dtype != own[name].dtype:
            wrong.append(f"{name} has dtype {array.dtype}, wanted {own[name].dtype}: astype converts")
    if wrong:
        raise StateError(f"the state does not fit: {'; '.join(wrong)}")
    for name, array in arrays.items():
        overwrite(own[name], array)
    return missing, unexpected


class Handle:
    """The place of one hook in a dict of hooks. remove() takes that hook out; to call it again does nothing."""

    def __init__(self, hooks, hook):
        self.hooks = hooks
        hooks[self] = hook

    def remove(self):
        self.hooks.pop(self, None)


def run_hooks(hooks, module, inputs, output):
    """Call the hooks, a dict's values in order, as hook(module, inputs, output) -> the output after the last."""
    for hook in list(hooks.values()):
        result = hook(module, inputs, output)
        if result is not None:
            output = result
    return output


_generator = np.random.default_rng(0)


def default_rng():
    """The generator that layers and initialisers draw from when they are given none."""
    return _generator


def manual_seed(seed):
    """Start the default generator anew: the same seed gives the same numbers -> the generator."""
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def uniform_(tensor, low=0.0, high=1.0, rng=None):
    """Fill with uniform numbers from low to high, in place -> tensor."""
    return overwrite(tensor, (rng or default_rng()).uniform(low, high, tensor.shape))


def normal_(tensor, mean=0.0, std=1.0, rng=None):
    """Fill with normal numbers, in place -> tensor."""
    return overwrite(tensor, (rng or default_rng()).normal(mean, std, tensor.shape))


class Linear(Module):
    """y = x Wᵀ + b on the last axis: x (..., in_features) -> (..., out_features).

    weight (out_features, in_features) and bias (out_features,) or None start uniform between ±1/sqrt(in_features).
    Raises ShapeError, with the shape of x and in_features, if the last axis has another length.
    """

    def __init__(self, in_features, out_features, bias=True, rng=None, dtype=float32):
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear wants at least one feature on each side, got {in_features} and {out_features}")
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = uniform_(Parameter(zeros((out_features, in_features), dtype)), -bound, bound, rng)
        self.bias = uniform_(Parameter(zeros(out_features, dtype)), -bound, bound, rng) if bias else None

    def forward(self, x):
        out_features, in_features = self.weight.shape
        if x.ndim == 0 or x.shape[-1] != in_features:
            raise ShapeError(f"Linear takes in_features = {in_features} on the last axis, got shape {x.shape}")
        batch = x.shape[:-1]
        rows = x if x.ndim == 2 else x.reshape(math.prod(batch), in_features)  # one product for all leading axes
        y = rows @ self.weight.T
        if self.bias is not None:
            y = y + self.bias
        return y if x.ndim == 2 else y.reshape(*batch, out_features)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Dropout(Module):
    """In training, zero each element with probability p and divide the others by 1 - p; in evaluation, return x itself.

    Raises ValueError if p is not between 0 and 1.
    """

    def __init__(self, p=0.5, rng=None):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is the share of elements to drop, from 0 to 1, got {p}")
        self.p, self.rng = p, rng

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        keep = (self.rng or default_rng()).random(x.shape, dtype=float32) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        mask = np.multiply(keep, scale, dtype=x.dtype if x.dtype.kind == "f" else float32)
        return x * Tensor.from_numpy(np.asarray(mask))

    def extra_repr(self):
        return f"p={self.p}"


class Wrap(Module):
    """A function of tensors as a module, so that it has a name and takes hooks."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)

    def __repr__(self):
        return getattr(self.function, "__name__", repr(self.function))


class Sequential(Module):
    """Layers one after the other, named "0", "1", ...: modules, or any functions of a tensor.

    model[i] is a layer, model[i:j] a Sequential of the same layers. Raises TypeError for a layer that cannot be called,
    IndexError, with index and length, for an index out of range.
    """

    def __init__(self, *layers):
        super().__init__()
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"layer {i} is neither a Module nor a function, got {type(layer).__name__}")
            self.add_module(str(i), layer if isinstance(layer, Module) else Wrap(layer))

    def forward(self, x):
        for layer in self._modules.values():
            x = layer(x)
        return x

    def __getitem__(self, index):
        layers = list(self._modules.values())
        if isinstance(index, slice):
            return Sequential(*layers[index])
        index = operator.index(index)
        if not -len(layers) <= index < len(layers):
            raise IndexError(f"index {index} is out of range for {len(layers)} layers")
        return layers[index]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())


def fans(shape):
    """(fan_in, fan_out) of a weight (out, in, *kernel): the numbers that one output sums, and those one input reaches.

    Raises ShapeError, with the shape, for fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(f"fan_in and fan_out need a weight of two or more axes, got shape {tuple(shape)}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def xavier_std(fan_in, fan_out, gain=1.0):
    """Standard deviation by Glorot and Bengio 2010."""
    return gain * math.sqrt(2 / (fan_in + fan_out))


def kaiming_std(fan_in, fan_out, gain, mode="fan_in"):
    """Standard deviation by He et al. 2015. Raises ValueError, with the mode, unless it is "fan_in" or "fan_out"."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is 'fan_in' or 'fan_out', got {mode!r}")
    return gain / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def uniform_std_(tensor, std, rng=None):
    """Fill with uniform numbers of mean 0 and standard deviation std, in place -> tensor."""
    bound = math.sqrt(3) * std
    return uniform_(tensor, -bound, bound, rng)


GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def gain(nonlinearity, slope=0.01):
    """The factor on the weights' standard deviation that makes up for what a nonlinearity takes away.

    slope is that of leaky_relu. Raises ValueError with the nearest name.
    Source: He et al. 2015 for relu and leaky_relu; tanh and selu as torch.nn.init.calculate_gain in PyTorch 2.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in GAINS:
        names = [*GAINS, "leaky_relu"]
        near = nearest(str(nonlinearity), names)
        raise ValueError(f"no gain is known for {nonlinearity!r}; " + (f"the nearest is {near}, " if near else "")
                         + f"all are {', '.join(names)}")
    return GAINS[nonlinearity]


def xavier_uniform_(tensor, gain=1.0, rng=None):
    """Fill with uniform numbers of variance gain² · 2 / (fan_in + fan_out), in place -> tensor."""
    return uniform_std_(tensor, xavier_std(*fans(tensor.shape), gain), rng)


def xavier_normal_(tensor, gain=1.0, rng=None):
    """Fill with normal numbers of variance gain² · 2 / (fan_in + fan_out), in place -> tensor."""
    return normal_(tensor, 0.0, xavier_std(*fans(tensor.shape), gain), rng)


def kaiming_uniform_(tensor, nonlinearity="relu", mode="fan_in", rng=None, slope=0.01):
    """Fill with uniform numbers of variance gain(nonlinearity)² / fan, in place -> tensor."""
    return uniform_std_(tensor, kaiming_std(*fans(tensor.shape), gain(nonlinearity, slope), mode), rng)


def kaiming_normal_(tensor, nonlinearity="relu", mode="fan_in", rng=None, slope=0.01):
    """Fill with normal numbers of variance gain(nonlinearity)² / fan, in place -> tensor."""
    return normal_(tensor, 0.0, kaiming_std(*fans(tensor.shape), gain(nonlinearity, slope), mode), rng)
