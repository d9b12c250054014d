# Exported from modules/tinytorch/08_training by `mlsys build`; edit the module's source, not this file.

"""Training: the loop, and what makes it hold.

    Trainer            epochs, evaluation, accumulation, clipping, schedules, callbacks, checkpoints
    Average, MacroF1   exact means and metrics over batches of any sizes
    EarlyStopping      a callback; Callback says which events there are
    Half, LossScaler   compute in float16, with gradients kept in its range
    save_checkpoint, load_checkpoint   one file, written whole or not at all, verified when it is read
    Ring, run_ranks, fixed             vectors added up by processes around a ring, to the same bits however many they are
    sharded_step, supervise            ZeRO-1; a run that is started until it is done

A run that is resumed from a checkpoint ends with the same bits as one that was never interrupted.

Errors, each one line:

    ArithmeticError <- LossError        a loss that is NaN or infinite, with epoch, step and what to look at
    RuntimeError    <- CheckpointError  a file that is damaged, or that is no checkpoint
    RuntimeError    <- CallbackError    an exception in a callback, with its class, event and epoch
    ValueError, TypeError, IndexError   for arguments
"""

import contextlib
import io
import itertools
import json
import math
import mmap
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from multiprocessing import connection

import numpy as np

from tinytorch.autograd import generators_of, no_grad
from tinytorch.layers import Module
from tinytorch.optimizers import clip_grad_norm_
from tinytorch.tensor import Tensor, float16, float32


class LossError(ArithmeticError):
    """A loss or gradients that are not finite."""


class CheckpointError(RuntimeError):
    """A file that is damaged, or that is no checkpoint."""


class CallbackError(RuntimeError):
    """An exception in a callback."""


class Average:
    """A mean over samples that arrive as means of batches. total: sum over the samples so far; count: how many."""

    def __init__(self, total=0.0, count=0):
        self.total, self.count = total, count

    def update(self, mean, count):
        """Take the mean of a batch of count samples. Raises ValueError for a negative count."""
        if count < 0:
            raise ValueError(f"a batch has 0 samples or more, got {count}")
        if count:
            self.total += mean * count
            self.count += count

    @property
    def value(self):
        """The mean over all samples so far -> float, NaN if there are none."""
        return self.total / self.count if self.count else math.nan


def confusion_matrix(predicted, labels, classes):
    """Counts of samples by label (rows) and prediction (columns) -> int64 array (classes, classes).

    predicted, labels (N,): integer arrays from 0 to classes - 1. Raises IndexError with a value that is no class.
    """
    for what, values in (("label", labels), ("prediction", predicted)):
        wrong = values[(values < 0) | (values >= classes)]
        if wrong.size:
            raise IndexError(f"{what} {wrong[0]} is no class: they go from 0 to {classes - 1}")
    places = labels.astype(np.int64) * classes + predicted
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def macro_f1(matrix):
    """Mean of the F1 scores of the classes that occur or are predicted -> float, NaN if there are none.

    matrix (C, C): counts, labels in rows and predictions in columns.
    """
    hits = np.diag(matrix)
    seen = matrix.sum(axis=0) + matrix.sum(axis=1)
    there = seen > 0
    return float(np.mean(2 * hits[there] / seen[there])) if there.any() else math.nan


class MacroF1:
    """A metric that is no mean over samples: counts are added up, batch by batch, and the score comes from the sums."""

    def __init__(self, classes):
        self.classes = classes
        self.reset()

    def reset(self):
        self.matrix = np.zeros((self.classes, self.classes), np.int64)

    def update(self, logits, labels):
        """Count a batch: logits (N, C), labels (N,)."""
        self.matrix += confusion_matrix(logits.numpy().argmax(axis=1), labels.numpy(), self.classes)

    @property
    def value(self):
        return macro_f1(self.matrix)


@contextlib.contextmanager
def evaluating(model):
    """While the block runs, model is in evaluation mode and nothing is recorded; then each module's mode is as before."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield model
    finally:
        for module, mode in before:
            module.training = mode


def shares(counts):
    """Factors for mean losses over so many samples each, so that their gradients add up to that of the whole mean -> list."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def grouped(batches, size):
    """Lists of size successive batches, the last perhaps shorter, made when they are asked for. Raises ValueError."""
    if size < 1:
        raise ValueError(f"a step takes at least 1 batch, got {size}")
    remaining = iter(batches)
    while group := list(itertools.islice(remaining, size)):
        yield group


