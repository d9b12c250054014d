# %% [markdown]
# # TinyTorch 03: Layers
#
# A matrix of 2048 × 2048 weights takes 16 MiB, and nobody has said yet what they are called. Without a name no
# optimizer finds them, no file keeps them, and no error can say which of them is wrong. Then: draw the weights of 20
# layers the way `torch.nn.Linear` draws them by default, put a ReLU behind each, leave biases out, and what comes out
# at the end is smaller than what went in by a factor of sixty million. The network is correct and cannot learn. Names
# and starting values, more than arithmetic, are what a layer is about. In this notebook you build both.
#
# **Where it sits.** What you write is exported as `tinytorch/layers.py`.
#
# | module | what it takes from here |
# |---|---|
# | 06 autograd | parameters: the tensors whose gradients somebody wants |
# | 07 optimizers | `parameters()`: each once, and the same objects after a checkpoint is loaded |
# | 08 training | `train()` and `eval()`, `state_dict()` and `load_state_dict()` |
# | 09 convolutions, 13 transformers | `Module`, and initial values for weights of any shape |
# | 14 profiling | forward hooks, which see every activation without a change to the model |
#
# **Afterwards you can**
# 1. say how `self.weight = Parameter(...)` becomes an entry in `named_parameters()`, and what is not registered;
# 2. walk a tree of modules in which parameters and modules are shared;
# 3. load a checkpoint in place, all of it or none of it, and report every mismatch at once;
# 4. derive the starting variance of a layer's weights, and check a random generator by its statistics;
# 5. predict bytes, time and signal strength of a stack of layers, then measure them.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. A check
# shows worked examples and explains the first that fails. Grading runs hidden cases besides. Every exercise is judged
# by itself, on objects that given code has built, so one that does not work yet costs only its own points. Module 01 is
# all you need. Three to four hours are typical.

# %%
#| export
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

# %%
from mlsysbook import answer, case, check, predict, reveal
from tinytorch.tensor import Function, Storage

# %% [markdown]
# ## 1. Parameters, and where a module keeps them
#
# A **parameter** is a tensor that training changes. Being one is not a matter of its numbers but of who lists it. This
# class assigns five attributes:
#
# ```python
# class Block(Module):
#     def __init__(self):
#         super().__init__()
#         self.weight = Parameter(zeros((2, 3)))      # a Parameter
#         self.inner = Linear(3, 3)                   # a Module
#         self.register_buffer("mean", zeros(3))      # a buffer
#         self.scale = zeros(3)                       # a plain tensor
#         self.spare = [Linear(3, 3), Linear(3, 3)]   # a list
# ```
#
# | attribute | kept in | trained | in `state_dict()` |
# |---|---|---|---|
# | `weight` | `_parameters` | yes | yes |
# | `inner` | `_modules` | its parameters are | with everything in it |
# | `mean` | `_buffers` | no | yes: a running mean must survive a restart |
# | `scale` | `__dict__` | no | **no** |
# | `spare` | `__dict__` | **no** | **no** |
#
# The last two lines are the commonest bugs of people who write their first module. Nothing fails; the tensor is simply
# never saved, and the layers in the list never learn. A list is no module, and nobody looks into it. `Sequential`, in
# section 8, is the list that is one.
#
# Python calls `__setattr__` for every assignment to an attribute, and there the sorting happens. It calls `__getattr__`
# only for a name that it does not find in `__dict__` or in the class, and that method looks into the registries. A name
# that stands in two places is therefore read from one and trained in the other.

# %%
#| export
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

# %%
#| export
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

# %% [markdown]
# `Module` is given. Its methods are short because each hands its work to a function that you write below. Read
# `__setattr__`, `__getattr__` and `__call__`; the others can wait until their section.

# %%
#| export
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

# %% [markdown]
# `Module.__setattr__` keeps what is neither registered nor to be registered: `self.rate = 0.1` goes straight to
# `__dict__`. It calls `register` for the rest. What must hold afterwards:
#
# | `name` was | `value` is | then `module.name` is `value` and |
# |---|---|---|
# | anything, or nothing | a `Parameter` or a `Module` | the name stands in the registry for its kind and nowhere else |
# | registered, in any registry | `None` | it keeps its registry, and its place in the order |
# | a buffer | a `Tensor` | it stays a buffer |
# | registered | anything else | no: `TypeError`, whose message says the name; nothing has changed |
#
# The last line is for `layer.weight = layer.weight * 0.5`. The product is a plain tensor. Were it accepted, the
# optimizer would go on changing the old parameter, which nobody uses any more.
#
# **Worked example.** Of `module.a = None`, `module.a = Parameter(...)`, `module.b = Parameter(...)`, `module.a = None`,
# `module.a = Parameter(...)` remain the parameters `a, b`, in this order, and nothing in `__dict__`.
#
# **Exercise 1.1** Write `register`.

