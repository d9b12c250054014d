# Exported from modules/tinytorch/05_dataloader by `mlsys build`; edit the module's source, not this file.

"""Datasets, samplers, batches, and the loader that prepares them ahead of the trainer.

    Dataset    len() samples by index         Sampler     an order of indices, one epoch long
    collate    samples -> one batch           DataLoader  batches of an epoch, prepared here or by worker processes

All randomness is a function of seed, epoch and index: the batches of a loader do not depend on its number of workers.

Errors, each one line: ValueError and TypeError for arguments; ShapeError and DTypeError for samples that do not stack,
naming the sample; what a dataset raises in a worker is raised again in the parent; RuntimeError if a worker is lost.
"""

import contextlib
import itertools
import math
import multiprocessing
import operator
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

import numpy as np

from tinytorch.tensor import DTypeError, ShapeError, Tensor


def set_epoch(source, epoch):
    """Tell a dataset or sampler the epoch, if it wants to know."""
    if hasattr(source, "set_epoch"):
        source.set_epoch(epoch)


class Dataset:
    """Samples by index: a subclass defines __len__ and __getitem__(index).

    Random numbers in __getitem__ come from generator(seed, epoch, index). A worker process starts with a copy of every
    global generator, so several workers would draw the same numbers from it.
    """

    def __len__(self):
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def set_epoch(self, epoch):
        """Told before the samples of an epoch are loaded. Nothing, unless samples depend on it."""


def position(index, length):
    """index as an int from 0 to length - 1; negative ones count from the end. Raises IndexError."""
    i = operator.index(index)
    if not -length <= i < length:
        raise IndexError(f"index {i} is out of range for a dataset of {length} samples")
    return i % length


class TensorDataset(Dataset):
    """Sample i is the tuple of row i of each tensor: views, no copies. Raises ShapeError if lengths differ."""

    def __init__(self, *tensors):
        if not tensors:
            raise ValueError("TensorDataset wants at least one tensor, got none")
        self.tensors = tuple(t if isinstance(t, Tensor) else Tensor(t) for t in tensors)
        if any(t.ndim == 0 for t in self.tensors):
            raise ShapeError("TensorDataset wants tensors with an axis of samples, got one without axes")
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) > 1:
            raise ShapeError(f"tensors of one dataset have one length, got {' and '.join(map(str, lengths))}")

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        i = position(index, len(self))
        return tuple(t[i] for t in self.tensors)

    def gather(self, indices):
        """The batch of these samples, copied in one operation a tensor; the same as collating them one by one."""
        if type(self).__getitem__ is not TensorDataset.__getitem__:  # a subclass makes its samples otherwise
            return default_collate([self[i] for i in indices])
        rows = np.asarray(indices, None if len(indices) else np.intp)
        if rows.dtype.kind not in "iu":
            raise IndexError(f"indices are ints, got {rows.dtype}")
        for outside in rows[(rows < -len(self)) | (rows >= len(self))]:
            position(outside, len(self))  # raises
        return tuple(Tensor.from_numpy(np.ascontiguousarray(t.numpy()[rows])) for t in self.tensors)


class Subset(Dataset):
    """The samples of a dataset at these indices, in this order. They may repeat."""

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = [position(i, len(dataset)) for i in indices]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[position(index, len(self))]]

    def gather(self, indices):
        if type(self).__getitem__ is not Subset.__getitem__:
            return default_collate([self[i] for i in indices])
        return load(self.dataset, [self.indices[position(i, len(self))] for i in indices])

    def set_epoch(self, epoch):
        set_epoch(self.dataset, epoch)


def load(dataset, indices, collate=None):
    """The batch of these samples: gathered at once where the dataset can and collate is the default (None)."""
    if collate is None and hasattr(dataset, "gather"):
        return dataset.gather(indices)
    return (collate or default_collate)([dataset[i] for i in indices])


def split_lengths(n, parts):
    """Lengths of the parts of n samples, given as counts (ints) or as fractions (floats) -> tuple of ints.

    Samples that rounding down leaves over go one each to the first parts. Raises ValueError if counts do not add up to
    n, fractions do not add up to 1, one is negative, or both kinds are mixed.
    """
    parts = tuple(parts)
    kinds = {type(p) for p in parts}
    if any(p < 0 for p in parts) or not (kinds == {int} or kinds == {float}):
        raise ValueError(f"parts are all counts (ints) or all fractions (floats), none negative; got {parts}")
    if kinds == {int}:
        if sum(parts) != n:
            raise ValueError(f"counts {parts} add up to {sum(parts)}, but there are {n} samples")
        return parts
    if not math.isclose(math.fsum(parts), 1, rel_tol=1e-9):
        raise ValueError(f"fractions {parts} add up to {math.fsum(parts):.6g}, want 1")
    lengths = [int(n * p) for p in parts]
    for i in range(n - sum(lengths)):
        lengths[i % len(lengths)] += 1
    return tuple(lengths)