def diagnose(loss, epoch, step, inputs, parameters):
    """One line about a loss that is not finite: epoch, step, loss, and where to look -> str.

    inputs: arrays (N, ...). parameters: pairs (name, array).
    """
    line = f"loss is {loss} in epoch {epoch}, step {step}: "
    for array in inputs:
        wrong = np.argwhere(~np.isfinite(array))
        if len(wrong):
            where = f" of sample {wrong[0][0]}" if array.ndim else ""
            return line + f"the input{where} is not finite; look at the data and its transforms"
    for name, array in parameters:
        if not np.isfinite(array).all():
            return line + f"parameter {name} is not finite since the step before; lower the learning rate or clip gradients"
    return line + ("inputs and parameters are finite, so the forward pass made it; look for a division or a logarithm of 0, "
                   "and lower the learning rate")


class Callback:
    """Something that a Trainer calls. Subclasses define what they need; a callback with state also defines
    state_dict() and load_state_dict(state), and is then part of checkpoints.
    """

    def on_fit_begin(self, trainer):
        """fit was called, and a checkpoint, if any, has been put back."""

    def on_epoch_begin(self, trainer):
        """Before the first batch of an epoch, or of what is left of it."""

    def on_step_end(self, trainer, record):
        """After each step. record: "loss", "samples", "norm" of the gradients, "skipped"."""

    def on_epoch_end(self, trainer, row):
        """After an epoch and its evaluation. row: what was appended to trainer.history."""

    def on_fit_end(self, trainer):
        """After the last epoch. Set trainer.stop to True to make an epoch the last."""


class EarlyStopping(Callback):
    """Stop after patience epochs in which row[monitor] is not better than the best by more than min_delta.

    mode: "min" or "max", what is better. restore: at the end put back the weights of the best epoch.
    """

    def __init__(self, monitor="validation loss", patience=3, min_delta=0.0, mode="min", restore=True):
        if patience < 1 or min_delta < 0:
            raise ValueError(f"patience is at least 1 and min_delta at least 0, got {patience} and {min_delta}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode is 'min' or 'max', got {mode!r}")
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.restore, self.best, self.waited = restore, None, 0
        self.best_epoch = self.weights = None

    def update(self, value):
        """Take the value of an epoch -> whether it is the new best. Keeps best (None before the first) and waited."""
        gain = math.inf if self.best is None else self.best - value if self.mode == "min" else value - self.best
        better = gain > self.min_delta and not math.isnan(value)
        if better:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return better

    @property
    def exhausted(self):
        """Whether it is time to stop."""
        return self.waited >= self.patience

    def on_fit_begin(self, trainer):
        trainer.stop = trainer.stop or self.exhausted  # a run that had stopped does not go on when it is resumed

    def on_epoch_end(self, trainer, row):
        if self.monitor not in row:
            raise KeyError(f"{self.monitor!r} is not in the history, which has {', '.join(row)}; pass validation= to fit")
        if self.update(row[self.monitor]):
            self.best_epoch = row["epoch"]
            self.weights = trainer.model.state_dict() if self.restore else None
        trainer.stop = trainer.stop or self.exhausted

    def on_fit_end(self, trainer):
        if self.weights is not None:
            trainer.model.load_state_dict(self.weights)

    def state_dict(self):
        return {name: getattr(self, name) for name in ("best", "best_epoch", "waited", "weights")}

    def load_state_dict(self, state):
        self.__dict__.update(state)


def next_scale(scale, good, overflow, interval=2000):
    """Scale of the loss and number of good steps after a step -> (scale, good).

    Halves after an overflow, doubles after interval good steps in a row. Source: Micikevicius et al. 2018.
    """
    if overflow:
        return scale / 2, 0
    if good + 1 >= interval:
        return scale * 2, 0
    return scale, good + 1


def unscale(arrays, scale):
    """Divide float32 or float64 arrays by scale, in place -> whether all their elements are finite."""
    for array in arrays:
        array /= scale
    return all(bool(np.isfinite(array).all()) for array in arrays)