# %% solution="register"
#| export
def register(module, name, value):
    """Make module.name be value, kept in one place: _parameters, _buffers, _modules or, for the rest, module.__dict__.

    Raises TypeError if name is registered and value is neither of its kind, nor a Parameter, nor a Module, nor None.
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION

# %% check="register" points=5
def assigned(steps):
    """What module.name = value does. A step is (name, kind of value); the module has a buffer called mean."""
    make = {"parameter": lambda: Parameter(zeros(2)), "module": Module, "tensor": lambda: zeros(2),
            "None": lambda: None, "number": lambda: 0.5, "list": lambda: [Module()]}
    module, log = Module(), []
    module.register_buffer("mean", zeros(2))
    for name, kind in steps:
        value = make[kind]()
        try:
            setattr(module, name, value)
            log.append("reads as assigned" if getattr(module, name) is value else "reads as something else")
        except TypeError as error:
            log.append("refused by name" if name in str(error) else "refused")
    places = {registry: list(getattr(module, registry)) for registry in REGISTRIES}
    return {"log": log, **places, "__dict__": [name for name in vars(module) if name in dict(steps)]}

check("register", [
    case([("weight", "parameter"), ("inner", "module"), ("rate", "number"), ("spare", "list")]),
    case([("a", "None"), ("a", "parameter"), ("b", "parameter"), ("a", "None"), ("a", "parameter")]),
    case([("mean", "tensor"), ("weight", "parameter"), ("weight", "tensor")]),
], call=assigned)

# %% hidden="register"
def cases(rng):
    def names(n):
        return [str(name) for name in rng.permutation(["weight", "bias", "inner", "query", "key", "gate", "norm", "out"])[:n]]

    for _ in range(4):
        kinds = [str(k) for k in rng.choice(["parameter", "module", "number"], 5)]
        yield case(list(zip(names(7), ["parameter", "module", *kinds], strict=True)),
                   behaviour="parameters and modules are registered in order")
    for first, second in (("parameter", "module"), ("module", "parameter")):
        a, b = names(2)
        yield case([(a, first), (b, first), (a, second)], behaviour="a name that changes its kind")
        yield case([(a, first), (a, second), (b, second), (a, first)], behaviour="a name that changes its kind")
        yield case([("mean", first), (a, "tensor")], behaviour="a name that changes its kind")
    for kind in ("None", "number", "tensor", "list"):
        a, b = names(2)
        yield case([(a, kind), (b, "module"), (a, "parameter")], behaviour="a plain value that becomes a registered one")
        yield case([(a, kind), (a, "module")], behaviour="a plain value that becomes a registered one")
    for kind in ("parameter", "module"):
        a, b = names(2)
        yield case([(a, kind), (b, kind), (a, "None")], behaviour="None and a new value keep the place")
        yield case([(a, kind), (b, kind), (a, "None"), (a, kind)], behaviour="None and a new value keep the place")
        yield case([(a, kind), (b, kind), (a, kind)], behaviour="None and a new value keep the place")
    yield case([("mean", "tensor"), ("mean", "None"), ("mean", "tensor")], behaviour="a buffer takes tensors and None")
    yield case([("mean", "None"), ("scale", "tensor")], behaviour="a buffer takes tensors and None")
    for kind, value in (("parameter", "tensor"), ("parameter", "number"), ("module", "tensor"), ("module", "list")):
        a = names(1)[0]
        yield case([(a, kind), (a, value)], behaviour="another value is refused, and the message says the name")
    yield case([("mean", "number")], behaviour="another value is refused, and the message says the name")


# %% [markdown]
# ## 2. A tree with names
#
# Modules hold modules, so a model is a tree, and each module has a path. The path of a tensor is its module's path, a
# dot, and the name of the attribute. `dotted` joins the two.
#
# ```
# model                  ""
# ├── encoder            "encoder"           encoder.weight
# │   └── norm           "encoder.norm"      encoder.norm.weight, encoder.norm.bias
# └── decoder            "decoder"           decoder.weight
# ```
#
# It is not quite a tree, since two places may hold the same object. Language models tie the matrix that turns words
# into vectors to the one that turns vectors into words: `decoder.weight` **is** `encoder.weight`. An optimizer that was
# given it twice would move it by two steps. So `named_parameters` says it once, under the name where it is met first. A
# file is another matter. Whoever loads `decoder.weight` wants to find it, and therefore `state_dict` says both names.
#
# Two parameters are the same if they are the same object. Equal numbers mean nothing: all biases may start at zero.
#
# **Exercise 2.1** Walk the modules. Parents come before their children, a child's whole branch before the next child,
# children in order of registration. Places that hold `None` are passed over. A branch that refers back to a module
# above it, as `self.parent = model` does, must not be walked for ever when `shared` is false.
#
# **Exercise 2.2** List the tensors of one registry, given the modules with their paths. Each tensor comes once.
#
# **Exercise 2.3** Switch modules between training and evaluation. A caller who writes `model.train(loader)` has
# mistaken it for something else and must be told so, before anything is switched.

# %%
def grow(tree):
    """A module as a dict of dicts describes it -> (module, its places as a list of (path, module), tensors by label).

    {"encoder": {"weight": "A", "mean": "(M)", "bias": None}, "copy": "@encoder"}: A is a parameter, (M) a buffer, bias an
    empty place, copy the module at encoder once more. One label is one tensor. Nothing that you write is used.
    """
    places, tensors = [], {}

    def place(branch, path):
        module = Module()
        places.append((path, module))
        for name, what in branch.items():
            if isinstance(what, dict):
                module._modules[name] = place(what, dotted(path, name))
            elif what is None:
                module._parameters[name] = None
            elif what.startswith("@"):
                module._modules[name] = dict(places)[what[1:]]
                places.append((dotted(path, name), module._modules[name]))
            else:
                kind, registry = (Tensor, "_buffers") if what.startswith("(") else (Parameter, "_parameters")
                tensor = tensors.setdefault(what, kind([float(ord(what.strip("()")[0])), 0.5]))
                getattr(module, registry)[name] = tensor
        return module

    return place(tree, ""), places, tensors


# %% solution="named_modules"
#| export
def named_modules(module, prefix="", shared=False):
    """(name, module) of module, called prefix, and of all below it, parents before children, in order of registration.

    A module that stands in several places comes once, under its first name; with shared=True under each of its names.
    """
    ### BEGIN SOLUTION
    seen, waiting = set(), [(prefix, module)]
    while waiting:
        path, current = waiting.pop()
        if id(current) in seen and not shared:
            continue
        seen.add(id(current))
        yield path, current
        children = [(dotted(path, name), child) for name, child in current._modules.items() if child is not None]
        waiting.extend(reversed(children))
    ### END SOLUTION


# %% solution="named_tensors"
#| export
def named_tensors(modules, registry):
    """(name, tensor) of what modules, pairs (name, module), hold in a registry; a shared tensor once."""
    ### BEGIN SOLUTION
    seen = set()
    for prefix, module in modules:
        for name, tensor in getattr(module, registry).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield dotted(prefix, name), tensor
    ### END SOLUTION


# %% solution="set_training"
#| export
def set_training(modules, mode):
    """Set training of each module to mode, a bool. Raises TypeError for any other mode."""
    ### BEGIN SOLUTION
    if not isinstance(mode, bool):
        raise TypeError(f"the mode of train() is True or False, got {type(mode).__name__}")
    for module in modules:
        module.training = mode
    ### END SOLUTION


# %% check="named_modules" points=4
def walked(tree, prefix="", shared=False):
    """Names of the modules, each with the path at which the same module is met first; at most 60."""
    module, places, _ = grow(tree)
    first = {id(m): path for path, m in reversed(places)}
    steps = zip(range(60), named_modules(module, prefix, shared), strict=False)
    return [(name, first.get(id(m), "not in the tree")) for _, (name, m) in steps]

check("named_modules", [
    case({"encoder": {"weight": "A", "norm": {}}, "decoder": {}}),
    case({"encoder": {"norm": {}}, "decoder": {"norm": "@encoder.norm"}}),
    case({"encoder": {"norm": {}}, "decoder": {"norm": "@encoder.norm"}}, shared=True),
], call=walked)

# %% hidden="named_modules"
NAMES = ("encoder", "decoder", "norm", "0", "1", "attention", "mlp", "head")


def some_names(rng, n):
    return [str(name) for name in rng.permutation(NAMES)[:n]]


def some_tree(rng, depth):
    if depth == 0:
        return {}
    return {name: some_tree(rng, depth - 1) for name in some_names(rng, int(rng.integers(1, 4)))}


def cases(rng):
    for depth in (1, 2, 3, 3):
        yield case({**some_tree(rng, depth), "last": some_tree(rng, 2)}, behaviour="parents first, branch by branch")
    for depth in (1, 2):
        yield case(some_tree(rng, depth), prefix="model", behaviour="a prefix")
    yield case({}, prefix="model.body", behaviour="a prefix")
    for shared in (False, True):
        a, b, c = some_names(rng, 3)
        for tree in ({a: {"x": {}}, b: f"@{a}", c: f"@{a}"}, {a: {b: {}, c: {}}, b: {c: f"@{a}.{c}"}},
                     {a: {b: {}}, c: {a: f"@{a}"}}):
            yield case(tree, shared=shared, behaviour="shared modules under all their names" if shared
                       else "shared modules once, under their first name")
    a, b, c = some_names(rng, 3)
    yield case({a: {b: "@"}, c: {}}, behaviour="a module below itself")
    yield case({a: {b: {c: f"@{a}"}, c: {}}}, behaviour="a module below itself")
    yield case({a: {"weight": "A", "bias": None, b: {}}, "w": "B", "m": "(M)"}, behaviour="tensors are no modules")


# %% check="named_tensors" points=3
def listed(tree, registry="_parameters"):
    """Names of the tensors of a registry, each with its label. The modules can be read only once."""
    _, places, tensors = grow(tree)
    label = {id(tensor): text for text, tensor in tensors.items()}
    return [(name, label.get(id(tensor), "another object")) for name, tensor in named_tensors(iter(places), registry)]

check("named_tensors", [
    case({"encoder": {"weight": "A", "norm": {"weight": "B"}}, "decoder": {"weight": "A", "bias": "C"}}),
    case({"weight": "A", "mean": "(M)", "norm": {"mean": "(N)"}}, registry="_buffers"),
], call=listed)

# %% hidden="named_tensors"
def cases(rng):
    for _ in range(4):
        a, b, c = some_names(rng, 3)
        p, q = (str(v) for v in rng.permutation(["weight", "bias", "scale", "shift"])[:2])
        yield case({a: {p: "A", q: "B"}, b: {c: {p: "C"}, q: "D"}, c: {q: "E"}, p: "F"}, behaviour="names in order")
    for _ in range(3):
        a, b, c = some_names(rng, 3)
        yield case({a: {"x": "A", "y": "A"}, b: {"y": "B", "x": "A"}, c: {"z": "B"}}, behaviour="a shared tensor once")
        yield case({a: {"x": "A"}, b: f"@{a}", c: {"x": "C"}}, behaviour="a shared tensor once")
        yield case({a: {"x": "A1", "y": "A2"}, b: {"x": "A3"}}, behaviour="equal numbers in several tensors")
    a, b = some_names(rng, 2)
    yield case({a: {"x": "A", "m": "(M)"}, b: {"m": "(M)", "n": "(N)"}}, registry="_buffers", behaviour="buffers")
    yield case({a: {"x": None, "y": "A"}, b: {"x": None}}, behaviour="empty places are passed over")
    yield case({a: {}, b: {"m": "(M)"}}, behaviour="empty places are passed over")


# %% check="set_training" points=2
def switched(before, mode):
    """training of some modules after set_training, and whether the mode was refused."""
    modules = [Module() for _ in before]
    for module, flag in zip(modules, before, strict=True):
        module.training = flag
    try:
        set_training(iter(modules), mode)
        said = "accepted"
    except TypeError:
        said = "TypeError"
    return {"mode": said, "training": [module.training for module in modules]}

check("set_training", [case([True, True, False], False), case([True, False], "eval")], call=switched)

# %% hidden="set_training"
def cases(rng):
    for mode in (False, True, False, True):
        yield case([bool(v) for v in rng.random(6) < 0.5], mode, behaviour="all modules are switched")
    for mode in (1, 0, None, "train", [True], 0.0):
        yield case([True, False, True], mode, behaviour="a mode that is no bool is refused and changes nothing")


# %% [markdown]
# ## 3. State: by name, in place, all or nothing
#
# To save a model, one could pickle the object. Then the file holds names of classes and files of the program, and the
# day somebody renames `Block`, it cannot be read. Worse, reading a pickle runs what it says, so a downloaded model may
# do anything. A **state** is a dict from names to tensors instead. It survives every change of the code that keeps the
# names, it can be read without trust, and a program in another language can read it too.
#
# What comes out must be a copy. In PyTorch it is not, and `best = model.state_dict()`, kept while training goes on,
# holds the last weights in the end and not the best ones.
#
# What goes in must be written **in place**. An optimizer holds the parameters themselves. If loading put new objects in
# their place, it would go on stepping tensors that no layer reads.
#
# Loading is refused as a whole or done as a whole. A model that is half loaded computes something, and that is the
# worst outcome. And since a wrong name rarely comes alone, the error lists everything at once. **Worked example**:
#
# ```
# the state does not fit: missing 0.bias; unexpected 0.bais (nearest: 0.bias); 2.weight has shape (3, 4), wanted (4, 3)
# ```
#
# | mismatch | `strict=True` | `strict=False` | the message says |
# |---|---|---|---|
# | a name of `own` is not in `state` | refused | passed over, returned in `missing` | the name |
# | a name of `state` is not in `own` | refused | passed over, returned in `unexpected` | the name and the nearest of `own` |
# | the shapes differ | refused | refused | the name and both shapes |
# | the dtypes differ | refused | refused | the name and both dtypes |
#
# PyTorch converts dtypes silently here. For us a change of precision is something that somebody decides, with `astype`.
#
# `nearest(name, names)` is given above, as is `overwrite(tensor, array)`, which writes in place without leaving a trace
# for autograd. `np.asarray` makes an array of a tensor as well as of an array.
#
# **Exercise 3.1** `state_of`: the parameters and then the buffers of each module, module by module, under all their
# names. Empty places are left out.
#
# **Exercise 3.2** `load_state`. The message is one line.

# %% solution="state_of"
#| export
def state_of(modules, copy=True):
    """Parameters and buffers that modules, pairs (name, module), hold -> dict of tensors by name.

    copy=False gives the tensors themselves, copy=True plain tensors with storages of their own.
    """
    ### BEGIN SOLUTION
    held = {dotted(prefix, name): tensor
            for prefix, module in modules
            for registry in (module._parameters, module._buffers)
            for name, tensor in registry.items() if tensor is not None}
    return {name: Tensor(tensor) for name, tensor in held.items()} if copy else held
    ### END SOLUTION


# %% solution="load_state"
#| export
def load_state(own, state, strict=True):
    """Copy the tensors or arrays of state into those of own, both by name -> (missing, unexpected), lists of names.

    Raises StateError, and changes nothing, if shapes or dtypes differ or, when strict, a name is missing or unexpected.
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="state_of" points=3
def kept(tree, copy=True):
    """The state of a tree: names in order, class and numbers of each tensor, and how it relates to the module's own."""
    _, places, tensors = grow(tree)
    own = list(tensors.values())
    state = state_of(iter(places), copy=copy)
    values = list(state.values())
    return {"names": list(state), "values": [tensor.numpy() for tensor in values],
            "are the module's own": [any(tensor is t for t in own) for tensor in values],
            "share memory with them": [any(np.shares_memory(tensor.numpy(), t.numpy()) for t in own)
                                       for tensor in values],
            "classes": [type(tensor).__name__ for tensor in values],
            "trained": [tensor.requires_grad for tensor in values]}