def generator(seed, *place):
    """A NumPy Generator for one place, such as (epoch,) or (epoch, index): a pure function of its arguments.

    seed from 0 to 2**128 - 1, place from 0 to 2**32 - 1. Different arguments give unrelated streams, also if one of them
    only has a zero more at its end.
    Source: SeedSequence of NumPy (O'Neill 2015, "Developing a seed_seq alternative").
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


class SequentialSampler:
    """Indices 0, 1, ... of a dataset or anything else with a length."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __iter__(self):
        return iter(range(len(self.source)))


def random_split(dataset, parts, seed=0):
    """Subsets of a shuffled dataset, given as counts or fractions of it -> list of Subset. The seed decides who is where."""
    lengths = split_lengths(len(dataset), parts)
    order = generator(seed).permutation(len(dataset)).tolist()
    ends = list(itertools.accumulate(lengths))
    return [Subset(dataset, order[end - length:end]) for length, end in zip(lengths, ends, strict=True)]


class RandomSampler:
    """Indices of a dataset in random order, another one for each epoch, decided by (seed, epoch) alone.

    seed None draws one from the operating system; it can be read from .seed afterwards, to repeat the run.
    """

    def __init__(self, source, seed=None):
        self.source = source
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else operator.index(seed)
        self.epoch = 0

    def __len__(self):
        return len(self.source)

    def set_epoch(self, epoch):
        """Choose the epoch whose order the next pass has."""
        self.epoch = epoch

    def rng(self):
        return generator(self.seed, self.epoch)

    def __iter__(self):
        return iter(self.rng().permutation(len(self.source)).tolist())


def batch_count(n, batch_size, drop_last=False):
    """Number of batches of n samples; the last one may be short, or be dropped -> int. Raises ValueError."""
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    return n // batch_size if drop_last else -(-n // batch_size)


def batched(indices, batch_size, drop_last=False):
    """Lists of batch_size successive indices, made when they are asked for; drop_last leaves a short last one out.

    Raises ValueError if batch_size is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    remaining = iter(indices)
    while batch := list(itertools.islice(remaining, batch_size)):
        if len(batch) == batch_size or not drop_last:
            yield batch


class BatchSampler:
    """Batches of a sampler's indices, as lists. The order is fixed when a pass begins."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler, self.batch_size, self.drop_last = sampler, operator.index(batch_size), bool(drop_last)
        batch_count(0, self.batch_size)  # refuses a size that is not positive

    def __len__(self):
        return batch_count(len(self.sampler), self.batch_size, self.drop_last)

    def __iter__(self):
        return batched(iter(self.sampler), self.batch_size, self.drop_last)

    def set_epoch(self, epoch):
        set_epoch(self.sampler, epoch)


def stack(samples):
    """Tensors, arrays or numbers, all of one shape and dtype -> one tensor with a new axis in front. Copies.

    Raises ValueError without samples; ShapeError, DTypeError or TypeError with the position of a sample that does not
    fit the first.
    """
    if not samples:
        raise ValueError("a batch wants at least one sample, got none")
    if all(type(s) in (bool, int, float) for s in samples):
        return Tensor(list(samples))
    arrays = [s.numpy() if isinstance(s, Tensor) else s for s in samples]
    first = arrays[0]
    for i, a in enumerate(arrays):
        if not isinstance(a, np.ndarray | np.generic):
            raise TypeError(f"sample {i} of the batch is a {type(a).__name__}: tensors, arrays or numbers stack, all of one kind")
        if a.shape != first.shape:
            raise ShapeError(f"sample {i} of the batch has shape {a.shape}, sample 0 has {first.shape}: crop or pad them, "
                             "or pass collate=")
        if a.dtype != first.dtype:
            raise DTypeError(f"sample {i} of the batch is {a.dtype}, sample 0 is {first.dtype}: convert them in the dataset")
    out = np.empty((len(arrays), *first.shape), first.dtype)
    return Tensor.from_numpy(np.stack(arrays, out=out))