class Half(Module):
    """A model that computes in float16; its parameters, their gradients and its output are float32."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        held = [(module._parameters, name, p) for module in self.model.modules()
                for name, p in module._parameters.items() if p is not None]
        try:
            for registry, name, p in held:
                registry[name] = p.astype(float16)
            return self.model(*(x.astype(float16) if x.dtype.kind == "f" else x for x in inputs)).astype(float32)
        finally:
            for registry, name, p in held:
                registry[name] = p


class LossScaler:
    """A factor on the loss that keeps the gradients in the range of float16, and finds its own size.

    scale: the factor at the start; interval: good steps after which it doubles.
    """

    smallest = 2.0**-14

    def __init__(self, scale=2.0**16, interval=2000):
        if not scale > 0 or interval < 1:
            raise ValueError(f"scale is positive and interval at least 1, got {scale} and {interval}")
        self.scale, self.interval, self.good = float(scale), interval, 0

    def unscale_(self, params):
        """Divide the gradients of params by the scale -> whether they are finite."""
        grads = [p.grad for p in params if p.grad is not None]
        for grad in grads:
            grad.storage.version += 1
        return unscale([grad.numpy() for grad in grads], self.scale)

    def update(self, overflow):
        """Take whether a step overflowed. Raises LossError if no scale helps."""
        if overflow and self.scale <= self.smallest:
            raise LossError(f"gradients are not finite at a loss scale of {self.scale:g}: this is no overflow; "
                            "look for NaN in backward, and lower the learning rate")
        self.scale, self.good = next_scale(self.scale, self.good, overflow, self.interval)

    def state_dict(self):
        return {"scale": self.scale, "good": self.good}

    def load_state_dict(self, state):
        self.scale, self.good = state["scale"], state["good"]


def finish_step(params, optimizer, scheduler=None, scaler=None, max_norm=None):
    """Use the gradients that backward has left: unscale, clip, step, schedule -> (norm before clipping, taken).

    params: list of parameters. If scaler finds gradients that are not finite, the step is not taken.
    """
    taken = scaler is None or scaler.unscale_(params)
    norm = clip_grad_norm_(params, math.inf if max_norm is None else max_norm)
    if taken:
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    if scaler is not None:
        scaler.update(not taken)
    optimizer.zero_grad()
    return norm, taken


def split_arrays(tree, path=""):
    """A tree of dicts, lists and tuples -> (the same as plain data for JSON, {path: array}).

    Arrays and tensors become {"@array": path}. Raises TypeError with path and type of anything that is not plain data.
    """
    if isinstance(tree, np.ndarray | Tensor):
        return {"@array": path}, {path: np.asarray(tree)}
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or type(tree) in (bool, int, float, str):
        return tree, {}
    if not isinstance(tree, dict | list | tuple):
        raise TypeError(f"{path} is of type {type(tree).__name__}: a checkpoint holds dicts, lists, numbers, texts and arrays")
    plain, arrays = {}, {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if type(key) not in (str, int):
            raise TypeError(f"{path} has the key {key!r} of type {type(key).__name__}: keys are texts or ints")
        plain[str(key)], more = split_arrays(value, f"{path}/{key}" if path else str(key))
        arrays |= more
    return plain if isinstance(tree, dict) else list(plain.values()), arrays


def checksum(arrays):
    """CRC-32 of {name: array}: names, dtypes, shapes and bytes in row-major order -> int. The order of names is free."""
    total = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name}\n{array.dtype.str}\n{np.shape(arrays[name])}\n".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8), total)
    return total


def write_atomic(path, data):
    """Write bytes to the file path: at every instant there is the old file or the new one, whole, also after a power cut."""
    path = os.path.abspath(path)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


FORMAT = "tinytorch checkpoint 1"


def join_arrays(plain, arrays):
    """What split_arrays took apart; tuples come back as lists, keys as texts."""
    if isinstance(plain, dict):
        if plain.keys() == {"@array"}:
            return arrays[plain["@array"]]
        return {key: join_arrays(value, arrays) for key, value in plain.items()}
    return [join_arrays(value, arrays) for value in plain] if isinstance(plain, list) else plain


def places_in(plain):
    """How many arrays a tree from split_arrays has a place for."""
    if isinstance(plain, dict):
        return 1 if plain.keys() == {"@array"} else sum(map(places_in, plain.values()))
    return sum(map(places_in, plain)) if isinstance(plain, list) else 0


def save_checkpoint(path, state):
    """Write a tree of dicts, lists, numbers, texts, arrays and tensors to one .npz file, whole or not at all -> its bytes.

    Raises TypeError for anything else, ValueError if two arrays have one path, as those of {"a/b": x, "a": {"b": y}}.
    """
    plain, arrays = split_arrays(state)
    if places_in(plain) != len(arrays):
        raise ValueError("two arrays of the state have one path: use keys without '/', and not the key '@array'")
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name} is an array of Python objects, which only pickle can write: convert it to a number dtype")
    text = json.dumps({"format": FORMAT, "checksum": checksum(arrays), "state": plain})
    header = np.frombuffer(text.encode(), np.uint8)
    header = np.append(header, np.frombuffer(zlib.crc32(header).to_bytes(4, "little"), np.uint8))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{f"state/{name}": array for name, array in arrays.items()}, header=header)
    write_atomic(path, file.getbuffer())
    return file.getbuffer().nbytes


def load_checkpoint(path):
    """Read what save_checkpoint wrote -> tree; tuples come back as lists, keys as texts, tensors as arrays.

    Raises CheckpointError if the file is damaged or is no checkpoint, FileNotFoundError if there is none.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as members:
            arrays = {name: members[name] for name in members.files}
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError,
            zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): it is cut off or damaged; take an earlier checkpoint") from None
    header = arrays.pop("header", np.zeros(0, np.uint8))
    if header.dtype != np.uint8 or header.ndim != 1 or len(header) < 4:
        raise CheckpointError(f"{path} has no header: it is an .npz file, but no checkpoint of {FORMAT!r}")
    if zlib.crc32(header[:-4]) != int.from_bytes(header[-4:].tobytes(), "little"):
        raise CheckpointError(f"{path} has a damaged header: take an earlier checkpoint")
    found = json.loads(header[:-4].tobytes())
    if found.get("format") != FORMAT:
        raise CheckpointError(f"{path} has the format {found.get('format')!r}, wanted {FORMAT!r}")
    arrays = {name.removeprefix("state/"): array for name, array in arrays.items()}
    if checksum(arrays) != found["checksum"]:
        raise CheckpointError(f"{path} has damaged arrays: checksum {checksum(arrays):08x}, wanted {found['checksum']:08x}; "
                              "take an earlier checkpoint")
    return join_arrays(found["state"], arrays)


