# Exported from modules/tinytorch/04_losses by `mlsys build`; edit the module's source, not this file.

"""Losses: one number that says how wrong a prediction is.

    MSELoss, MAELoss, HuberLoss      numbers against numbers of the same shape
    BCEWithLogitsLoss                logits against probabilities of the same shape
    CrossEntropyLoss                 logits (N, C, ...) against integer labels (N, ...)

reduction is "mean", "sum" or "none". Integers and float16 are computed in float32, and their loss is float32. The mean
over nothing is NaN, the sum over nothing 0, as in PyTorch.

Errors, each one line: ShapeError, DTypeError (labels that are no integers), IndexError (a label that is no class),
ValueError (an unknown reduction, a parameter or target out of range), TypeError (an unknown parameter).
"""

import difflib
import functools
import inspect
import operator

import numpy as np

from tinytorch.tensor import DTypeError, Function, ShapeError, as_tensors, broadcast_shapes, float32, result_type

REDUCTIONS = ("mean", "sum", "none")


def require_same_shape(prediction, target):
    """Accept two equal shapes, tuples of ints, and return nothing.

    Raises ShapeError that names both if they differ, and the shape to which they would broadcast if they do.
    """
    if prediction == target:
        return
    try:
        wide = broadcast_shapes(prediction, target)
    except ShapeError:
        raise ShapeError(f"prediction has shape {prediction} and target {target}; a loss wants them equal") from None
    raise ShapeError(f"prediction of shape {prediction} and target of shape {target} would broadcast to {wide}; "
                     "reshape one to the shape of the other")


def reduced(values, reduction):
    """values, an array of any shape, by "mean", "sum" or "none" -> number or array of the same dtype."""
    if reduction == "none":
        return values
    total = values.sum()
    return total if reduction == "sum" else np.true_divide(total, values.size, dtype=values.dtype)


def choices(name, names):
    """The end of a message about an unknown name: the nearest known one, and all of them."""
    close = difflib.get_close_matches(str(name), names, 1, cutoff=0)
    return f"the nearest is {close[0]!r}, all are {', '.join(map(repr, names))}"


@functools.cache
def defaults(cls):
    """The keyword arguments of a loss with their defaults, from the signature of its forward."""
    parameters = inspect.signature(cls.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def float_of(*dtypes):
    """The dtype in which a loss of operands of these dtypes is computed: float64 if it wins, float32 otherwise."""
    dtype = functools.reduce(result_type, dtypes)
    return dtype if dtype.kind == "f" and dtype.itemsize > 4 else float32


class Loss(Function):
    """A Function of a prediction and a target, with a reduction.

    After prepare, saved holds both operands as forward sees them, and params every keyword argument, defaults included
    and weights as arrays of the dtype of saved[0]: all that a backward needs.
    Raises TypeError for an unknown parameter, ValueError for an unknown reduction, ShapeError for unequal shapes.
    """

    def __init__(self, **params):
        known = defaults(type(self))
        for name in params:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}; {choices(name, known)}")
        super().__init__(**{**known, **params})
        reduction = self.params["reduction"]
        if reduction not in REDUCTIONS:
            raise ValueError(f"unknown reduction {reduction!r}; {choices(reduction, REDUCTIONS)}")

    def prepare(self, tensors):
        prediction, target = tensors
        require_same_shape(prediction.shape, target.shape)
        dtype = float_of(prediction.dtype, target.dtype)
        return prediction.numpy().astype(dtype, copy=False), target.numpy().astype(dtype, copy=False)


class MSELoss(Loss):
    """(prediction - target)², the log loss of Gaussian noise. Any shape, both the same.

    reduction "mean", "sum" or "none".
    """

    def forward(self, prediction, target, reduction="mean"):
        return reduced((prediction - target) ** 2, reduction)


class MAELoss(Loss):
    """|prediction - target|, the log loss of Laplace noise. Any shape, both the same.

    reduction "mean", "sum" or "none". PyTorch calls it L1Loss.
    """

    def forward(self, prediction, target, reduction="mean"):
        return reduced(np.abs(prediction - target), reduction)


def huber_error(residual, delta):
    """Huber's loss of each residual: r² / 2 up to delta on either side, a straight line beyond -> array of its dtype."""
    size = np.abs(residual)
    near = np.minimum(size, delta)
    return near * (size - near / 2)


class HuberLoss(Loss):
    """r² / 2 where |r| <= delta, delta (|r| - delta / 2) beyond, with r = prediction - target.

    Any shape, both the same; reduction "mean", "sum" or "none". Raises ValueError if delta is not positive. Source: Huber 1964.
    """

    def __init__(self, **params):
        super().__init__(**params)
        if not self.params["delta"] > 0:
            raise ValueError(f"delta, where the line begins, must be positive, got {self.params['delta']}")

    def forward(self, prediction, target, reduction="mean", delta=1.0):
        return reduced(huber_error(prediction - target, delta), reduction)