def columns(samples, leaf):
    """A list of samples of one structure (tuples, lists, dicts, nested) -> that structure, with leaf(column) for each value.

    A column of str or bytes stays a list. Raises ShapeError, ValueError or TypeError with the position of a sample of
    another structure.
    """
    nested = (tuple, list, dict)
    first = samples[0] if samples else None
    for i, sample in enumerate(samples):
        if isinstance(first, nested) or isinstance(sample, nested):
            if type(sample) is not type(first):
                raise TypeError(f"sample {i} of the batch is a {type(sample).__name__}, sample 0 is a {type(first).__name__}")
            if isinstance(first, dict) and sample.keys() != first.keys():
                key = next(iter(sample.keys() ^ first.keys()))
                raise ValueError(f"sample {i} of the batch {'has' if key in sample else 'lacks'} the key {key!r}, unlike sample 0")
            if len(sample) != len(first):
                raise ShapeError(f"sample {i} of the batch has {len(sample)} items, sample 0 has {len(first)}")
    if isinstance(first, dict):
        return {key: columns([s[key] for s in samples], leaf) for key in first}
    if isinstance(first, nested):
        made = [columns(list(column), leaf) for column in zip(*samples, strict=True)]
        return type(first)(*made) if hasattr(first, "_fields") else type(first)(made)
    if isinstance(first, str | bytes):
        return list(samples)
    return leaf(samples)


def default_collate(samples):
    """Samples of one structure -> a batch of that structure, its columns stacked into tensors; see columns and stack."""
    return columns(samples, stack)


class RandomHorizontalFlip:
    """Mirrors the last axis of an array (..., H, W) with probability p."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability from 0 to 1, got {p}")
        self.p = p

    def __call__(self, image, rng):
        return image[..., ::-1] if rng.random() < self.p else image


class RandomCrop:
    """A window of size (h, w), or a square, at a random position of an array (..., H, W) padded with zeros.

    padding adds that many rows and columns on each side. Raises ShapeError if the window is larger than that.
    """

    def __init__(self, size, padding=0):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding
        if len(self.size) != 2 or min(self.size) < 1 or padding < 0:
            raise ValueError(f"a crop has a positive size, one number or two, and padding from 0 on; got {size}, {padding}")

    def __call__(self, image, rng):
        h, w = self.size
        rows, cols = (n + 2 * self.padding for n in image.shape[-2:])
        if h > rows or w > cols:
            raise ShapeError(f"a crop of {self.size} does not fit an image of shape {image.shape} with padding {self.padding}")
        edge = (self.padding, self.padding)
        padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [edge, edge]) if self.padding else image
        top, left = rng.integers(rows - h + 1), rng.integers(cols - w + 1)
        return padded[..., top:top + h, left:left + w]


class Compose:
    """Transforms one after the other, all with the same generator."""

    def __init__(self, transforms):
        self.transforms = tuple(transforms)

    def __call__(self, image, rng=None):
        for transform in self.transforms:
            image = transform(image, rng)
        return image


class Normalize:
    """(image - mean) / std in the image's float dtype, or float32. mean and std: numbers, or one for each channel (C, H, W)."""

    def __init__(self, mean, std):
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        if self.mean.ndim > 1 or self.std.ndim > 1:
            raise ShapeError(f"mean and std are numbers or one axis of channels, got shapes {self.mean.shape} and {self.std.shape}")
        if not (self.std > 0).all():
            raise ValueError(f"std is positive, got {std}")

    def __call__(self, image, rng=None):
        for values in (self.mean, self.std):
            if values.ndim and (image.ndim < 3 or image.shape[-3] != len(values)):
                raise ShapeError(f"{len(values)} channels are to be normalized, the image has shape {image.shape}")
        mean, std = (v[:, None, None] if v.ndim else v for v in (self.mean, self.std))
        return ((image - mean) / std).astype(image.dtype if image.dtype.kind == "f" else np.float32)


class TransformedDataset(Dataset):
    """A dataset whose samples, or the first items of its tuples, go through transform(array, rng).

    rng is generator(seed, epoch, index), so a sample depends on these three and on nothing else.
    """

    def __init__(self, dataset, transform, seed=0):
        self.dataset, self.transform, self.seed, self.epoch = dataset, transform, seed, 0

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        i = position(index, len(self))
        sample, rng = self.dataset[i], generator(self.seed, self.epoch, i)
        items = sample if isinstance(sample, tuple) else (sample,)
        image = items[0].numpy() if isinstance(items[0], Tensor) else np.asarray(items[0])
        made = (self.transform(image, rng), *items[1:])
        return made if isinstance(sample, tuple) else made[0]

    def set_epoch(self, epoch):
        self.epoch = epoch
        set_epoch(self.dataset, epoch)