def snapshot(model, optimizer, scheduler, loader, epoch, batch, generators):
    """What resume needs, as a tree for save_checkpoint. epoch counts from 0; batch: how many of its batches are done."""
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler and scheduler.state_dict(),
        "loader": {"epoch": epoch, "batch": batch, "seed": getattr(getattr(loader, "sampler", None), "seed", None)},
        "random": [generator.bit_generator.state for generator in generators],
    }


def resume(state, model, optimizer, scheduler, loader, generators):
    """Put back what snapshot collected -> iterator over the batches of the epoch that are still to come.

    generators: the same random generators, in the same order. Raises StateError, ValueError or ShapeError if the state
    is that of another model or optimizer.
    """
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(state["scheduler"])
    place = state["loader"]
    if place["seed"] is not None:
        loader.sampler.seed = place["seed"]
    loader.epoch = place["epoch"]
    batches = iter(loader)
    for _ in range(place["batch"]):
        next(batches)
    for generator, saved in zip(generators, state["random"], strict=True):
        generator.bit_generator.state = saved
    return batches


def samples_of(batch):
    """How many samples the mean loss of a batch is over: the length of its last item, the targets."""
    return len(batch[-1])


def set_epoch(loader, epoch):
    """Choose the order of a loader's next pass, so that it is the same in a resumed run. Lists of batches have one order."""
    if hasattr(loader, "epoch"):
        loader.epoch = epoch


class Progress(Callback):
    """How far a run is: a bar on a terminal, elsewhere a line for an epoch, at most about lines of them."""

    def __init__(self, lines=10):
        self.lines, self.bar = lines, None

    def on_fit_begin(self, trainer):
        self.begun = time.perf_counter()
        self.every = max(1, math.ceil((trainer.epochs - trainer.epoch) / self.lines))
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, TextColumn("{task.description}"))
            self.task = self.bar.add_task("", total=trainer.epochs * trainer.batches, epoch=trainer.epoch + 1)
            self.bar.start()

    def on_step_end(self, trainer, record):
        if self.bar:
            done = trainer.epoch * trainer.batches + trainer.batch
            self.bar.update(self.task, completed=done, epoch=trainer.epoch + 1, description=f"loss {record['loss']:.4g}")

    def on_epoch_end(self, trainer, row):
        last = trainer.stop or trainer.epoch >= trainer.epochs
        if last or row["epoch"] % self.every == 0:
            values = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
            line = f"epoch {row['epoch']} of {trainer.epochs}: {values} ({time.perf_counter() - self.begun:.1f} s)"
            if self.bar:
                self.bar.console.print(line, highlight=False)
            else:
                print(line)

    def close(self):
        """Give the terminal back, however the run ended."""
        if self.bar:
            self.bar.stop()
            self.bar = None