def binary_log_loss(logits, targets, weight=None, pos_weight=None):
    """-t ln p - (1 - t) ln (1 - p) with p = sigmoid(logit), for each element -> array.

    logits and targets have one shape, weights broadcast to it or are None; all are of one dtype, which the result has.
    """
    tail = np.log1p(np.exp(-np.abs(logits)))
    yes = targets * (np.maximum(-logits, 0) + tail)
    no = (1 - targets) * (np.maximum(logits, 0) + tail)
    losses = no + (yes if pos_weight is None else yes * pos_weight)
    return losses if weight is None else losses * weight


def stretching(name, weight, shape, dtype):
    """A weight (number, list, array, tensor or None) as an array that broadcasts to shape, or None.

    Raises ShapeError with its name if it does not.
    """
    if weight is None:
        return None
    weight = np.asarray(weight, dtype)
    try:
        fits = broadcast_shapes(weight.shape, shape) == shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(f"{name} of shape {weight.shape} does not stretch to the prediction's shape {shape}")
    return weight


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy: the log loss of the probabilities sigmoid(prediction), target being probabilities.

    Any shape, both the same; weight and pos_weight broadcast to it. The mean divides by the number of elements, not by
    weights. Raises ValueError for a target outside [0, 1], ShapeError for a weight that does not fit.
    """

    def prepare(self, tensors):
        logits, targets = super().prepare(tensors)
        outside = (targets < 0) | (targets > 1)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            raise ValueError(f"target {targets[at]:.6g} at position {at} is no probability: it must lie in [0, 1]")
        for name in ("weight", "pos_weight"):
            self.params[name] = stretching(name, self.params[name], logits.shape, logits.dtype)
        return logits, targets

    def forward(self, prediction, target, weight=None, pos_weight=None, reduction="mean"):
        return reduced(binary_log_loss(prediction, target, weight, pos_weight), reduction)


def log_sum_exp(logits):
    """ln of the sum of e^logits over axis 1, in two parts -> (largest logit, rest), whose sum it is.

    logits (N, C, ...) give two arrays (N, ...) of the same dtype.
    """
    largest = logits.max(axis=1)
    powers = logits - np.expand_dims(largest, 1)
    np.exp(powers, out=powers)
    return largest, np.log(powers.sum(axis=1))


def take_labels(values, labels):
    """values (N, C, ...) at labels (N, ...), integers from 0 to C - 1 along axis 1 -> array (N, ...)."""
    return np.take_along_axis(values, np.expand_dims(labels, 1), axis=1).squeeze(1)


def kept_labels(labels, classes, ignore_index):
    """Which labels count, those that differ from ignore_index -> bool array of the labels' shape.

    Raises IndexError that names the first label that counts and is not from 0 to classes - 1, and its position.
    """
    kept = labels != ignore_index
    wrong = kept & ((labels < 0) | (labels >= classes))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IndexError(f"label {int(labels[at])} at position {at} is no class: "
                         f"{classes} classes are 0 to {classes - 1}, and {ignore_index} is ignored")
    return kept


def label_weights(labels, kept, weight, dtype):
    """The weight of each position: that of its label, 1 if weight is None, 0 where it is not kept -> array (N, ...).

    labels (N, ...) from 0 to C - 1, kept (N, ...) bool, weight (C,) of that dtype or None.
    """
    return kept.astype(dtype) if weight is None else np.where(kept, weight[labels], 0).astype(dtype)


def reduce_kept(losses, weights, kept, reduction):
    """Weighted losses (N, ...) by "mean", "sum" or "none"; positions that are not kept count as absent.

    weights (N, ...) are those that the losses were multiplied by; the mean divides by their sum.
    """
    losses = np.where(kept, losses, 0).astype(losses.dtype, copy=False)
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else np.true_divide(total, weights.sum() or np.nan, dtype=losses.dtype)


def smoothed(label_losses, surprisal, weight, label_smoothing):
    """The loss of each position against the label with share 1 - label_smoothing, all classes alike with the rest.

    label_losses (N, ...) is -ln p of the label times its weight, surprisal (N, C, ...) is -ln p of every class, weight
    (C,) or None. -> array (N, ...)
    """
    classes = surprisal.shape[1]
    if weight is not None:
        surprisal = surprisal * weight.reshape(-1, *[1] * (surprisal.ndim - 2))
    return (1 - label_smoothing) * label_losses + label_smoothing / classes * surprisal.sum(axis=1)


def require_labels(logits, labels):
    """Refuse logits and labels, tensors, that do not belong together: (N, C, ...) and integers (N, ...)."""
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ShapeError(f"logits are (N, C, ...) with at least one class on axis 1, got shape {logits.shape}")
    if labels.dtype.kind != "i":
        raise DTypeError(f"labels are integers from 0 to {logits.shape[1] - 1}, got {labels.dtype}; "
                         "astype('int64') makes them so")
    wanted = logits.shape[:1] + logits.shape[2:]
    if labels.shape != wanted:
        raise ShapeError(f"labels have shape {labels.shape}; logits of shape {logits.shape} want {wanted}, "
                         "all axes but the class axis 1")


class CrossEntropyLoss(Loss):
    """-ln of the probability that softmax(logits) gives to the label.

    logits (N, C, ...) with the classes on axis 1, labels (N, ...) of an integer dtype, weight (C,) for each class.
    Labels equal to ignore_index do not count. label_smoothing in [0, 1] is the share of the target spread over all
    classes. The mean divides by the summed weights of the labels that count.
    Raises IndexError for a label that is no class, DTypeError for labels that are no integers, ShapeError for shapes
    that do not fit, ValueError for a label_smoothing out of range. Source: Szegedy et al. 2016 (label smoothing).
    """

    def __init__(self, **params):
        super().__init__(**params)
        if not 0 <= self.params["label_smoothing"] <= 1:
            raise ValueError(f"label_smoothing is a share from 0 to 1, got {self.params['label_smoothing']}")
        self.params["ignore_index"] = operator.index(self.params["ignore_index"])

    def prepare(self, tensors):
        logits, labels = tensors
        require_labels(logits, labels)
        dtype = float_of(logits.dtype)
        if self.params["weight"] is not None:
            weight = self.params["weight"] = np.asarray(self.params["weight"], dtype)
            if weight.shape != (logits.shape[1],):
                raise ShapeError(f"weight has shape {weight.shape}; logits of shape {logits.shape} have "
                                 f"{logits.shape[1]} classes and want ({logits.shape[1]},)")
        return logits.numpy().astype(dtype, copy=False), labels.numpy()

    def forward(self, logits, labels, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        kept = kept_labels(labels, logits.shape[1], ignore_index)
        labels = np.where(kept, labels, 0)
        weights = label_weights(labels, kept, weight, logits.dtype)
        largest, rest = log_sum_exp(logits)
        losses = weights * (rest - (take_labels(logits, labels) - largest))
        if label_smoothing:
            surprisal = np.expand_dims(rest, 1) - (logits - np.expand_dims(largest, 1))
            losses = smoothed(losses, surprisal, weight, label_smoothing)
        return reduce_kept(losses, weights, kept, reduction)


def mse_loss(prediction, target, reduction="mean"):
    """Mean squared error of tensors of one shape: MSELoss."""
    return MSELoss.apply(prediction, target, reduction=reduction)


def mae_loss(prediction, target, reduction="mean"):
    """Mean absolute error of tensors of one shape: MAELoss."""
    return MAELoss.apply(prediction, target, reduction=reduction)


def huber_loss(prediction, target, reduction="mean", delta=1.0):
    """Squares up to delta, absolute values beyond, of tensors of one shape: HuberLoss."""
    return HuberLoss.apply(prediction, target, reduction=reduction, delta=delta)


def binary_cross_entropy_with_logits(prediction, target, *, weight=None, pos_weight=None, reduction="mean"):
    """Log loss of sigmoid(prediction) against probabilities of the same shape: BCEWithLogitsLoss."""
    return BCEWithLogitsLoss.apply(prediction, target, weight=weight, pos_weight=pos_weight, reduction=reduction)


def cross_entropy(logits, target, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Log loss of softmax(logits), (N, C, ...), against integer labels (N, ...): CrossEntropyLoss."""
    return CrossEntropyLoss.apply(logits, target, weight=weight, ignore_index=ignore_index,
                                  label_smoothing=label_smoothing, reduction=reduction)


def accuracy(logits, target, ignore_index=-100):
    """The share of labels, other than ignore_index, whose logit is the largest of its position -> float.

    logits (N, C, ...), integer labels (N, ...), as for cross_entropy; NaN if no label counts.
    """
    logits, target = as_tensors((logits, target))
    require_labels(logits, target)
    labels = target.numpy()
    kept = labels != ignore_index
    right = (logits.numpy().argmax(axis=1) == labels) & kept
    count = int(kept.sum())
    return int(right.sum()) / count if count else float("nan")