class ReorderBuffer:
    """Results that arrive in any order, numbered 0, 1, ..., and leave in order. len() is how many wait."""

    def __init__(self):
        self.due = 0        # the number that is handed out next
        self.waiting = {}   # number -> result, for those that came before their turn

    def __len__(self):
        return len(self.waiting)

    def put(self, number, result):
        """Take a result -> list of the results that can be handed out now, in order. Raises ValueError for a number twice."""
        if number < self.due or number in self.waiting:
            raise ValueError(f"result {number} was there before; {self.due} is due, {sorted(self.waiting)} wait")
        self.waiting[number] = result
        ready = []
        while self.due in self.waiting:
            ready.append(self.waiting.pop(self.due))
            self.due += 1
        return ready


def assign(loads, waiting, limit):
    """Which workers get the next tasks -> list of worker numbers, one for each task, in order.

    loads: tasks that each worker has and has not answered; waiting: results not yet taken; limit: most of both together.
    A task goes to the worker with the least to do, to the first of equals.
    """
    loads, chosen = list(loads), []
    for _ in range(limit - sum(loads) - waiting):
        worker = loads.index(min(loads))
        loads[worker] += 1
        chosen.append(worker)
    return chosen


class WorkerTraceback(Exception):
    """The traceback of an error in a worker, as text: the cause of the error that the parent raises."""

    def __str__(self):
        return f"\n{self.args[0]}"


def pack(message):
    """An object as a pickle without the bytes of its arrays, and these bytes -> list of buffers."""
    buffers = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    raw = [b.raw() for b in buffers]
    return [pickle.dumps((head, [r.nbytes for r in raw])), *raw]


def send(connection, parts):
    """Write what pack returned to a pipe: the first part as a message, arrays as plain bytes."""
    connection.send_bytes(parts[0])
    for part in parts[1:]:
        while part.nbytes:
            part = part[os.write(connection.fileno(), part):]


def receive(connection):
    """Read what send wrote. Arrays are read to where they stay. Raises EOFError if the other side has gone."""
    head, sizes = pickle.loads(connection.recv_bytes())
    buffers = []
    for size in sizes:
        buffers.append(np.empty(size, np.uint8))
        rest = memoryview(buffers[-1])
        while rest.nbytes:
            count = os.readv(connection.fileno(), [rest])
            if not count:
                raise EOFError
            rest = rest[count:]
    return pickle.loads(head, buffers=buffers)