class Trainer:
    """Fits a model to the batches of a loader.

    A batch is a tuple whose last item is the target: loss(model(*inputs), target) is the mean loss of its samples.
    metrics: {name: function(prediction, target) that is such a mean, or an object with reset, update and value}.
    accumulate: batches for a step. max_norm: limit for the norm of the gradients. checkpoint: path of a file that is
    written after each epoch and every so many steps. count(batch): how many samples its mean loss is over.

    history: a dict for each epoch. epoch, batch: what is done. steps, skipped: optimizer steps, and those that overflowed.
    seconds: time spent in data, forward, backward and optimizer since the trainer was made.
    """

    def __init__(self, model, loss, optimizer, *, scheduler=None, metrics=None, accumulate=1, max_norm=None, scaler=None,
                 callbacks=(), checkpoint=None, every=None, count=samples_of, progress=True):
        if accumulate < 1 or (every is not None and every < 1):
            raise ValueError(f"accumulate and every are at least 1, got {accumulate} and {every}")
        if every is not None and checkpoint is None:
            raise ValueError("every says how often a checkpoint is written: pass checkpoint=, its path, as well")
        if checkpoint is not None and not os.path.isdir(folder := os.path.dirname(os.path.abspath(checkpoint))):
            raise FileNotFoundError(f"checkpoints cannot be written to {checkpoint}: make the folder {folder} first")
        self.model, self.loss, self.optimizer, self.scheduler, self.scaler = model, loss, optimizer, scheduler, scaler
        self.metrics, self.accumulate, self.max_norm, self.count = dict(metrics or {}), accumulate, max_norm, count
        self.callbacks, self.checkpoint, self.every = list(callbacks), checkpoint, every
        self.progress = Progress() if progress else None
        self.params = [p for group in optimizer.param_groups for p in group["params"]]
        self.epoch = self.batch = self.steps = self.skipped = self.epochs = self.batches = 0
        self.mean, self.history, self.stop, self.loader, self._waiting = Average(), [], False, None, None
        self.seconds = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)

    def fit(self, loader, epochs, validation=None):
        """Train until epochs epochs are done in all, or a callback sets stop -> history.

        Evaluates on the loader validation after each epoch. Raises LossError, CallbackError.
        """
        self.loader, self.epochs, self.batches, self.stop = loader, epochs, len(loader), False
        batches = self._put_back()
        if not self.model.training:
            self.model.train()
        try:
            self._call("on_fit_begin")
            while self.epoch < epochs and not self.stop:
                if batches is None:
                    set_epoch(loader, self.epoch)
                    batches, self.batch, self.mean = iter(loader), 0, Average()  # also after an epoch that broke off
                self._call("on_epoch_begin")
                self._train_epoch(batches)
                self._end_epoch(validation)
                batches = None
            self._call("on_fit_end")
        finally:
            if self.progress:
                self.progress.close()
        return self.history

    def _train_epoch(self, batches):
        for group in grouped(self._timed(batches), self.accumulate):
            record = self.train_step(group)
            self.batch += len(group)
            self.mean.update(record["loss"], record["samples"])
            self._call("on_step_end", record)
            if self.every and (self.steps + self.skipped) % self.every == 0:
                self.save(self.checkpoint)

    def _end_epoch(self, validation):
        row = {"epoch": self.epoch + 1, "loss": self.mean.value, "lr": self.optimizer.param_groups[0]["lr"]}
        if validation is not None:
            set_epoch(validation, self.epoch)
            row |= {f"validation {name}": value for name, value in self.evaluate(validation).items()}
        self.history.append(row)
        self.epoch, self.batch, self.mean = self.epoch + 1, 0, Average()
        self._call("on_epoch_end", row)
        if self.checkpoint:
            self.save(self.checkpoint)

    def _timed(self, batches):
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.seconds["data"] += time.perf_counter() - begun
            if batch is None:
                return
            yield batch

    def train_step(self, group):
        """One step on a list of batches -> {"loss": mean over all samples, "samples", "norm", "skipped"}."""
        counts, clock = [self.count(batch) for batch in group], time.perf_counter
        self.optimizer.zero_grad()  # of a step that broke off between two micro-batches
        mean, scale = Average(), self.scaler.scale if self.scaler else 1.0
        for batch, count, share in zip(group, counts, shares(counts), strict=True):
            if not share:
                continue
            *inputs, target = batch
            begun = clock()
            loss = self.loss(self.model(*inputs), target)
            value = loss.item()
            if not math.isfinite(value):
                raise LossError(diagnose(value, self.epoch + 1, self.steps + self.skipped + 1, [x.numpy() for x in inputs],
                                         [(name, p.numpy()) for name, p in self.model.named_parameters()]))
            mean.update(value, count)
            middle = clock()
            with np.errstate(over="ignore", invalid="ignore"):  # the scaler looks for overflows
                (loss * (share * scale)).backward()
            self.seconds["forward"] += middle - begun
            self.seconds["backward"] += clock() - middle
            loss = None  # its graph is gone, and its activations need not wait for the next ones
        begun = clock()
        norm, taken = finish_step(self.params, self.optimizer, self.scheduler, self.scaler, self.max_norm)
        self.seconds["optimizer"] += clock() - begun
        self.steps, self.skipped = self.steps + taken, self.skipped + (not taken)
        return {"loss": mean.value, "samples": mean.count, "norm": norm, "skipped": not taken}

    def evaluate(self, loader):
        """Means of loss and metrics over all samples of a loader, in evaluation mode -> {"loss": ..., name: ...}."""
        means = {name: Average() for name, metric in self.metrics.items() if not hasattr(metric, "update")}
        others = {name: metric for name, metric in self.metrics.items() if name not in means}
        loss = Average()
        for metric in others.values():
            metric.reset()
        with evaluating(self.model):
            for batch in loader:
                *inputs, target = batch
                prediction, count = self.model(*inputs), self.count(batch)
                loss.update(self.loss(prediction, target).item(), count)
                for name, average in means.items():
                    average.update(float(self.metrics[name](prediction, target)), count)
                for metric in others.values():
                    metric.update(prediction, target)
        return {"loss": loss.value} | {name: (means | others)[name].value for name in self.metrics}

    def _call(self, event, *args):
        for callback in [*self.callbacks, *([self.progress] if self.progress else [])]:
            try:
                getattr(callback, event)(self, *args)
            except Exception as error:
                epoch = self.epoch + (event not in ("on_epoch_end", "on_fit_end"))  # these come when it is counted as done
                raise CallbackError(f"{type(callback).__name__}.{event} failed in epoch {epoch}, step "
                                    f"{self.steps + self.skipped}: {type(error).__name__}: {error}") from error

    # State

    def state_dict(self):
        """All that decides how the run goes on, as a tree for save_checkpoint."""
        if self.loader is None:
            raise ValueError("there is no run to save yet: a checkpoint holds a place in the loader given to fit")
        state = snapshot(self.model, self.optimizer, self.scheduler, self.loader, self.epoch, self.batch, generators_of(self.model))
        return state | {
            "scaler": self.scaler and self.scaler.state_dict(),
            "counts": {"steps": self.steps, "skipped": self.skipped, "batches": self.batches, "accumulate": self.accumulate},
            "mean": {"total": self.mean.total, "count": self.mean.count},
            "history": [dict(row) for row in self.history],
            "callbacks": [{"class": type(c).__name__, "state": c.state_dict()} for c in self._with_state()],
        }

    def _with_state(self):
        return [callback for callback in self.callbacks if hasattr(callback, "state_dict")]

    def save(self, path):
        """Write a checkpoint -> bytes. The file at path is replaced at one instant, when the new one is on the disk."""
        return save_checkpoint(path, self.state_dict())

    def load(self, path):
        """Read a checkpoint; the next fit puts it back and goes on from there. Raises CheckpointError, FileNotFoundError."""
        state = load_checkpoint(path)
        if not isinstance(state, dict) or not {"model", "optimizer", "loader", "counts"} <= state.keys():
            raise CheckpointError(f"{path} is no checkpoint of a Trainer")
        self._waiting = state

    def _put_back(self):
        """Put a checkpoint back, if one was loaded -> the batches that are left of its epoch, else None."""
        if self._waiting is None:
            return None
        state, self._waiting = self._waiting, None
        now = {"batches": self.batches, "accumulate": self.accumulate, "schedule": self.scheduler is not None,
               "scaler": self.scaler is not None, "callbacks": [type(c).__name__ for c in self._with_state()]}
        then = {"batches": state["counts"]["batches"], "accumulate": state["counts"]["accumulate"],
                "schedule": state["scheduler"] is not None, "scaler": state["scaler"] is not None,
                "callbacks": [c["class"] for c in state["callbacks"]]}
        differ = [f"{name} {then[name]}, now {now[name]}" for name in now if now[name] != then[name]]
        if differ:
            raise CheckpointError(f"the checkpoint is from another run, which had {'; '.join(differ)}")
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        for callback, saved in zip(self._with_state(), state["callbacks"], strict=True):
            callback.load_state_dict(saved["state"])
        self.epoch, self.batch = state["loader"]["epoch"], state["loader"]["batch"]
        self.steps, self.skipped = state["counts"]["steps"], state["counts"]["skipped"]
        self.mean, self.history = Average(**state["mean"]), state["history"]
        return resume(state, self.model, self.optimizer, self.scheduler, self.loader, generators_of(self.model))