check("state_of", [
    case({"weight": "A", "mean": "(M)", "norm": {"weight": "B", "bias": None}}),
    case({"encoder": {"weight": "A"}, "decoder": {"weight": "A"}}, copy=False),
], call=kept)

# %% hidden="state_of"
def cases(rng):
    for _ in range(4):
        a, b, c = some_names(rng, 3)
        yield case({a: {"x": "A", "y": "B"}, b: {c: {"x": "C"}, "y": "D"}, "z": "E"}, behaviour="parameters of all modules")
    for copy in (True, False):
        a, b = some_names(rng, 2)
        yield case({a: {"m": "(M)", "x": "A"}, "n": "(N)", b: {"m": "(O)", "y": "B"}}, copy=copy,
                   behaviour="buffers come after the parameters of their module")
        yield case({a: {"x": "A", "m": "(M)"}, b: {"x": "A", "m": "(M)"}}, copy=copy, behaviour="shared tensors under each name")
        yield case({a: {"x": "A"}, b: f"@{a}"}, copy=copy, behaviour="shared tensors under each name")
        yield case({a: {"x": None, "y": "B"}, b: {}}, copy=copy, behaviour="empty places are left out")
    a, b = some_names(rng, 2)
    yield case({a: {"x": "A", "m": "(M)"}, b: {"x": "B"}}, copy=False, behaviour="copy=False gives the tensors themselves")


# %% check="load_state" points=6
def loaded(own, state, strict=True, says=(), transposed=False):
    """What load_state makes of arrays by name. transposed: own tensors are views. says: what a message must contain."""
    mine = {name: Tensor(a.T).T if transposed else Tensor(a) for name, a in own.items()}
    at = {name: t.numpy().__array_interface__["data"][0] for name, t in mine.items()}
    before = dict(mine)
    try:
        result = load_state(mine, {name: Tensor(a) if len(name) % 2 else a for name, a in state.items()}, strict)
    except StateError as error:
        return {"refused": [text in str(error) for text in says], "one line": "\n" not in str(error),
                "values": {name: t.numpy() for name, t in mine.items()}}
    return {"returned": [sorted(names) for names in result], "values": {name: t.numpy() for name, t in mine.items()},
            "the same objects": all(mine[name] is before[name] for name in own),
            "on the same memory": all(t.numpy().__array_interface__["data"][0] == at[name] for name, t in mine.items())}

check("load_state", [
    case({"weight": np.zeros((2, 3)), "bias": np.zeros(2)}, {"bias": np.ones(2), "weight": np.full((2, 3), 5.0)}),
    case({"0.bias": np.zeros(2), "2.weight": np.zeros((4, 3))}, {"0.bais": np.ones(2), "2.weight": np.ones((3, 4))},
         says=("0.bias", "0.bais", "2.weight", "(3, 4)", "(4, 3)")),
    case({"bias": np.zeros(2)}, {"head": np.ones(2)}, strict=False),
], call=loaded)

# %% hidden="load_state"
def cases(rng):
    def normal(*shape, dtype="float32"):
        return rng.normal(size=shape).astype(dtype)

    def model():
        m, n = (int(v) for v in rng.integers(2, 6, 2))
        return {f"{name}.{kind}": normal(*shape) for name in some_names(rng, 2)
                for kind, shape in (("weight", (m, n + 5)), ("bias", (m,)))}

    def like(own):
        return {name: normal(*own[name].shape, dtype=own[name].dtype) for name in rng.permutation(list(own)).tolist()}

    for dtype in ("float32", "float64", "float16", "int64"):
        own = {name: (a * 9).astype(dtype) for name, a in model().items()}
        state = {name: (normal(*a.shape) * 9).astype(dtype) for name, a in own.items()}
        yield case(own, state, behaviour="values are written into the same tensors")
    own = {"a.weight": normal(3, 4), "a.b": normal(2, 5), "count": np.array(3), "empty": normal(0, 2)}
    state = like({name: a for name, a in own.items() if name != "count"}) | {"count": np.array(9)}
    yield case(own, state, transposed=True, behaviour="views, no axes, no elements")
    yield case({}, {}, behaviour="views, no axes, no elements")
    for _ in range(3):
        own = model()
        name = str(rng.choice(list(own)))
        yield case(own, {n: a for n, a in like(own).items() if n != name}, says=(name,), behaviour="missing names are said")
        yield case(own, {}, says=tuple(own), behaviour="missing names are said")
    for _ in range(3):
        own = model()
        name = str(rng.choice([n for n in own if n.endswith("weight")]))
        wrong = name.replace("weight", "wieght")
        yield case(own, like(own) | {wrong: normal(2)}, says=(wrong, name),
                   behaviour="unexpected names are said, with the nearest")
    yield case({"bias": normal(2)}, {"bias": normal(2), "zzz": normal(2), "qqqq": normal(3)}, says=("zzz", "qqqq"),
               behaviour="unexpected names are said, with the nearest")
    for other in ((3, 2), (2, 1), (2,), (2, 3, 1), ()):
        own = {"w": normal(2, 3), "b": normal(2)}
        yield case(own, like(own) | {"w": normal(*other)}, says=("w", "(2, 3)", str(other)),
                   behaviour="another shape is refused, even one that would stretch")
    for dtype in ("float16", "float64", "int64", "bool"):
        own = {"weight": normal(2, 3), "bias": normal(2)}
        state = like(own)
        yield case(own, state | {"bias": state["bias"].astype(dtype)}, says=("bias", "float32", dtype),
                   behaviour="another dtype is refused")
    own = {"0.weight": normal(3, 2), "0.bias": normal(3), "2.weight": normal(1, 3), "2.bias": normal(1), "step": np.array(7)}
    state = {"0.weight": normal(3, 2), "0.bais": normal(3), "2.weight": normal(3, 1), "2.bias": normal(1, dtype="float64"),
             "step": np.array(8), "head": normal(2)}
    both = "everything is said at once, and nothing was written"
    yield case(own, state, says=("0.bias", "0.bais", "2.weight", "(3, 1)", "(1, 3)", "2.bias", "float64", "head"), behaviour=both)
    yield case({"a": normal(2), "b": normal(3)}, {"a": normal(2), "b": normal(4)}, says=("b", "(4,)", "(3,)"), behaviour=both)
    loose = "strict=False passes over names and nothing else"
    for _ in range(2):
        own = model()
        name = str(rng.choice(list(own)))
        yield case(own, {n: a for n, a in like(own).items() if n != name} | {"head": normal(2)}, strict=False, behaviour=loose)
    yield case({"a": normal(2), "b": normal(2)}, {"a": normal(2), "b": normal(3)}, strict=False, says=("b",), behaviour=loose)
    yield case({"a": normal(2)}, {"a": normal(2, dtype="float64")}, strict=False, says=("a",), behaviour=loose)


# %% [markdown]
# ## 4. Hooks: looking in without opening
#
# How large are the activations in layer 7? One could rewrite the model so that it prints them. A **forward hook** does
# it from outside. It is a function that the module calls after each forward with itself, the tuple of inputs, and the
# output:
#
# ```python
# handle = layer.register_forward_hook(lambda module, inputs, output: print(output.shape))
# layer(x)          # prints
# handle.remove()
# layer(x)          # prints nothing
# ```
#
# A hook that returns something other than `None` replaces the output, and the next hook sees the replacement. With
# hooks that return `None`, 2·y, `None`, y + 1 an output of 5 becomes 11, and the third hook saw 10.
#
# `model(x)` calls hooks, `model.forward(x)` does not: `Module.__call__` is where they are run. They are kept in a dict,
# `module._forward_hooks`, whose values are the hooks in order of registration. You choose the keys.
#
# **Exercise 4.1** `Handle`. The same function may be registered twice. Then there are two handles, and each removes its
# own place and no other, in whatever order things are added and removed.
#
# **Exercise 4.2** `run_hooks`. A hook may remove itself while it runs; those behind it are still called. An output may
# be anything, 0 included.