def portable(error):
    """An exception that another process can raise: itself if it survives pickling, a RuntimeError with its text if not."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, text


@contextlib.contextmanager
def interrupts_held():
    """Hold Ctrl-C back until the end of the block. Processes started meanwhile hold it back until they let it through."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(connection, inherited, dataset, collate, epoch):
    """Be a worker: answer each task (number, indices) with (number, batch, failure). Never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's affair; held back so far, see Workers
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for other in inherited:  # ends of other workers' pipes that fork copied: they would stay open without the parent
        other.close()
    set_epoch(dataset, epoch)
    tasks, results = queue.SimpleQueue(), queue.SimpleQueue()

    def read():
        with contextlib.suppress(EOFError, OSError):
            while (task := connection.recv()) is not None:
                tasks.put(task)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(0)

    def write():
        with contextlib.suppress(OSError):
            while True:
                send(connection, results.get())

    for target in (read, write):
        threading.Thread(target=target, daemon=True).start()
    while True:
        number, indices = tasks.get()
        try:
            results.put(pack((number, load(dataset, indices, collate), None)))
        except BaseException as error:
            results.put(pack((number, None, portable(error))))


class Workers:
    """Worker processes and the pipes to them. close() ends them, however they are."""

    def __init__(self, count, start_method, dataset, collate, epoch):
        context = multiprocessing.get_context(start_method)
        forks = context.get_start_method() == "fork"
        self.owner, self.processes, self.connections = os.getpid(), [], []
        self.tasks = [[] for _ in range(count)]  # of each worker, numbers of the batches that it has to load
        if not forks and hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # here, since to start it lets SIGINT through again
        try:
            for _ in range(count):
                mine, theirs = context.Pipe()
                self.connections.append(mine)
                inherited = list(self.connections) if forks else []
                process = context.Process(target=work, args=(theirs, inherited, dataset, collate, epoch), daemon=True)
                with theirs, interrupts_held(), warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside any thread
                    process.start()
                self.processes.append(process)
        except BaseException:
            self.close()
            raise

    def send(self, worker, number, indices):
        self.tasks[worker].append(number)
        try:
            self.connections[worker].send((number, indices))
        except OSError:
            raise self.lost(worker) from None

    def receive(self):
        """Wait until workers have answered -> list of (worker, number, batch, failure). Raises RuntimeError if one died."""
        ready = wait([*self.connections, *(p.sentinel for p in self.processes)])
        answers = []
        for worker, (connection, process) in enumerate(zip(self.connections, self.processes, strict=True)):
            if connection not in ready and (process.sentinel not in ready or connection.poll()):
                continue
            try:
                if connection not in ready:
                    raise EOFError
                answers.append((worker, *receive(connection)))
            except (EOFError, OSError):
                raise self.lost(worker) from None
            self.tasks[worker].remove(answers[-1][1])
        return answers

    def lost(self, worker):
        """The error for a worker that ended by itself."""
        process = self.processes[worker]
        process.join(5)
        code = process.exitcode
        how = "stopped answering" if code is None else f"was killed by {signal.Signals(-code).name}" if code < 0 else (
            f"ended with exit code {code}")
        hint = {-9: "memory may have run out: try fewer workers or a smaller prefetch",
                1: "its own message is on stderr; without fork, dataset and collate must be importable from a module"}
        return RuntimeError(f"worker {worker} (process {process.pid}) {how} with these batches to load: "
                            f"{', '.join(map(str, self.tasks[worker])) or 'none'}"
                            + (f"; {hint[code]}" if code in hint else ""))

    def close(self):
        """End all workers and their pipes. A forked copy of this object leaves them alone."""
        if os.getpid() != self.owner:
            return
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.send(None)
            connection.close()
        for process in self.processes:
            process.join(1)
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        self.processes, self.connections = [], []


class DataLoader:
    """Batches of a dataset, one epoch at each pass.

    shuffle: another order each epoch, decided by seed (None: drawn once, see .sampler.seed). sampler: an order of one's
    own, instead of shuffle. collate: samples -> batch, default_collate by default. workers: processes that load ahead,
    each up to prefetch batches; 0 loads in this process, when a batch is asked for. start_method: of multiprocessing
    ("fork", "spawn", ...), None for its default. epoch is the number of the next pass; set it to resume a run.

    A batch is the same whatever the number of workers, if the dataset draws its random numbers from generator().
    Raises ValueError for arguments that do not fit each other, RuntimeError if a worker dies.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, seed=None, drop_last=False, sampler=None, collate=None,
                 workers=0, prefetch=2, start_method=None):
        if sampler is not None and (shuffle or seed is not None):
            raise ValueError("a sampler decides the order: pass it, or shuffle and seed, not both")
        if workers < 0 or prefetch < 1:
            raise ValueError(f"workers is at least 0 and prefetch at least 1, got {workers} and {prefetch}")
        if start_method not in (None, *multiprocessing.get_all_start_methods()):
            raise ValueError(f"start_method {start_method!r} is not one of {', '.join(multiprocessing.get_all_start_methods())}")
        if sampler is None:
            sampler = RandomSampler(dataset, seed) if shuffle else SequentialSampler(dataset)
        self.dataset, self.sampler, self.collate = dataset, sampler, collate
        self.batches = BatchSampler(sampler, batch_size, drop_last)
        self.workers, self.prefetch, self.start_method = operator.index(workers), operator.index(prefetch), start_method
        self.epoch = 0

    @property
    def batch_size(self):
        return self.batches.batch_size

    def __len__(self):
        """Batches of one epoch."""
        return len(self.batches)

    def __iter__(self):
        epoch, self.epoch = self.epoch, self.epoch + 1
        set_epoch(self.sampler, epoch)
        batches = iter(self.batches)  # the order is fixed now: a later pass that begins meanwhile does not change it
        return self._prefetched(epoch, batches) if self.workers else self._loaded(epoch, batches)

    def _loaded(self, epoch, batches):
        for indices in batches:
            set_epoch(self.dataset, epoch)
            yield load(self.dataset, indices, self.collate)

    def _prefetched(self, epoch, batches):
        plan, buffer, ready = enumerate(batches), ReorderBuffer(), deque()
        limit = self.workers * self.prefetch
        crew = Workers(self.workers, self.start_method, self.dataset, self.collate, epoch)

        def refill():
            loads = [len(tasks) for tasks in crew.tasks]
            for worker, task in zip(assign(loads, len(buffer) + len(ready), limit), plan, strict=False):
                crew.send(worker, *task)

        try:
            refill()
            while ready or any(crew.tasks):
                while not ready:
                    for _, number, batch, failure in crew.receive():
                        ready.extend(buffer.put(number, (batch, failure)))
                batch, failure = ready.popleft()
                if failure:
                    error, text = failure
                    raise error from WorkerTraceback(text)
                refill()
                yield batch
        finally:
            crew.close()