def plot_history(history):
    """Losses, and metrics beside them, over epochs -> matplotlib figure. Raises ValueError if there are no epochs."""
    import matplotlib.pyplot as plt

    if not history:
        raise ValueError("the history has no epochs yet: call fit first")
    losses = [name for name in history[0] if name.endswith("loss")]
    others = [name for name in history[0] if name not in (*losses, "epoch", "lr")]
    epochs = [row["epoch"] for row in history]
    figure, axes = plt.subplots(1, 1 + bool(others), figsize=(10 if others else 6, 3.2), layout="constrained", squeeze=False)
    for axis, names in zip(axes[0], (losses, others), strict=False):
        for name in names:
            axis.plot(epochs, [row[name] for row in history], label=name, marker="." if len(epochs) < 40 else None)
        axis.set_xlabel("epoch")
        axis.legend()
    seen = [row[name] for row in history for name in losses if row[name] > 0]
    if seen and max(seen) > 20 * min(seen):
        axes[0, 0].set_yscale("log")
    return figure


def ring_chunk(rank, step, world):
    """The chunk, 0 to world - 1, that a rank sends to the next at a step, 0 to 2 * world - 3, of a ring all-reduce.

    Source: Patarasuk and Yuan 2009.
    """
    return (rank - step) % world if step < world - 1 else (rank + 1 - (step - (world - 1))) % world


