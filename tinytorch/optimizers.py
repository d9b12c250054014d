# Exported from modules/tinytorch/07_optimizers by `mlsys build`; edit the module's source, not this file.

"""Optimizers, learning rate schedules and gradient clipping.

    Optimizer <- SGD, RMSProp, Adam <- AdamW          parameter groups, state, one step
    Scheduler <- StepLR, CosineWithWarmup, OneCycleLR  the learning rate as a function of the number of steps
    clip_grad_norm_, clip_grad_value_                  between backward and step

An optimizer reads the gradient that autograd left on a parameter and writes the parameter in place. Update rules are
functions on arrays, applied in blocks that fit the processor's cache.
"""

import difflib
import math

import numpy as np

from tinytorch.backend import native_step
from tinytorch.tensor import DTypeError, OverlapError, ShapeError, Tensor, float16, float32, overlaps, zeros


def velocity(buffer, grad, momentum, dampening=0.0):
    """The velocity after grad has arrived -> array of grad's shape. buffer: the velocity before, None at first."""
    if buffer is None:
        return grad
    return momentum * buffer + (1 - dampening) * grad


def look_ahead(grad, buffer, momentum):
    """Nesterov's direction -> array of grad's shape. buffer is the velocity that already contains grad."""
    return grad + momentum * buffer


def rmsprop_rule(x, grad, square, mean, buffer, *, lr, alpha, eps, momentum=0.0):
    """One step of RMSProp -> (x, square, mean, buffer), new arrays.

    square: running average of grad². mean: that of grad, for the centered variant, or None. buffer: the accumulated
    direction if there is momentum, or None. Source: Hinton 2012 (lecture 6e), Graves 2013 (centered).
    """
    square = alpha * square + (1 - alpha) * grad * grad
    spread = square
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * grad
        spread = np.maximum(square - mean * mean, 0)
    direction = grad / (np.sqrt(spread) + eps)
    if buffer is not None:
        direction = buffer = momentum * buffer + direction
    return x - lr * direction, square, mean, buffer


def adam_rule(x, grad, first, second, step, *, lr, betas, eps):
    """One step of Adam -> (x, first, second), new arrays.

    first, second: running averages of grad and grad², uncorrected. step counts from 1. Source: Kingma and Ba 2015.
    """
    beta1, beta2 = betas
    first = beta1 * first + (1 - beta1) * grad
    second = beta2 * second + (1 - beta2) * grad * grad
    root = np.sqrt(second / (1 - beta2**step)) + eps
    return x - lr / (1 - beta1**step) * first / root, first, second


def decay(x, grad, *, lr, weight_decay, decoupled):
    """Weight decay before a step -> (x, grad), as the rule is to see them.

    Coupled: as if weight_decay / 2 times the sum of x² were added to the loss. Decoupled: the weights shrink first.
    Source: Loshchilov and Hutter 2019.
    """
    if decoupled:
        return x - lr * weight_decay * x, grad
    return x, grad + weight_decay * x


def param_group(group, defaults, held=()):
    """A complete parameter group -> new dict with "params", a list, and a value for each key of defaults.

    group: a dict with "params" (a tensor or an iterable of them) and any of the keys of defaults. held: parameters that
    the optimizer has already. Raises ValueError, TypeError or DTypeError, with key or position in the message.
    """
    for key in group:
        if key not in defaults and key != "params":
            near = difflib.get_close_matches(str(key), defaults, 1, cutoff=0)
            raise ValueError(f"unknown key {key!r} in a parameter group; the nearest is {near[0]!r}, "
                             f"all are {', '.join(['params', *defaults])}")
    params = group.get("params", [])
    params = [params] if isinstance(params, Tensor) else list(params)
    if not params:
        raise ValueError("the parameter list is empty: pass model.parameters(), and a new generator each time")
    seen = {id(p) for p in held}
    for position, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise TypeError(f"parameter {position} is a {type(p).__name__}, wanted a Tensor")
        if p.dtype.kind != "f":
            raise DTypeError(f"parameter {position} has dtype {p.dtype}: only floats can follow a gradient")
        if p.grad_fn is not None or not p.requires_grad:
            why = "is the result of an operation" if p.grad_fn is not None else "does not require a gradient"
            raise ValueError(f"parameter {position}, of shape {p.shape}, {why}: wanted a leaf with requires_grad=True")
        if id(p) in seen:
            raise ValueError(f"parameter {position}, of shape {p.shape}, is there twice: it would be updated twice")
        seen.add(id(p))
    return {"params": params} | {key: group.get(key, value) for key, value in defaults.items()}