# %% solution="handle"
#| export
class Handle:
    """The place of one hook in a dict of hooks. remove() takes that hook out; to call it again does nothing."""

    def __init__(self, hooks, hook):
        ### BEGIN SOLUTION
        self.hooks = hooks
        hooks[self] = hook
        ### END SOLUTION

    def remove(self):
        ### BEGIN SOLUTION
        self.hooks.pop(self, None)
        ### END SOLUTION


# %% solution="run_hooks"
#| export
def run_hooks(hooks, module, inputs, output):
    """Call the hooks, a dict's values in order, as hook(module, inputs, output) -> the output after the last."""
    ### BEGIN SOLUTION
    for hook in list(hooks.values()):
        result = hook(module, inputs, output)
        if result is not None:
            output = result
    return output
    ### END SOLUTION


# %% check="handle" points=3
def hooked(steps):
    """The hooks in a dict after each step: the name of a function to add, or the number of a handle to remove."""
    functions, hooks, handles, seen = {}, {}, [], []
    for step in steps:
        if isinstance(step, str):
            handles.append(Handle(hooks, functions.setdefault(step, lambda name=step: name)))
        else:
            handles[step].remove()
        seen.append([hook() for hook in hooks.values()])
    return seen

check("handle", [case(["a", "b", 0]), case(["a", "b", "a", 0, 0])], call=hooked)

# %% hidden="handle"
def cases(rng):
    for _ in range(3):
        yield case([*"abcd", *(int(k) for k in rng.permutation(4))], behaviour="each handle removes its own hook")
        order = [int(k) for k in rng.permutation(3)]
        yield case([*"aab", order[0], "a", order[1], order[2]], behaviour="a function that is registered twice")
    yield case(["a", "b", "c", 0, "d", 2, "e", 3], behaviour="hooks added after others were removed")
    yield case(["a", 0, "b", "c", 1, "d", 2], behaviour="hooks added after others were removed")
    yield case(["a", "b", 0, 0, 0], behaviour="removing once more does nothing")
    yield case(["a", 0, 0, "b", 0, "a", 0], behaviour="removing once more does nothing")


# %% check="run_hooks" points=3
def after_hooks(kinds, output):
    """The output after hooks of these kinds, and what each was called with.

    A number is a hook that returns 10 times the output plus that number; "none" returns None, "zero" returns 0, "leaves"
    takes itself out of the dict.
    """
    log, hooks = [], {}

    def hook_of(k, kind):
        def hook(module, inputs, seen):
            log.append((k, module, inputs, seen))
            if kind == "leaves":
                del hooks[k]
            return 0 if kind == "zero" else 10 * seen + kind if isinstance(kind, int) else None
        return hook

    hooks.update((k, hook_of(k, kind)) for k, kind in enumerate(kinds))
    return {"output": run_hooks(hooks, "the module", (1, 2), output), "calls": log}

check("run_hooks", [case(["none", 3, "none", 4], 5), case(["leaves", 1], 5)], call=after_hooks)

# %% hidden="run_hooks"
def cases(rng):
    for n in (1, 3, 5):
        kinds = [int(k) for k in rng.integers(1, 10, n)]
        yield case(kinds, int(rng.integers(1, 9)), behaviour="each hook sees what the one before returned")
        yield case([*kinds[:2], "none", *kinds[2:], "none"], int(rng.integers(1, 9)), behaviour="None keeps the output")
    yield case([2, "zero"], 4, behaviour="0 replaces the output")
    yield case(["zero", "none", 3], 4, behaviour="0 replaces the output")
    yield case(["none", "leaves", 2, "leaves", 3], int(rng.integers(1, 9)), behaviour="hooks that take themselves out")
    yield case(["leaves", "leaves", "leaves"], 7, behaviour="hooks that take themselves out")
    yield case([], 7, behaviour="no hooks")


# %% [markdown]
# ## 5. Numbers that are drawn, and how to check them
#
# Layers start from random numbers. Every function that draws takes `rng`, a NumPy `Generator`; without one it takes the
# module's own, which `manual_seed` starts anew. Given the same generator state, the same numbers come out.

# %%
#| export
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

# %% [markdown]
# How do you check code whose result is random? Not by its numbers, since another correct program draws others. By its
# statistics, and with a tolerance that the sample size dictates. For n independent numbers of mean μ and standard
# deviation σ
#
# $$\text{the sample mean errs by about}\ \frac{\sigma}{\sqrt{n}}, \qquad
# \text{the sample's standard deviation by about}\ \sigma \sqrt{\frac{\kappa - 1}{4 n}}.$$
#
# κ is the kurtosis, $E[(x - \mu)^4] / \sigma^4$: 3 for normal numbers, 9/5 for uniform ones. These are **standard
# errors**. A correct generator is off by more than five of them less than once in a million checks.
#
# **Worked example.** A uniform weight of shape (128, 784) has n = 100 352 numbers. Its standard deviation is known to
# a share of $\sqrt{0.8 / (4 \cdot 100\,352)} = 0.14\,\%$, five of which are 0.7 %. A missing factor √2 stands out by
# 41 %. For n = 10 numbers five standard errors are 71 %, and the same mistake cannot be seen.

# %%
def fits(values, std, kurtosis, errors=5):
    """Whether mean and standard deviation of a sample are within so many standard errors of 0 and std."""
    values = np.asarray(values, "float64")
    mean_error = std / math.sqrt(values.size)
    std_error = std * math.sqrt((kurtosis - 1) / (4 * values.size))
    return bool(abs(values.mean()) <= errors * mean_error and abs(values.std() - std) <= errors * std_error)


# %% show
sample = np.random.default_rng(1).uniform(-1, 1, 100_352)
print(f"standard deviation {sample.std():.5f}, wanted {1 / math.sqrt(3):.5f}")
for factor in (1, 1.01):
    print(f"times {factor}, within five standard errors:", fits(factor * sample, 1 / math.sqrt(3), 9 / 5))

# %% [markdown]
# ## 6. Linear
#
# `Linear(3, 2)` maps three features to two. Its weight has shape (out, in) = (2, 3), and each output is a row of the
# weight times the input, plus a bias:
#
# $$x = (1, 2, 3), \quad W = \begin{pmatrix} 1 & 0 & -1 \\ 2 & 1 & 0 \end{pmatrix}, \quad b = (10, 20), \qquad
# y = x W^{\mathsf T} + b = (1 - 3 + 10,\ 2 + 2 + 20) = (8, 24)$$
#
# Why (out, in), when (in, out) would save the transpose? The transpose is a view and costs nothing; matrix libraries
# take a flag for it. In exchange a row is one neuron, its weights side by side in memory: a neuron can be cut out, its
# norm taken, or the layer split over two machines by its outputs, with a slice of rows. And a file of PyTorch's weights
# fits.
#
# The input may have any number of axes before the last: (N, in) is a batch, (N, T, in) a batch of sequences, (in,) a
# single example. Only the last is touched. A batch of sequences is best read as N·T rows, which makes one large matrix
# product instead of N small ones.
#
# Both weight and bias start uniform between ±1/√in, as in PyTorch. Section 9 asks whether that is wise.
#
# **Exercise 6.1** Both methods of `Linear`. The parameters have the dtype that was asked for; without a bias, `bias`
# is `None`. Compute `y` with operations on tensors and not on their arrays. Autograd, in module 06, follows
# operations, and a detour through `numpy()` is where its trail ends.

# %% solution="linear"
#| export
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
        ### BEGIN SOLUTION
        bound = 1 / math.sqrt(in_features)
        self.weight = uniform_(Parameter(zeros((out_features, in_features), dtype)), -bound, bound, rng)
        self.bias = uniform_(Parameter(zeros(out_features, dtype)), -bound, bound, rng) if bias else None
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        out_features, in_features = self.weight.shape
        if x.ndim == 0 or x.shape[-1] != in_features:
            raise ShapeError(f"Linear takes in_features = {in_features} on the last axis, got shape {x.shape}")
        batch = x.shape[:-1]
        rows = x if x.ndim == 2 else x.reshape(math.prod(batch), in_features)  # one product for all leading axes
        y = rows @ self.weight.T
        if self.bias is not None:
            y = y + self.bias
        return y if x.ndim == 2 else y.reshape(*batch, out_features)
        ### END SOLUTION

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


# %%
class Unregistered(Linear):
    """A Linear without registration, so that it can be judged alone."""

    __setattr__ = object.__setattr__


def followed(compute, *sources):
    """For each source whether the result of compute() comes from it by operations that autograd can follow."""
    steps, before = [], Function.record
    Function.record = lambda function, tensors, output: steps.append((tensors, output))
    try:
        reached = {id(compute())}
    finally:
        Function.record = before
    for tensors, output in reversed(steps):
        reached |= {id(t) for t in tensors} if id(output) in reached else set()
    return [id(source) in reached for source in sources]


# %% check="linear_init" points=3 covers="linear"
def started(in_features, out_features, bias=True, seed=0, dtype="float32"):
    """What can be said about the parameters of new layers, without naming their numbers."""
    rng = np.random.default_rng(seed)
    first, second = (Unregistered(in_features, out_features, bias, rng, dtype) for _ in range(2))
    again = Unregistered(in_features, out_features, bias, np.random.default_rng(seed), dtype)
    bound, facts = 1 / math.sqrt(in_features), {}
    for name in ("weight", "bias"):
        a, b, c = (getattr(layer, name) for layer in (first, second, again))
        facts[name] = a if a is None else {
            "class": type(a).__name__, "shape": a.shape, "dtype": a.dtype.name,
            "within ±1/sqrt(in)": bool((abs(a.numpy()) <= bound * 1.001).all()),
            "uniform, by mean and standard deviation": fits(a.numpy(), bound / math.sqrt(3), 9 / 5),
            "another layer, other numbers": bool((a.numpy() != b.numpy()).any()),
            "the same seed, the same numbers": bool((a.numpy() == c.numpy()).all())}
    return facts