class Ring:
    """One rank's place among `world` processes: sums of vectors by which all of them end with the same bits.

    rows: uint8 array (world, bytes) that all share; barrier: of all ranks. Every rank calls the same methods in the same order.
    own: the chunk that is this rank's after reduce_scatter. moved: bytes that came from the left neighbour so far.
    """

    def __init__(self, rank, rows, barrier, seconds=30.0):
        self.rank, self.world, self.rows, self.barrier, self.seconds, self.moved = rank, len(rows), rows, barrier, seconds, 0
        self.own = ring_chunk(rank, self.world - 1, self.world)

    def bounds(self, n):
        """Where each chunk of n numbers begins and ends -> list of pairs."""
        return [(n * k // self.world, n * (k + 1) // self.world) for k in range(self.world)]

    def reduce_scatter(self, values):
        """Add up the vectors of all ranks -> the sum of this rank's own chunk. values (n,): the same n and dtype everywhere."""
        self._put(slice(None), values, len(values))
        begin, end = self.bounds(len(values))[self.own]
        return self._around(len(values), values.dtype, range(self.world - 1), add=True)[begin:end]

    def all_gather(self, chunk, n):
        """Every rank's own chunk, in order -> array (n,)."""
        self._put(slice(*self.bounds(n)[self.own]), chunk, n)
        return self._around(n, chunk.dtype, range(self.world - 1, 2 * (self.world - 1)), add=False)

    def all_reduce(self, values):
        """The sum of the vectors of all ranks, at every rank -> array (n,)."""
        return self.all_gather(self.reduce_scatter(values), len(values))

    def _row(self, rank, n, dtype):
        return self.rows[rank, :n * dtype.itemsize].view(dtype)

    def _put(self, place, values, n):
        if n * values.dtype.itemsize > self.rows.shape[1]:
            raise ValueError(f"{n} numbers of {values.dtype} do not fit into the {self.rows.shape[1]} bytes that a rank shares")
        self._row(self.rank, n, values.dtype)[place] = values

    def _around(self, n, dtype, steps, add):
        left = (self.rank - 1) % self.world
        row, neighbour, bounds = self._row(self.rank, n, dtype), self._row(left, n, dtype), self.bounds(n)
        self.barrier.wait(self.seconds)  # everybody's row is there
        for step in steps:
            begin, end = bounds[ring_chunk(left, step, self.world)]
            arrived = neighbour[begin:end].copy()
            self.moved += arrived.nbytes
            self.barrier.wait(self.seconds)
            row[begin:end] = row[begin:end] + arrived if add else arrived
            self.barrier.wait(self.seconds)
        return row.copy()


def run_ranks(world, size, work):
    """Run work(ring) in so many forked processes, which share size bytes each -> list of what every rank returned.

    Raises RuntimeError where processes cannot be forked, or with the first rank that died; the others are then stopped.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise RuntimeError("ranks are forked processes, and this system does not fork: use Linux, macOS or the course's server")
    context = multiprocessing.get_context("fork")
    size = -(-size // 64) * 64  # rows begin where any number may begin
    rows = np.frombuffer(mmap.mmap(-1, world * size), np.uint8).reshape(world, size)
    barrier, results, waiting, processes = context.Barrier(world), {}, {}, []
    try:
        for rank in range(world):
            here, there = context.Pipe(duplex=False)
            processes.append(context.Process(target=_work, args=(there, work, Ring(rank, rows, barrier))))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside any thread
                processes[-1].start()
            there.close()
            waiting[here] = rank
        while waiting:
            for end in connection.wait(list(waiting)):
                rank = waiting.pop(end)
                with end:
                    try:
                        results[rank] = end.recv()
                    except EOFError:
                        processes[rank].join()
                        raise RuntimeError(f"rank {rank} of {world} ended with status {processes[rank].exitcode} and no result; "
                                           "the others were stopped") from None
        return [results[rank] for rank in range(world)]
    finally:
        if waiting and all(process.exitcode in (None, 0, 1) for process in processes):
            barrier.abort()  # those that wait end by themselves; who was killed may hold the barrier's lock for ever
        for process in processes:
            process.join(1 if waiting else None)
            if process.is_alive():
                process.kill()
                process.join()


def _work(end, work, ring):
    with end:
        try:
            end.send(work(ring))
        except threading.BrokenBarrierError:
            raise SystemExit(1) from None  # another rank died, and says so itself


def fixed(values, bits=40):
    """Floats as whole multiples of 2**-bits, the nearest ones, half to even -> int64 array of the same shape.

    Raises OverflowError, with the value, if one is not finite or has a magnitude of 2**(52 - bits) or more.
    """
    values = np.asarray(values, np.float64)
    wrong = ~(np.abs(values) < 2.0 ** (52 - bits))
    if wrong.any():
        raise OverflowError(f"{values[wrong][0]} is no number below 2**{52 - bits}: it cannot be added up in fixed point")
    return np.rint(values * 2.0**bits).astype(np.int64)


def unfixed(whole, dtype, bits=40):
    """What fixed made, and sums of it, as floats again."""
    return (whole * 2.0**-bits).astype(dtype)


def sharded_step(weights, gradient, shard, optimizer, ring):
    """A step of ZeRO-1 on one rank, after which all ranks have the same weights, those of an optimizer for all of them.

    weights (n,): floats, changed in place. gradient (n,): int64, what this rank adds to the sum, from fixed.
    shard: the parameter of this rank's own chunk, the only one of the optimizer. Source: Rajbhandari et al. 2020.
    """
    shard.grad = Tensor(unfixed(ring.reduce_scatter(gradient), weights.dtype))
    optimizer.step()
    weights[:] = ring.all_gather(shard.numpy(), len(weights))


def supervise(launch, done, patience=3):
    """Call launch() until its status is 0 -> how often it was called.

    done(): steps in the last checkpoint. Raises RuntimeError, with the last status and these steps, after patience calls in a
    row without one step more.
    """
    starts = idle = 0
    most = done()
    while True:
        status, starts = launch(), starts + 1
        if status == 0:
            return starts
        now = done()
        most, idle = (now, 0) if now > most else (most, idle + 1)
        if idle >= patience:
            raise RuntimeError(f"{idle} starts in a row ended without a step more than {most}; the last status is {status}")