def in_blocks(rule, arrays, size=32768):
    """Apply an elementwise rule in place, at most size elements at a time.

    arrays: x, grad and any number of state arrays, of one shape, on any strides. rule takes one flat array for each and
    returns the new x and state arrays; float16 is computed in float32. Temporaries of the rule stay in the cache.
    """
    flat = [a.reshape(-1) if a.flags.c_contiguous else a.flat for a in arrays]
    written = [flat[0], *flat[2:]]
    for start in range(0, arrays[0].size, size):
        part = slice(start, start + size)
        blocks = [a[part] for a in flat]
        blocks = [b.astype(float32) if b.dtype == float16 else b for b in blocks]
        for target, values in zip(written, rule(*blocks), strict=True):
            target[part] = values


def check_number(group, name, low=0.0, high=math.inf):
    """Make group[name] a float in [low, high). Raises TypeError or ValueError with the name in the message."""
    value = group[name]
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is a number, got {value!r} of type {type(value).__name__}")
    if not low <= value < high:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}), got {value!r}")
    group[name] = float(value)


class Optimizer:
    """Parameters in groups, their state, and one step.

    params: tensors, or dicts that are completed with defaults. param_groups: list of dicts with "params" and
    hyperparameters, which may be changed between steps. state: parameter -> {"step": int, name: Tensor}. A subclass
    says in slots(group) which arrays of state there are, and in rule(...) what a step does; check(group) refuses
    hyperparameters that make no sense.

    Raises ValueError, TypeError or DTypeError for parameters and hyperparameters that do not fit.
    """

    decoupled = False

    def __init__(self, params, defaults):
        if isinstance(params, Tensor | dict):
            raise TypeError(f"params is a list of tensors or dicts, got one {type(params).__name__}: put it in a list")
        self.defaults, self.param_groups, self.state = dict(defaults), [], {}
        groups = list(params)
        for group in groups if groups and isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group):
        """Add one dict with "params" and any hyperparameters; the others take their defaults."""
        if not isinstance(group, dict):
            raise TypeError(f"a parameter group is a dict, got {type(group).__name__}")
        group = param_group(group, self.defaults, [p for g in self.param_groups for p in g["params"]])
        self.check(group)
        self.param_groups.append(group)

    def check(self, group):
        check_number(group, "lr")
        check_number(group, "weight_decay")

    def slots(self, group):
        """Names of the arrays of state that a parameter of this group has."""
        return ()

    def rule(self, x, grad, slots, step, group):
        """New values for x and each of slots, flat arrays. step counts from 1; slots hold None before their first."""
        raise NotImplementedError(f"{type(self).__name__} has no rule")

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self):
        """Update every parameter that has a gradient, in place."""
        todo = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p, _ in todo:
            if p.grad.shape != p.shape:
                raise ShapeError(f"a gradient of shape {p.grad.shape} for a parameter of shape {p.shape}")
            if overlaps(p.layout):
                raise OverlapError(f"a parameter of shape {p.shape} with strides {p.strides}: elements share a place")
        with np.errstate(all="ignore"):
            for p, group in todo:
                self._update(p, group)

    def _update(self, p, group):
        state = self.state.setdefault(p, {"step": 0})
        state["step"] = step = state["step"] + 1
        names = self.slots(group)
        known = [name in state for name in names]
        for name, old in zip(names, known, strict=True):
            if not old:
                state[name] = zeros(p.shape, p.dtype)

        def rule(x, grad, *slots):
            if group["weight_decay"]:
                x, grad = decay(x, grad, lr=group["lr"], weight_decay=group["weight_decay"], decoupled=self.decoupled)
            slots = tuple(slot if old else None for slot, old in zip(slots, known, strict=True))
            return self.rule(x, grad, slots, step, group)

        arrays = [p.numpy(), p.grad.numpy(), *(state[name].numpy() for name in names)]
        if not native_step(self, group, step, known, arrays):  # by a compiled kernel, if there is one
            in_blocks(rule, arrays)
        p.storage.version += 1

    def state_dict(self):
        """State and groups as plain data and arrays, parameters by position: {"state": ..., "param_groups": ...}."""
        return pack(self.param_groups, self.state)

    def load_state_dict(self, saved):
        """Go on from what state_dict returned. What does not fit is a ValueError or ShapeError and changes nothing."""
        groups, state = unpack(saved, self.param_groups)
        for group in groups:
            self.check(group)
        self.param_groups, self.state = groups, state

    def __repr__(self):
        lines = []
        for k, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value!r}" for name, value in group.items() if name != "params")
            elements = sum(p.numel() for p in group["params"])
            lines.append(f"  group {k}: {elements:,} elements in {len(group['params'])} tensors, {options}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, dampening, Nesterov's variant and weight decay.

    Formulas as in torch.optim.SGD. State: momentum_buffer, if there is momentum.
    """

    def __init__(self, params, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov,
                                  "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        check_number(group, "momentum")
        check_number(group, "dampening")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(f"nesterov wants momentum > 0 and dampening 0, got momentum={group['momentum']} and "
                             f"dampening={group['dampening']}")

    def slots(self, group):
        return ("momentum_buffer",) if group["momentum"] else ()

    def rule(self, x, grad, slots, step, group):
        if not slots:
            return (x - group["lr"] * grad,)
        buffer = velocity(slots[0], grad, group["momentum"], group["dampening"])
        direction = look_ahead(grad, buffer, group["momentum"]) if group["nesterov"] else buffer
        return x - group["lr"] * direction, buffer


class RMSProp(Optimizer):
    """A rate for each element: the gradient divided by the root of a running average of its square.

    Formulas as in torch.optim.RMSprop. State: square_avg, with momentum momentum_buffer, centered grad_avg.
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered,
                                  "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        check_number(group, "alpha", 0, 1)
        check_number(group, "eps")
        check_number(group, "momentum")

    def slots(self, group):
        used = {"square_avg": True, "grad_avg": group["centered"], "momentum_buffer": group["momentum"]}
        return tuple(name for name, use in used.items() if use)

    def rule(self, x, grad, slots, step, group):
        names = self.slots(group)
        have = {name: np.zeros_like(x) if slot is None else slot for name, slot in zip(names, slots, strict=True)}
        x, *new = rmsprop_rule(x, grad, have["square_avg"], have.get("grad_avg"), have.get("momentum_buffer"),
                               lr=group["lr"], alpha=group["alpha"], eps=group["eps"], momentum=group["momentum"])
        return x, *(slot for slot in new if slot is not None)


class Adam(Optimizer):
    """Running averages of gradient and square, both corrected for their start at zero; weight decay is coupled.

    Formulas as in torch.optim.Adam. State: exp_avg, exp_avg_sq.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        check_number(group, "eps")
        betas = group["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas is a pair of numbers, got {betas!r}")
        named = {"betas[0]": betas[0], "betas[1]": betas[1]}
        for name in named:
            check_number(named, name, 0, 1)
        group["betas"] = tuple(named.values())

    def slots(self, group):
        return "exp_avg", "exp_avg_sq"

    def rule(self, x, grad, slots, step, group):
        first, second = (np.zeros_like(x) if slot is None else slot for slot in slots)
        return adam_rule(x, grad, first, second, step, lr=group["lr"], betas=group["betas"], eps=group["eps"])


class AdamW(Adam):
    """Adam with decoupled weight decay. Formulas as in torch.optim.AdamW."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


def pack(param_groups, state):
    """Groups and state of an optimizer as plain data and arrays, none of them shared with it -> dict.

    {"state": {position: {"step": int, name: array}}, "param_groups": [hyperparameters and "params": positions]}
    """
    params = [p for group in param_groups for p in group["params"]]
    position = {id(p): k for k, p in enumerate(params)}
    return {
        "state": {position[id(p)]: {name: np.array(value) if isinstance(value, Tensor) else value
                                    for name, value in kept.items()} for p, kept in state.items()},
        "param_groups": [group | {"params": [position[id(p)] for p in group["params"]]} for group in param_groups],
    }


def unpack(saved, param_groups):
    """What pack made, for an optimizer with these groups -> (new groups, new state).

    Arrays become tensors in the parameter's dtype, nothing is shared with saved. Raises ValueError for groups,
    hyperparameters or positions that do not fit, ShapeError for arrays that do not.
    """
    if len(saved["param_groups"]) != len(param_groups):
        raise ValueError(f"the saved state has {len(saved['param_groups'])} parameter groups, this optimizer has "
                         f"{len(param_groups)}")
    groups = []
    for k, (old, own) in enumerate(zip(saved["param_groups"], param_groups, strict=True)):
        if len(old["params"]) != len(own["params"]):
            raise ValueError(f"group {k} was saved with {len(old['params'])} parameters, here it has "
                             f"{len(own['params'])}")
        differ = sorted((old.keys() ^ own.keys()) - {"initial_lr"})
        if differ:
            raise ValueError(f"group {k} was saved by another optimizer: {', '.join(differ)} "
                             "is in only one of the two")
        groups.append(old | {"params": list(own["params"])})
    places = {int(k): p for old, own in zip(saved["param_groups"], groups, strict=True)
              for k, p in zip(old["params"], own["params"], strict=True)}
    state = {}
    for key, kept in saved["state"].items():
        p = places.get(int(key))
        if p is None:
            raise ValueError(f"the saved state has an entry for parameter {key}, there are {len(places)} parameters")
        for name, value in kept.items():
            if isinstance(value, np.ndarray) and value.shape != p.shape:
                raise ShapeError(f"{name} of parameter {key} was saved with shape {value.shape}, "
                                 f"the parameter has {p.shape}")
        state[p] = {name: Tensor(value, p.dtype) if isinstance(value, np.ndarray) else value
                    for name, value in kept.items()}
    return groups, state


def step_decay(base, n, step_size, gamma):
    """The rate after n steps if it is multiplied by gamma every step_size steps -> float."""
    return base * gamma ** (n // step_size)


def warmup_cosine(base, n, warmup_steps, total_steps, min_lr=0.0):
    """The rate after n steps: a line up to base at warmup_steps, half a cosine down to min_lr at total_steps -> float.

    Source: Loshchilov and Hutter 2017 (cosine), Goyal et al. 2017 (warm-up).
    """
    if n < warmup_steps:
        return base * (n + 1) / (warmup_steps + 1)
    progress = min((n - warmup_steps) / (total_steps - warmup_steps), 1.0)
    return min_lr + (base - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def one_cycle(peak, n, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, anneal="cos"):
    """The rate after n steps of a single cycle up to peak and down -> float. anneal: "cos" or "linear".

    Source: Smith and Topin 2018; the turning points are those of PyTorch.
    """
    first = peak / div_factor
    top, end = pct_start * total_steps - 1, total_steps - 1
    if n <= top:
        start, stop, progress = first, peak, n / top
    else:
        start, stop, progress = peak, first / final_div_factor, min((n - top) / (end - top), 1.0)
    if anneal == "linear":
        return start + (stop - start) * progress
    return stop + (start - stop) * (1 + math.cos(math.pi * progress)) / 2


def check_count(options, name, low):
    """Refuse options[name] unless it is an int of at least low, with the name in the message."""
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number of steps, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    options[name] = int(value)


class Scheduler:
    """Sets the learning rate of each group from its base rate and the number of steps.

    options: the numbers of the formula. A subclass defines rate(base, n), a closed form. Making a schedule sets the
    rate for n = 0; each step() sets that for the next n. Raises TypeError if optimizer is none.
    """

    def __init__(self, optimizer, options, base_lrs=None):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule is made for an Optimizer, got {type(optimizer).__name__}")
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.optimizer, self.options, self.steps = optimizer, options, 0
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups] if base_lrs is None else base_lrs
        self._apply()

    def rate(self, base, n):
        """The rate after n steps, for a group of this base rate."""
        raise NotImplementedError(f"{type(self).__name__} has no rate")

    def get_lr(self, n=None):
        """The rate of each group after n steps, by default after those taken so far -> list of floats."""
        return [float(self.rate(base, self.steps if n is None else n)) for base in self.base_lrs]

    def step(self):
        """Count one step and set the rates."""
        self.steps += 1
        self._apply()

    def _apply(self):
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(f"the optimizer has {len(groups)} groups, the schedule was made for {len(self.base_lrs)}")
        for group, lr in zip(groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def state_dict(self):
        """Steps, base rates and options as plain data."""
        return {"steps": self.steps, "base_lrs": list(self.base_lrs), "options": dict(self.options)}

    def load_state_dict(self, saved):
        """Go on from what state_dict returned, rates of the groups included. Raises ValueError if it does not fit."""
        if len(saved["base_lrs"]) != len(self.base_lrs) or saved["options"].keys() != self.options.keys():
            raise ValueError(f"the saved schedule has {len(saved['base_lrs'])} groups and the options "
                             f"{', '.join(saved['options'])}; this {type(self).__name__} has {len(self.base_lrs)} and "
                             f"{', '.join(self.options)}")
        self.steps, self.base_lrs, self.options = saved["steps"], list(saved["base_lrs"]), dict(saved["options"])
        self._apply()


class StepLR(Scheduler):
    """Multiply the rate by gamma every step_size steps. Raises TypeError or ValueError with the option's name."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        options = {"step_size": step_size, "gamma": gamma}
        check_count(options, "step_size", 1)
        check_number(options, "gamma")
        super().__init__(optimizer, options)

    def rate(self, base, n):
        return step_decay(base, n, **self.options)


class CosineWithWarmup(Scheduler):
    """A line up to the base rate over warmup_steps, half a cosine down to min_lr at total_steps, then min_lr.

    As SequentialLR of LinearLR and CosineAnnealingLR. Raises TypeError or ValueError with the option's name.
    """

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr=0.0):
        options = {"warmup_steps": warmup_steps, "total_steps": total_steps, "min_lr": min_lr}
        check_count(options, "warmup_steps", 0)
        check_count(options, "total_steps", options["warmup_steps"] + 1)
        check_number(options, "min_lr")
        super().__init__(optimizer, options)

    def rate(self, base, n):
        return warmup_cosine(base, n, **self.options)


class OneCycleLR(Scheduler):
    """One cycle: from max_lr / div_factor up to max_lr, then far down; after total_steps the rate stays.

    max_lr: a number, or one for each group. As torch.optim.lr_scheduler.OneCycleLR with cycle_momentum=False.
    Raises TypeError or ValueError with the option's name.
    """

    def __init__(self, optimizer, max_lr, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4,
                 anneal="cos"):
        options = {"total_steps": total_steps, "pct_start": pct_start, "div_factor": div_factor,
                   "final_div_factor": final_div_factor, "anneal": anneal}
        check_count(options, "total_steps", 2)
        check_number(options, "pct_start", 0, 1)
        if options["pct_start"] * options["total_steps"] <= 1:
            raise ValueError(f"pct_start * total_steps must be above 1 for a way up, got {pct_start} * {total_steps}")
        for name in ("div_factor", "final_div_factor"):
            check_number(options, name, 1)
        if anneal not in ("cos", "linear"):
            raise ValueError(f"anneal is 'cos' or 'linear', got {anneal!r}")
        groups = len(getattr(optimizer, "param_groups", ()))
        peaks = list(max_lr) if isinstance(max_lr, tuple | list) else [max_lr] * groups
        if len(peaks) != groups:
            raise ValueError(f"max_lr has {len(peaks)} rates for {groups} parameter groups")
        named = {f"max_lr[{k}]" if groups > 1 else "max_lr": peak for k, peak in enumerate(peaks)}
        for name in named:
            check_number(named, name)
        super().__init__(optimizer, options, list(named.values()))

    def rate(self, base, n):
        return one_cycle(base, n, **self.options)


def clip_grad_norm_(params, max_norm, error_if_nonfinite=False):
    """Scale all gradients in place so that their common norm is at most max_norm -> float, the norm before.

    Raises ValueError for a negative max_norm, and RuntimeError, if asked to, for a norm that is NaN or infinite.
    Source: Pascanu, Mikolov and Bengio 2013.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must be 0 or more, got {max_norm!r}")
    params = [params] if isinstance(params, Tensor) else params
    grads = [p.grad for p in params if p.grad is not None]
    with np.errstate(all="ignore"):
        norm = math.sqrt(sum(float(np.square(g.numpy(), dtype=np.float64).sum()) for g in grads))
        if error_if_nonfinite and not math.isfinite(norm):
            raise RuntimeError(f"the norm of the gradients is {norm}: skip this step, or find the batch that made it")
        scale = max_norm / (norm + 1e-6)
        if not scale >= 1:
            for g in grads:
                array = g.numpy()
                wide = np.promote_types(array.dtype, float32)
                np.multiply(array, scale, out=array, dtype=wide, casting="same_kind")
                g.storage.version += 1
    return norm


def clip_grad_value_(params, clip_value):
    """Cut each element of each gradient off at -clip_value and clip_value, in place. Negative ones: ValueError."""
    if not clip_value >= 0:
        raise ValueError(f"clip_value must be 0 or more, got {clip_value!r}")
    for p in [params] if isinstance(params, Tensor) else params:
        if p.grad is not None:
            array = p.grad.numpy()
            np.clip(array, -clip_value, clip_value, out=array)
            p.grad.storage.version += 1