check("linear_init", [case(784, 128), case(20, 30, bias=False)], call=started)

# %% hidden="linear_init"
def cases(rng):
    def sizes():
        return [int(n) for n in rng.integers(100, 300, 2)]

    for _ in range(3):
        yield case(*sizes(), seed=int(rng.integers(1 << 30)), behaviour="shapes and statistics")
    yield case(int(rng.integers(2, 5)), 2000, seed=int(rng.integers(1 << 30)), behaviour="shapes and statistics")
    yield case(2000, int(rng.integers(20, 50)), seed=int(rng.integers(1 << 30)), behaviour="shapes and statistics")
    for _ in range(2):
        yield case(*sizes(), bias=False, seed=int(rng.integers(1 << 30)), behaviour="no bias")
    for dtype in ("float64", "float16"):
        yield case(*sizes(), dtype=dtype, seed=int(rng.integers(1 << 30)), behaviour="dtypes")


# %% check="linear" points=4
def through_linear(x, weight, bias=None, transposed=False, trail=False):
    """The output of a layer with given weights; for a refused input, what the message names.

    trail: instead, whether the output comes from x, weight and bias by operations on tensors.
    """
    layer = object.__new__(Unregistered)
    Module.__init__(layer)
    layer.weight, layer.bias = Parameter(weight), None if bias is None else Parameter(bias)
    layer.out_features, layer.in_features = weight.shape
    x = Tensor(x).transpose() if transposed else Tensor(x)
    try:
        return followed(lambda: layer.forward(x), x, layer.weight, layer.bias) if trail else layer.forward(x)
    except ShapeError as error:
        return {"the message names": [str(x.shape) in str(error), str(weight.shape[1]) in str(error)]}

check("linear", [
    case(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]]), np.array([10.0, 20.0])),
    case(np.ones((2, 4, 3)), np.arange(6.0).reshape(2, 3)),
    case(np.ones((3, 2)), np.ones((2, 3)), np.zeros(2)),
    case(np.ones((2, 3)), np.ones((2, 3)), np.zeros(2), trail=True),
], call=through_linear)

# %% hidden="linear"
def cases(rng):
    def whole(*shape, dtype="float64"):
        return rng.integers(-4, 5, shape).astype(dtype)  # exact in any order of summation

    def sizes(n):
        return [int(v) for v in rng.integers(2, 7, n)]

    for _ in range(4):
        n, i, o = sizes(3)
        yield case(rng.normal(size=(n, i)), rng.normal(size=(o, i)), rng.normal(size=o), behaviour="a batch, with a bias")
    for axes in (1, 3, 4, 5):
        *batch, i, o = sizes(axes + 1)
        yield case(whole(*batch, i), whole(o, i), whole(o), behaviour="any axes before the last")
    n, i, o = sizes(3)
    yield case(whole(n, n, n), whole(n, n), whole(n), behaviour="any axes before the last")
    yield case(whole(n, i), whole(o, i), behaviour="no bias")
    yield case(whole(2, n, i), whole(o, i), behaviour="no bias")
    yield case(whole(i, n), whole(o, i), whole(o), transposed=True, behaviour="dtypes and views")
    yield case(whole(i, 2, n), whole(o, n), whole(o), transposed=False, behaviour="dtypes and views")
    for dtype in ("float16", "float32"):
        yield case(whole(n, i, dtype=dtype), whole(o, i, dtype=dtype), whole(o, dtype=dtype), behaviour="dtypes and views")
    yield case(whole(n, i, dtype="int8"), whole(o, i, dtype="float32"), whole(o, dtype="float32"), behaviour="dtypes and views")
    edges = "no rows, NaN and infinity"
    yield case(whole(0, i), whole(o, i), whole(o), behaviour=edges)
    yield case(whole(3, 0, i), whole(o, i), whole(o), behaviour=edges)
    yield case(np.array([[np.nan, 1.0], [1.0, 2.0], [np.inf, 1.0]]), np.array([[1.0, 2.0], [3.0, -4.0]]), whole(2), behaviour=edges)
    for batch in ((), (n,), (2, n)):
        yield case(whole(*batch, i), whole(o, i), whole(o), trail=True, behaviour="operations that autograd can follow")
    for shape in ((n, i + 1), (i + 1,), (), (i, n + i)):
        yield case(np.ones(shape), whole(o, i), whole(o), behaviour="a last axis of another length is refused, with both lengths")


# %% [markdown]
# ## 7. Dropout
#
# In training, dropout sets each element to zero with probability p, independently of all others, and makes up for the
# loss by dividing the rest by 1 − p. **Worked example**, p = 0.75: an element of value 3 becomes 0 three times out of
# four and 12 once; on average it is 0.25 · 12 = 3. The mean of the activations is the same in training and in
# evaluation, so evaluation has nothing to do: it returns its input itself, and an exported model needs no dropout at
# all.
#
# Backward needs to know what was dropped, so the **mask** stays in memory until then. A float32 mask is as large as the
# activations; a bool, one byte, would be a quarter. For a batch of 32 sequences of 1024 tokens with 768 features a
# float32 mask is 100 MB, for each layer that drops. (PyTorch keeps bytes on a GPU. Fused attention keeps only the seed
# and draws the mask a second time.)
#
# **Exercise 7.1** `Dropout`. Probabilities outside 0 to 1 are refused with a message that says the value; NaN is one.
# p = 1 gives zeros for finite inputs. The dtype of a float input stays. Two calls draw different masks. As in `Linear`,
# the result comes from x by operations on tensors; the mask needs no trail. Without an
# `rng` of its own a layer draws from `default_rng()`, whichever generator that is at the time of the call.

# %% solution="dropout"
#| export
class Dropout(Module):
    """In training, zero each element with probability p and divide the others by 1 - p; in evaluation, return x itself.

    Raises ValueError if p is not between 0 and 1.
    """

    def __init__(self, p=0.5, rng=None):
        super().__init__()
        ### BEGIN SOLUTION
        if not 0 <= p <= 1:
            raise ValueError(f"p is the share of elements to drop, from 0 to 1, got {p}")
        ### END SOLUTION
        self.p, self.rng = p, rng

    def forward(self, x):
        ### BEGIN SOLUTION
        if not self.training or self.p == 0:
            return x
        keep = (self.rng or default_rng()).random(x.shape, dtype=float32) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        mask = np.multiply(keep, scale, dtype=x.dtype if x.dtype.kind == "f" else float32)
        return x * Tensor.from_numpy(np.asarray(mask))
        ### END SOLUTION

    def extra_repr(self):
        return f"p={self.p}"


# %% check="dropout" points=5
def dropped(shape, p, training=True, own=True, dtype="float32", seed=0):
    """What can be said about dropout of an array of numbers from 1 to 2. own: the layer gets its own generator."""
    def started(seed):
        layer = Dropout(p, np.random.default_rng(seed)) if own else Dropout(p)
        if not own:
            manual_seed(seed)
        layer.training = training
        return layer

    def outputs(seed):
        layer = started(seed)
        return [layer.forward(x) for _ in range(2)]

    x = Tensor(np.linspace(1, 2, math.prod(shape)).reshape(shape), dtype)
    before = x.numpy().copy()
    try:
        y, z = outputs(seed)
    except ValueError as error:
        return {"the message names p": str(p) in str(error)}
    kept, wide = y.numpy() != 0, before.astype("float64")
    scaled = wide[kept] / (1 - p) if p < 1 else wide[kept]
    allowed = 5 * math.sqrt(p * (1 - p) / max(kept.size, 1))
    return {
        "dtype and shape": (y.dtype.name, y.shape), "evaluation returns x itself": training or y is x,
        "x is left alone": bool((x.numpy() == before).all()),
        "kept elements are x / (1 - p)": bool(np.allclose(y.numpy()[kept], scaled, 2e-3 if dtype == "float16" else 1e-5)),
        "a share of 1 - p is kept": bool(kept.size == 0 or abs(kept.mean() - (1 - p if training else 1)) <= allowed),
        "elements are dropped one by one": [bool((kept != kept.take([0], axis)).any()) for axis in range(kept.ndim)],
        "the same seed, the same mask": bool((outputs(seed)[0].numpy() == y.numpy()).all()),
        "the next call, another mask": bool((y.numpy() != z.numpy()).any()),
        "autograd can follow": p == 1 or followed(lambda: started(seed).forward(x), x),
    }

check("dropout", [case((40, 50), 0.75), case((3, 4), 0.75, training=False), case((3,), 1.5)], call=dropped)

# %% hidden="dropout"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for p in (0.1, 0.3, 0.5, 0.9):
        yield case((int(rng.integers(50, 90)), int(rng.integers(50, 90))), p, seed=seed(), behaviour="the share and the scale")
    for shape in ((20, 30, 40), (5000,), (8, 4, 5, 60)):
        yield case(shape, 0.4, seed=seed(), behaviour="any number of axes")
    for p in (0.1, 0.5, 0.9, 1):
        yield case((6, 7), p, training=False, seed=seed(), behaviour="evaluation returns its input")
    yield case((9, 9), 0.0, behaviour="p = 0 and p = 1")
    yield case((9, 9), 1.0, behaviour="p = 0 and p = 1")
    yield case((9, 9), 1, dtype="float16", behaviour="p = 0 and p = 1")
    for dtype in ("float64", "float16", "float32"):
        yield case((70, 60), 0.25, dtype=dtype, seed=seed(), behaviour="dtypes")
    yield case((80, 80), 0.5, own=False, seed=seed(), behaviour="the default generator at the time of the call")
    yield case((0, 4), 0.5, behaviour="no elements")
    for p in (-0.1, 1.0001, float("nan"), float("inf"), -1):
        yield case((2,), p, behaviour="other probabilities are refused")


# %% [markdown]
# ## 8. Sequential
#
# `Sequential(Linear(64, 32), relu, Linear(32, 10))` applies its layers one after the other. They are registered under
# the names "0", "1", "2", so the parameters are `0.weight`, `0.bias`, `2.weight` and `2.bias`. A plain function is
# wrapped in a module: it gets a name and takes hooks like everybody else.

# %%
#| export
class Wrap(Module):
    """A function of tensors as a module, so that it has a name and takes hooks."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)

    def __repr__(self):
        return getattr(self.function, "__name__", repr(self.function))

# %% [markdown]
# **Exercise 8.1** `forward`, and indexing. An int gives the layer, from the end if it is negative. A slice gives a
# `Sequential` of the same layers, not of copies, numbered from "0" again: `body = model[:-1]` is the usual way to cut
# the head off a trained model.

# %% solution="sequential"
#| export
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
        ### BEGIN SOLUTION
        for layer in self._modules.values():
            x = layer(x)
        return x
        ### END SOLUTION

    def __getitem__(self, index):
        ### BEGIN SOLUTION
        layers = list(self._modules.values())
        if isinstance(index, slice):
            return Sequential(*layers[index])
        index = operator.index(index)
        if not -len(layers) <= index < len(layers):
            raise IndexError(f"index {index} is out of range for {len(layers)} layers")
        return layers[index]
        ### END SOLUTION

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())


# %% check="sequential" points=4
def chained(functions, x, index=None):
    """A Sequential of functions, or a part of it: class, names, output, and which of the layers it holds."""
    known = {"double": lambda x: 2 * x, "increment": lambda x: x + 1, "square": lambda x: x * x}
    model = Sequential(*(known[name] for name in functions))
    try:
        part = model if index is None else model[index]
    except IndexError as error:
        return {"the message names": [str(index) in str(error), str(len(functions)) in str(error)]}
    layers = list(part) if isinstance(part, Sequential) else [part]
    return {"class": type(part).__name__, "names": [name for name, _ in part.named_children()], "output": part(x),
            "layers": [next((k for k, own in enumerate(model) if own is layer), "a new object") for layer in layers]}

check("sequential", [
    case(["double", "increment", "square"], 3),
    case(["double", "increment", "square"], 3, slice(0, -1)),
    case(["double", "increment"], 3, 5),
], call=chained)

# %% hidden="sequential"
def cases(rng):
    def some(n):
        return [str(name) for name in rng.choice(["double", "increment", "square"], n)]

    for n in (2, 4, 5):
        yield case(["increment", "double", *some(n)], int(rng.integers(2, 6)), behaviour="layers in order")
        yield case(["double", "increment", *some(n)], rng.normal(size=(2, 3)), behaviour="layers in order")
    for index in (0, 1, 3, -1, -4):
        yield case(["increment", "double", "square", "increment"], 3, index, behaviour="an index, also from the end")
    for index in (slice(1, None), slice(None, -1), slice(None, None, 2), slice(None, None, -1), slice(-2, 99), slice(None)):
        yield case(["increment", "double", "square", "double"], 3, index, behaviour="slices")
    yield case([], 4, behaviour="no layers")
    yield case(some(3), 4, slice(2, 1), behaviour="no layers")
    for index in (13, -14, 99):
        yield case(some(13), 2, index, behaviour="an index out of range is refused, with the length")
    yield case([], 2, 0, behaviour="an index out of range is refused, with the length")


# %% [markdown]
# ## 9. Where weights start
#
# An output sums `fan_in` products. If the inputs have mean square $q$, and the weights are independent with mean 0 and
# variance $v$, then the output has variance
#
# $$\text{fan}_{\text{in}} \cdot v \cdot q.$$
#
# **Worked example.** 256 inputs with $q = 1$, weights with $v = 0.01$: the output has variance 2.56. Ten such layers
# make that $2.56^{10} \approx 12\,000$; with $v = 0.001$ they make it $0.256^{10} \approx 10^{-6}$. The only $v$ that
# neither explodes nor dies is 1 / fan_in.
#
# Two corrections. A **ReLU** sets half of a symmetric signal to zero, so the mean square that it passes on is half of
# what it got. He et al. make up for it with $v = 2 / \text{fan}_{\text{in}}$, or a **gain** of √2 on the standard
# deviation. And the gradient on its way back is a sum over `fan_out` outputs: what is right forward is wrong backward
# unless the two fans are equal. Glorot and Bengio took the mean of the two conditions: $v$ is 1 over the average of
# fan_in and fan_out, times gain².
#
# | scheme | variance | fans (784, 128), gain 1 | made for |
# |---|---|---|---|
# | Xavier (Glorot and Bengio 2010) | gain² / mean of the fans | 1 / 456 | tanh, linear |
# | Kaiming (He et al. 2015) | gain² / fan, by choice the one in or out | 1 / 784, or 1 / 128 | ReLU |
#
# In a convolution the weight has shape (O, I, K, K). One output element sums I channels in a K × K window; one input
# element reaches O channels through as many positions. The weight (64, 3, 7, 7) has fan_in 3 · 49 = 147 and fan_out
# 64 · 49 = 3136. Kernels may have any number of axes: none, as in a `Linear`, one, two, three.
#
# The distribution matters less than its variance. Uniform numbers between −a and a have variance a²/3.
#
# **Exercise 9.1** The fans of a weight. **Exercise 9.2** The two standard deviations. **Exercise 9.3** Uniform numbers
# of a given standard deviation, written in place; `uniform_` above draws and writes.

# %% solution="fans"
#| export
def fans(shape):
    """(fan_in, fan_out) of a weight (out, in, *kernel): the numbers that one output sums, and those one input reaches.

    Raises ShapeError, with the shape, for fewer than two axes.
    """
    ### BEGIN SOLUTION
    if len(shape) < 2:
        raise ShapeError(f"fan_in and fan_out need a weight of two or more axes, got shape {tuple(shape)}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window
    ### END SOLUTION


# %% solution="weight_std"
#| export
def xavier_std(fan_in, fan_out, gain=1.0):
    """Standard deviation by Glorot and Bengio 2010."""
    ### BEGIN SOLUTION
    return gain * math.sqrt(2 / (fan_in + fan_out))
    ### END SOLUTION


def kaiming_std(fan_in, fan_out, gain, mode="fan_in"):
    """Standard deviation by He et al. 2015. Raises ValueError, with the mode, unless it is "fan_in" or "fan_out"."""
    ### BEGIN SOLUTION
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is 'fan_in' or 'fan_out', got {mode!r}")
    return gain / math.sqrt(fan_in if mode == "fan_in" else fan_out)
    ### END SOLUTION


# %% solution="uniform_std"
#| export
def uniform_std_(tensor, std, rng=None):
    """Fill with uniform numbers of mean 0 and standard deviation std, in place -> tensor."""
    ### BEGIN SOLUTION
    bound = math.sqrt(3) * std
    return uniform_(tensor, -bound, bound, rng)
    ### END SOLUTION


# %% check="fans" points=2
def fans_of(shape):
    try:
        return fans(shape)
    except ShapeError as error:
        return {"the message names the shape": str(shape) in str(error)}

check("fans", [case((128, 784)), case((64, 3, 7, 7)), case((5,))], call=fans_of, compare="value")

# %% hidden="fans"
def cases(rng):
    def lengths(n):
        return tuple(int(v) for v in rng.permutation(range(2, 12))[:n])

    for _ in range(3):
        yield case(lengths(2), behaviour="matrices")
    for axes in (3, 4, 4, 5):
        yield case(lengths(axes), behaviour="kernels of any number of axes")
    for shape in ((int(rng.integers(2, 9)),), ()):
        yield case(shape, behaviour="fewer than two axes are refused")


# %% check="weight_std" points=3
def std_of(scheme, *arguments):
    try:
        return {"xavier": xavier_std, "kaiming": kaiming_std}[scheme](*arguments)
    except ValueError as error:
        return {"the message says the mode": arguments[-1] in str(error)}

check("weight_std", [
    case("xavier", 784, 128),
    case("kaiming", 784, 128, 1.0, "fan_out"),
    case("kaiming", 784, 128, 1.0, "fan_inn"),
], call=std_of, compare="value")

# %% hidden="weight_std"
def cases(rng):
    def numbers():
        return int(rng.integers(10, 400)), int(rng.integers(10, 400)), float(rng.uniform(1.1, 2))

    for _ in range(3):
        yield case("xavier", *numbers(), behaviour="Xavier, with a gain")
        yield case("kaiming", *numbers(), behaviour="Kaiming by fan_in, with a gain")
        yield case("kaiming", *numbers(), "fan_out", behaviour="Kaiming by fan_out")
    for mode in ("fan_avg", "in", ""):
        yield case("kaiming", *numbers(), mode, behaviour="another mode is refused")


# %% check="uniform_std" points=3
def drawn(shape, std, seed=0, dtype="float32", column=None):
    """What can be said about a tensor that was filled; column: it is a column of a larger tensor of zeros."""
    def fill(seed):
        whole = zeros(shape, dtype)
        part = whole if column is None else whole[:, column]
        return whole, part, uniform_std_(part, std, np.random.default_rng(seed))

    whole, part, result = fill(seed)
    values, others = part.numpy(), whole.numpy().copy()
    if column is not None:
        others[:, column] = 0
    most = abs(values.astype("float64")).max(initial=0) / (std * math.sqrt(3))
    return {
        "is the tensor itself": result is part, "dtype": part.dtype.name,
        "other columns are left alone": column is None or not others.any(),
        "mean and standard deviation": fits(values, std, 9 / 5),
        "uniform, by the largest": bool(1 - 30 / values.size <= most <= 1.001),
        "the same seed, the same numbers": bool((fill(seed)[1].numpy() == values).all()),
        "another seed, other numbers": bool((fill(seed + 1)[1].numpy() != values).any())}

check("uniform_std", [case((100, 200), 0.5), case((3000, 4), 2.0, column=1)], call=drawn)

# %% hidden="uniform_std"
def cases(rng):
    def some():
        return float(rng.uniform(0.01, 3)), int(rng.integers(1 << 30))

    for shape in ((150, 60), (30, 20, 5, 5), (8000,)):
        yield case(shape, *some(), behaviour="mean, standard deviation and shape of the distribution")
    for dtype in ("float64", "float16"):
        yield case((200, 60), *some(), dtype=dtype, behaviour="dtypes")
    for column in (0, 2):
        yield case((5000, 3), *some(), column=column, behaviour="a view is filled in place")


# %% [markdown]
# The four initialisers that users call are now one line each, and `gain` knows the factor for a nonlinearity.

# %%
#| export
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

# %%
#| export
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

# %% [markdown]
# Check them as a stranger would: draw, measure, compare with what the formula says. √2 for ReLU is not a convention; it
# is one over the root mean square that a ReLU leaves of a standard normal signal.

# %% show
rng = np.random.default_rng(3)
for shape in ((128, 784), (64, 32, 3, 3)):
    inside, outside = fans(shape)
    for name, fill, wanted, kurtosis in (
            ("xavier_uniform_", xavier_uniform_, math.sqrt(2 / (inside + outside)), 9 / 5),
            ("xavier_normal_", xavier_normal_, math.sqrt(2 / (inside + outside)), 3),
            ("kaiming_uniform_", kaiming_uniform_, math.sqrt(2 / inside), 9 / 5),
            ("kaiming_normal_", kaiming_normal_, math.sqrt(2 / inside), 3)):
        weight = fill(zeros(shape), rng=rng).numpy()
        fit = fits(weight, wanted, kurtosis)
        print(f"{name:17} {str(shape):15} std {weight.std():.5f}, wanted {wanted:.5f}, fits: {fit}")
signal = rng.normal(size=1_000_000)
print(f"1 / root mean square of relu(signal): {1 / np.sqrt((np.maximum(signal, 0) ** 2).mean()):.4f}")

# %% [markdown]
# ## 10. A model, its names, its state
#
# Before you run the cell: how many entries has the state, and which lines refuse?

# %%
def relu(x):
    return x * (x > 0)


# %% show
manual_seed(0)
model = Sequential(Linear(64, 32), relu, Dropout(0.2), Sequential(Linear(32, 32, bias=False), relu), Linear(32, 10))
print(model)
print([name for name, _ in model.named_parameters()], sum(p.numel() for p in model.parameters()), "numbers")

held = list(model.parameters())
best = model.state_dict()
for parameter in held:
    parameter.mul_(0.5)                     # stands for training
model.load_state_dict(best)
print("the same objects after loading:", all(a is b for a, b in zip(held, model.parameters(), strict=True)))

x = Tensor(np.random.default_rng(1).normal(size=(5, 64)), "float32")
print("two runs in training agree:  ", np.array_equal(model(x).numpy(), model(x).numpy()))
model.eval()
print("two runs in evaluation agree:", np.array_equal(model(x).numpy(), model(x).numpy()))

wrong = {name.replace("4.", "head."): value for name, value in best.items()}
wrong["0.weight"] = wrong["0.weight"].T
for attempt in (lambda: model.load_state_dict(wrong), lambda: model(x[:, :63]),
                lambda: setattr(model[0], "weight", zeros((32, 64))), lambda: model[7], lambda: model.train("eval"),
                lambda: Dropout(20), lambda: gain("rellu"), lambda: model[0].wieght):
    try:
        attempt()
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        print(f"{type(error).__name__:14} {error}")

# %% [markdown]
# ## 11. What it costs
#
# Estimate or predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to
# run before.

# %% show
import tempfile
import time
import tracemalloc

import matplotlib.pyplot as plt


def best_of(f, repeat=5):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)

# %% [markdown]
# ### 11.1 Bytes in memory, bytes on disk
#
# A small language model holds an embedding matrix `encoder.weight` of shape (8000, 256), a `Linear(256, 256)` with
# bias, and `decoder.weight`, which is the same `Parameter` as `encoder.weight`. All are float32. Its `state_dict()`
# is written with `np.savez`, which stores each entry uncompressed, plus some hundred bytes for its name and shape.
# How large is the file?

# %% answer="file_bytes" points=2
file_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
file_bytes = f"{(2 * 8000 * 256 + 256 * 256 + 256) * 4} B"
### END SOLUTION

# %% key="file_bytes"
from mlsysbook import Key, Mistake


def key(v):
    table, linear, size = 8000 * 256, 256 * 256 + 256, 4
    return Key((2 * table + linear) * size, "B", tol=0.01, mistakes=(
        Mistake((table + linear) * size, 0.5, "that is what memory holds; state_dict has an entry for each name, so the tied "
                                              "matrix is written twice"),
        Mistake(2 * table * size, 0.5, "the Linear between the two has 256 · 256 weights and 256 biases as well"),
        Mistake(2 * table + linear, 0.25, "that counts numbers; a float32 takes 4 bytes"),
    ))

# %% show
class Table(Module):
    """A matrix of word vectors; enough of an embedding to be counted."""

    def __init__(self, rows, features, dtype):
        super().__init__()
        self.weight = normal_(Parameter(zeros((rows, features), dtype)))


print("dtype     parameters() in memory   storages grew by   state_dict()   file")
for dtype in ("float64", "float32", "float16"):
    model = state = None
    before = Storage.live_bytes
    model = Module()
    model.encoder = Table(8000, 256, dtype)
    model.middle = Linear(256, 256, dtype=dtype)
    model.decoder = Table(1, 1, dtype)
    model.decoder.weight = model.encoder.weight
    live = Storage.live_bytes - before
    state = model.state_dict()
    with tempfile.TemporaryFile() as file:
        np.savez(file, **{name: tensor.numpy() for name, tensor in state.items()})
        size = file.seek(0, 2)
    counted = sum(p.nbytes for p in model.parameters())
    print(f"{dtype}  {counted:18,} B  {live:18,} B  {sum(t.nbytes for t in state.values()):12,} B  {size:12,} B")
model = state = None

# %% [markdown]
# One matrix in memory, two in the state. The state is a copy, so saving a model takes the bytes of its state on top of
# the model for a moment. Files of large models are written tensor by tensor for that reason, and formats such as
# safetensors refuse tied entries, so that somebody has to decide.
#
# ### 11.2 Twenty layers
#
# Inputs with mean square 1 pass through 20 times `Linear(256, 256, bias=False)`, each followed by ReLU. The weights
# are uniform between ±1/√256, as `Linear` draws them. What is the **root** mean square after the last ReLU? Use the
# variance of a uniform number, the variance of a sum, and what ReLU leaves of a mean square.

# %% answer="signal_left" points=2
signal_left = ""  # a number, such as "0.25" or "3e-4"
### BEGIN SOLUTION
signal_left = f"{(1 / 3 / 2) ** (20 / 2):.4g}"
### END SOLUTION

# %% key="signal_left"
def key(v):
    variance, passed, layers = 1 / 3, 1 / 2, 20
    return Key((variance * passed) ** (layers / 2), "", tol=0.05, mistakes=(
        Mistake((variance * passed) ** layers, 0.5, "that is the mean square; its root was asked for"),
        Mistake(variance ** (layers / 2), 0.5, "each ReLU halves the mean square"),
        Mistake(passed ** (layers / 2), 0.5, "weights between ±1/√n have variance 1/(3 n), not 1/n"),
    ))

# %% [markdown]
# Measured, with a hook on each ReLU. Three ways to start: `Linear`'s own, Kaiming's, and weights twice as large as
# Kaiming's.

# %% show
def depth_profile(start, layers=20, width=256, batch=256):
    """Root mean square of the signal after each of the ReLUs; start(weight) fills a weight in place."""
    rng = np.random.default_rng(5)
    stack = Sequential(*(layer for _ in range(layers) for layer in (Linear(width, width, bias=False, rng=rng), relu)))
    profile = []

    def note(module, inputs, output):
        profile.append(float(np.sqrt((output.numpy() ** 2).mean())))

    for linear, activation in zip(stack[::2], stack[1::2], strict=True):
        start(linear.weight, rng)
        activation.register_forward_hook(note)
    stack(Tensor(rng.normal(size=(batch, width)), "float32"))
    return profile


starts = {"uniform ±1/√n, Linear's own": lambda weight, rng: weight,
          "kaiming_normal_": lambda weight, rng: kaiming_normal_(weight, rng=rng),
          "twice kaiming_normal_": lambda weight, rng: kaiming_normal_(weight, rng=rng).mul_(2)}
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (label, start), marker in zip(starts.items(), "osv", strict=True):
    profile = depth_profile(start)
    axes.semilogy(range(1, 21), profile, marker=marker, label=label)
    print(f"{label:28} after 1 layer {profile[0]:8.3g}, after 20 layers {profile[-1]:8.3g}")
axes.axhline(65504, color="grey", linestyle="--")
axes.annotate("largest float16", (1, 65504), xytext=(0, 4), textcoords="offset points", color="grey")
axes.set(xlabel="layer", ylabel="root mean square of the signal", xticks=range(1, 21),
         title="The same network, three starts")
axes.legend()
plt.show()

# %% [markdown]
# Each curve is a straight line on the logarithmic axis: the same factor in each layer. `torch.nn.Linear` starts on the
# lowest one too, and in a network of three layers nobody notices. Biases hide it: drawn from the same range, they keep
# the output at about 0.03, but it is the same 0.03 for every input, to six digits. Even Kaiming's curve does not stay
# at 1 exactly. Its factor is right on average over all weights, and one draw of finite width drifts. The gradient on
# its way back is multiplied by the same weights: where the signal dies it dies too, and the first layers do not move.
# The exploding curve crosses the largest float16 in layer 17; behind it there is infinity, and then NaN.
#
# ### 11.3 One example or sixty-four
#
# `Linear(2048, 2048)` in float32 has 16 MiB of weights. Every call reads all of them once, for 1 example or for 64. How
# many floating-point operations are done for each byte that is moved, with a batch of 64? Count a multiplication and an
# addition as two, and count weights, inputs and outputs once each; leave the bias out.

# %% answer="intensity" points=2
intensity = ""  # operations for each byte, a number such as "0.5"
### BEGIN SOLUTION
intensity = f"{2 * 64 * 2048 * 2048 / (4 * (2048 * 2048 + 2 * 64 * 2048)):.4g}"
### END SOLUTION

# %% key="intensity"
def key(v):
    n, batch, size = 2048, 64, 4
    operations, numbers = 2 * batch * n * n, n * n + 2 * batch * n
    return Key(operations / (size * numbers), "", tol=0.02, mistakes=(
        Mistake(operations / 2 / (size * numbers), 0.5, "a multiplication and an addition count as two operations"),
        Mistake(operations / numbers, 0.5, "that is operations for each number; a float32 has 4 bytes"),
        Mistake(operations / (size * n * n), 0.75, "inputs and outputs are moved too, 64 · 2048 numbers each"),
        Mistake(2 * n * n / (size * (n * n + 2 * n)), 0.25, "that is a batch of 1; the weights are read once for all 64"),
    ))

# %% [markdown]
# With a batch of 1 the same ratio is 0.5. **How many times longer does one example take** alone than as one of a batch
# of 64, time of the call divided by the number of examples?

# %% predict="batch_gain" points=1
# predict("batch_gain", "number", low="number", high="number")
### BEGIN SOLUTION
predict("batch_gain", "12", low="3", high="40")
### END SOLUTION

# %% show
layer = Linear(2048, 2048)
batches = {batch: Tensor(np.ones((batch, 2048), "float32")) for batch in (1, 4, 16, 64)}
each = dict.fromkeys(batches, math.inf)
for _ in range(15):                         # in turns, so that a disturbance hits all of them
    for batch, x in batches.items():
        each[batch] = min(each[batch], best_of(lambda x=x: layer(x), 1) / batch)
reveal("batch_gain", f"{each[1] / each[64]:.3g}")
for batch, seconds in each.items():
    moved = 4 * (2048 * 2048 + 2 * batch * 2048)
    print(f"batch {batch:2}: {seconds * 1e3:6.3f} ms an example, {2 * batch * 2048**2 / moved:5.1f} FLOP/B, "
          f"{2 * 2048**2 / seconds / 1e9:6.1f} GFLOP/s, {moved / (seconds * batch) / 1e9:5.1f} GB/s")
layer = x = batches = None

# %% [markdown]
# A batch of 1 spends its time fetching weights. Its GB/s are what the memory, or a cache that holds 16 MiB, delivers;
# its GFLOP/s are far below what the processor can do. With 64 it is the other way round: the same weights, once
# fetched, serve 64 examples. A server that answers many users of a language model at once pays for the weights once a
# step.
#
# ### 11.4 What a mask costs
#
# `Dropout(0.5)` in training gets a float32 tensor `x`. At its worst moment, **how many times the bytes of `x`** are
# allocated on top of `x`? Think of what your `forward` draws, compares, makes and returns, and of what is already gone
# by then.

# %% predict="dropout_peak" points=1
# predict("dropout_peak", "number", low="number", high="number")
### BEGIN SOLUTION
predict("dropout_peak", "2.25", low="1.5", high="4")
### END SOLUTION

# %% show
x, layer = zeros((1024, 2048)), Dropout(0.5)
tracemalloc.start()
Storage.peak_bytes = held = Storage.live_bytes
y = layer(x)
most, stored = tracemalloc.get_traced_memory()[1], Storage.peak_bytes - held
tracemalloc.stop()
reveal("dropout_peak", f"{most / x.nbytes:.3g}")
print(f"x has {x.nbytes:,} B; peak by tracemalloc {most / x.nbytes:.2f} times that, "
      f"in storages {stored / x.nbytes:.2f} times")
times = {"training": best_of(lambda: layer(x), 3), "multiplying by 2": best_of(lambda: x * 2.0, 3)}
layer.eval()
times["evaluation"] = best_of(lambda: layer(x), 3)
for name, seconds in times.items():
    print(f"{name:17} {seconds * 1e3:8.3f} ms")
x = y = layer = None

# %% [markdown]
# The mask and the result are in storages; the difference is what was drawn and thrown away. The result lives on, and
# once autograd keeps what it needs, so does the mask. In time it is the generator that costs, not the product.
#
# ### 11.5 The price of a name
#
# A `Linear(8, 8)` is called as a module and, for comparison, its arithmetic is done on the bare NumPy arrays. **How
# many times longer does the module take** for one row?

# %% predict="overhead" points=1
# predict("overhead", "number", low="number", high="number")
### BEGIN SOLUTION
predict("overhead", "10", low="3", high="40")
### END SOLUTION

# %% show
def many(f, times=500):
    for _ in range(times):
        f()


print("features   module       arrays       ratio")
for features in (8, 64, 512):
    layer, x = Linear(features, features), Tensor(np.ones((1, features), "float32"))
    a, w, b = x.numpy(), layer.weight.numpy(), layer.bias.numpy()
    slow = best_of(lambda layer=layer, x=x: many(lambda: layer(x)), 3) / 500
    fast = best_of(lambda a=a, w=w, b=b: many(lambda: a @ w.T + b), 3) / 500
    if features == 8:
        reveal("overhead", f"{slow / fast:.3g}")
    print(f"{features:8}   {slow * 1e6:7.2f} µs   {fast * 1e6:7.2f} µs   {slow / fast:6.2f}")

# %% [markdown]
# Finding `weight` in a registry, making a view for the transpose, choosing dtypes and shapes, and wrapping results cost
# tens of microseconds a layer, whatever its size. For 512 features the product begins to catch up. PyTorch pays a toll
# of this kind too; to capture the calls once as a graph and to replay that is the way around it.
#
# ## 12. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="frozen_loss" points=4
# A script fine-tunes a downloaded model. It builds `optimizer = SGD(model.parameters(), lr=0.1)`, then replaces the
# head by `model.head = Linear(512, 5)`, then restores the body with a loop `for name, a in arrays.items():
# setattr(..., Parameter(a))` over the submodules. It trains without an error, and the loss stays the same from the
# first step to the last. In six to ten sentences: explain why, with what the optimizer holds and what the model
# reads; say how two lines of code would show it; repair the script and say why your repair works; and explain what
# `load_state_dict` would have done about a body whose names differ.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The optimizer holds the Parameter objects that existed when it was built. Both the new head and the assigned
#    Parameters are other objects, registered under the same names: the model reads these, the optimizer steps those.
# 2. A test by identity, such as `{id(p) for p in model.parameters()} & {id(p) for g in optimizer.param_groups for p in
#    g["params"]}` being empty, or a parameter that is equal before and after `step()` although its gradient is not 0.
#    Comparing names, shapes or values earns no point: all of these agree.
# 3. A repair with its reason: replace the head first, load the body in place with `load_state_dict(..., strict=False)`,
#    and build the optimizer after the last change of objects. Loading in place keeps objects; the new head is a new
#    object in any case, so the optimizer must be built, or told by add_param_group, after it.
# 4. It refuses before writing anything and lists missing, unexpected (with the nearest name) and mismatched entries
#    together; with strict=False it would pass over them silently unless the returned lists are looked at.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A module is a tree of names. Assignment registers parameters, modules and buffers; everything else is invisible to
# optimizers and files. State goes out as copies by name and comes in place, whole or not at all. Hooks look at a
# model without changing it. And a layer's starting variance decides whether twenty of them carry a signal: 1/fan_in,
# times two for ReLU, checked by statistics whose tolerance follows from the sample size.
#
# The same parts under their names in PyTorch:
#
# | here | PyTorch |
# |---|---|
# | `Parameter`, `Module` | `torch.nn.Parameter`, which shares its data instead of copying; `torch.nn.Module` |
# | `register` | `Module.__setattr__`, with the same registries `_parameters`, `_buffers`, `_modules` |
# | `named_modules(shared=True)` | `named_modules(remove_duplicate=False)` |
# | `state_dict()` | the same names in the same order; its tensors share memory with the model |
# | `StateError` | `RuntimeError: Error(s) in loading state_dict`; there dtypes are converted silently |
# | `Handle` | `torch.utils.hooks.RemovableHandle`, from the same `register_forward_hook` |
# | `Linear`, `Dropout`, `Sequential` | in `torch.nn`; a slice keeps its old names there, a function must be made a module |
# | `xavier_uniform_`, `kaiming_normal_`, ... | in `torch.nn.init`; `gain` is `calculate_gain` |
# | `manual_seed`, `rng` | `torch.manual_seed`, `torch.Generator` |
#
# Module 04 says how wrong an output is. The first thing it has to get right is a batch whose shape almost fits.
