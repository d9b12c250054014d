"""The exported loader: the same batches whoever loads them, every error at its place, and never a process left behind."""

import functools
import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinytorch.loaded import Big, Numbers, Odd, counting, raw, unpicklable
from tinytorch import (
    BatchSampler,
    Compose,
    DataLoader,
    Dataset,
    DTypeError,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomSampler,
    SequentialSampler,
    ShapeError,
    Storage,
    Subset,
    Tensor,
    TensorDataset,
    TransformedDataset,
    default_collate,
    random_split,
)
from tinytorch.data import ReorderBuffer, assign, batch_count, batched, generator, load, pack, split_lengths, stack

ROOT = Path(__file__).parents[2]
METHODS = ("fork", "spawn")
methods = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves a process or an open file behind. Shared memory with a name is not used at all."""
    files = len(os.listdir("/proc/self/fd"))
    yield
    assert multiprocessing.active_children() == []
    assert len(os.listdir("/proc/self/fd")) <= files + 2  # spawn keeps the pipe of its resource tracker


def arrays(batch):
    """A batch with arrays for tensors, in plain data that == and assert can compare."""
    if isinstance(batch, Tensor):
        return str(batch.dtype), batch.shape, batch.numpy().tobytes()
    if isinstance(batch, dict):
        return {k: arrays(v) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(arrays(v) for v in batch)
    return batch


def augmented(n=50):
    rng = np.random.default_rng(3)
    samples = TensorDataset(Tensor(rng.random((n, 2, 8, 8), "float32")), Tensor(np.arange(n)))
    return TransformedDataset(samples, Compose([RandomCrop(8, padding=2), RandomHorizontalFlip(), Normalize(0.5, [0.25, 0.5])]), seed=4)


# Splits, samplers, batches


@given(st.integers(0, 500), st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_fractions_give_every_sample_to_one_part_and_stay_within_one_of_their_share(n, weights):
    parts = [w / sum(weights) for w in weights]
    lengths = split_lengths(n, parts)
    assert sum(lengths) == n and len(lengths) == len(parts)
    assert all(n * p - 1 - 1e-6 < length < n * p + 1 + 1e-6 for p, length in zip(parts, lengths, strict=True))


@given(st.integers(1, 60), st.integers(0, 2**40))
def test_a_split_has_every_sample_once(n, seed):
    parts = random_split(range(n), (0.5, 0.3, 0.2), seed)
    assert sorted(i for part in parts for i in part.indices) == list(range(n))
    assert [p.indices for p in parts] == [p.indices for p in random_split(range(n), (0.5, 0.3, 0.2), seed)]


places = st.builds(lambda seed, rest: (seed, *rest), st.integers(0, 2**64), st.lists(st.integers(0, 2**32 - 1), max_size=3))


@given(places, places)
def test_two_places_share_a_generator_only_if_they_are_one(a, b):
    first, second = generator(*a).random(3), generator(*b).random(3)
    assert (first == second).all() == (a == b)


def test_orders_are_unrelated_between_epochs_and_uniform():
    sampler, firsts = RandomSampler(range(10), seed=1), []
    for epoch in range(500):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(10)) == sorted(map(int, order))
        firsts.append(order[0])
    counts = np.bincount(firsts, minlength=10)
    assert ((counts - 50) ** 2 / 50).sum() < 35


def test_a_sampler_without_a_seed_says_which_it_drew():
    sampler = RandomSampler(range(50))
    assert list(RandomSampler(range(50), sampler.seed)) == list(sampler)
    assert list(RandomSampler(range(50))) != list(sampler)


def test_samplers_leave_the_global_generator_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    list(DataLoader(augmented(), 8, shuffle=True))
    assert (np.random.get_state()[1] == before).all()


@given(st.lists(st.integers(), max_size=40), st.integers(1, 12), st.booleans())
def test_batches_are_slices_of_the_order_and_are_counted_right(indices, size, drop_last):
    batches = list(batched(iter(indices), size, drop_last))
    wanted = [indices[i:i + size] for i in range(0, len(indices), size)]
    assert batches == [b for b in wanted if len(b) == size or not drop_last]
    assert len(batches) == batch_count(len(indices), size, drop_last) == len(BatchSampler(indices, size, drop_last))


def test_a_batch_sampler_fixes_its_order_when_a_pass_begins():
    sampler = RandomSampler(range(30), seed=2)
    first = iter(BatchSampler(sampler, 30))
    sampler.set_epoch(1)
    second = iter(BatchSampler(sampler, 30))
    sampler.set_epoch(0)
    assert next(first) == list(sampler) != next(second)


# Datasets and collating


@given(st.data())
def test_gathering_is_collating_one_by_one(data):
    n = data.draw(st.integers(1, 9))
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = data.draw(st.sampled_from(("float64", "float16", "int8", "bool")))
    values = np.arange(n * int(np.prod(shape))).reshape(n, *shape).astype(dtype)
    x = Tensor(values) if data.draw(st.booleans()) else Tensor(np.ascontiguousarray(values.T)).T
    dataset = TensorDataset(x, Tensor(np.arange(n)))
    indices = data.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=12))
    wanted = default_collate([dataset[i] for i in indices])
    assert arrays(load(dataset, indices)) == arrays(wanted)
    subset = Subset(dataset, indices)
    assert arrays(load(subset, range(len(indices)))) == arrays(wanted)


def test_samples_are_views_and_batches_are_copies():
    x = Tensor(np.arange(12.0).reshape(4, 3))
    dataset = TensorDataset(x)
    assert dataset[2][0].shares_storage(x)
    before = Storage.live_bytes
    batch, = load(dataset, [0, 3])
    assert Storage.live_bytes - before == batch.nbytes == 48
    batch.fill_(0)
    assert x.numpy().sum() == 66


def test_a_subclass_that_makes_its_samples_otherwise_is_not_bypassed():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)[0] * 2,

    class Reversed(Subset):
        def __getitem__(self, index):
            return super().__getitem__(len(self) - 1 - index)

    doubled = Doubled(Tensor([1.0, 2.0, 3.0]))
    assert load(doubled, [0, 2])[0].tolist() == [2.0, 6.0]
    assert load(Subset(doubled, [1]), [0])[0].tolist() == [4.0]
    assert load(Reversed(TensorDataset(Tensor([1.0, 2.0, 3.0])), [0, 1]), [0, 1])[0].tolist() == [2.0, 1.0]


def test_nested_samples_are_turned_inside_out():
    batch = default_collate([Odd()[i] for i in range(3)])
    assert batch["name"] == ["sample 0", "sample 1", "sample 2"]
    assert batch["flag"].tolist() == [True, False, True] and batch["scalar"].dtype == "float16"
    assert batch["square"].shape == (3, 3, 2) and batch["square"].is_contiguous() and batch["empty"].shape == (3, 0, 2)
    assert batch["pair"][0].tolist() == [0, 1, 2] and batch["pair"][1][0].dtype == "float32"


@pytest.mark.parametrize("samples, error, names", [
    ([np.zeros(2), np.zeros(2), np.zeros(3)], ShapeError, ("sample 2", "(3,)", "(2,)", "collate=")),
    ([np.zeros(2), np.zeros(2, "float32")], DTypeError, ("sample 1", "float32", "float64")),
    ([np.zeros(2), None], TypeError, ("sample 1", "NoneType")),
    ([object(), object()], TypeError, ("sample 0", "object")),
    ([1, np.zeros(2)], TypeError, ("sample 0", "int")),
    ([], ValueError, ("got none",)),
])
def test_a_sample_that_does_not_stack_is_named_in_one_line(samples, error, names):
    with pytest.raises(error) as caught:
        stack(samples)
    assert all(name in str(caught.value) for name in names) and "\n" not in str(caught.value)


@pytest.mark.parametrize("samples, error, names", [
    ([(1, 2), (1, 2, 3)], ShapeError, ("sample 1", "3 items", "2")),
    ([{"x": 1}, {"x": 1}, {"y": 1}], ValueError, ("sample 2", "key")),
    ([(1,), [1]], TypeError, ("sample 1", "list", "tuple")),
    ([{"a": (1, {"b": np.zeros(2)})}, {"a": (1, {"b": np.zeros(3)})}], ShapeError, ("sample 1", "(3,)")),
])
def test_a_sample_of_another_structure_is_named(samples, error, names):
    with pytest.raises(error) as caught:
        default_collate(samples)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize("attempt, error, names", [
    (lambda: TensorDataset(), ValueError, ("at least one",)),
    (lambda: TensorDataset(Tensor([1, 2]), Tensor([1])), ShapeError, ("2 and 1",)),
    (lambda: TensorDataset(Tensor(1.0)), ShapeError, ("axis",)),
    (lambda: TensorDataset(Tensor([1, 2]))[2], IndexError, ("2",)),
    (lambda: load(TensorDataset(Tensor([1, 2])), [0, -3]), IndexError, ("-3", "2 samples")),
    (lambda: load(TensorDataset(Tensor([1, 2])), [0.5]), IndexError, ("ints", "float64")),
    (lambda: Subset([1, 2], [0, 2]), IndexError, ("2",)),
    (lambda: random_split(range(10), (7, 2)), ValueError, ("9", "10")),
    (lambda: RandomHorizontalFlip(1.5), ValueError, ("1.5",)),
    (lambda: RandomCrop(0), ValueError, ("0",)),
    (lambda: Normalize(0, [1.0, 0.0]), ValueError, ("0.0",)),
    (lambda: Normalize([0, 0], 1)(np.zeros((3, 4, 4))), ShapeError, ("2 channels", "(3, 4, 4)")),
    (lambda: RandomCrop(9)(np.zeros((1, 8, 8)), generator(0)), ShapeError, ("(9, 9)", "(1, 8, 8)")),
    (lambda: DataLoader([1], 0), ValueError, ("batch_size", "0")),
    (lambda: DataLoader([1], workers=-1), ValueError, ("-1",)),
    (lambda: DataLoader([1], prefetch=0), ValueError, ("0",)),
    (lambda: DataLoader([1], shuffle=True, sampler=[0]), ValueError, ("not both",)),
    (lambda: DataLoader([1], start_method="thread"), ValueError, ("thread", "spawn")),
    (lambda: len(Dataset()), NotImplementedError, ("Dataset",)),
])
def test_wrong_arguments_are_named(attempt, error, names):
    with pytest.raises(error) as caught:
        attempt()
    assert all(name in str(caught.value) for name in names) and "\n" not in str(caught.value)


# Transforms


def test_a_crop_reaches_every_window_and_only_windows():
    image = np.arange(1, 7).reshape(2, 3)
    padded = np.zeros((4, 5), int)
    padded[1:-1, 1:-1] = image
    wanted = {padded[i:i + 2, j:j + 2].tobytes() for i in range(3) for j in range(4)}
    crop = RandomCrop(2, padding=1)
    assert {np.ascontiguousarray(crop(image, generator(0, k))).tobytes() for k in range(400)} == wanted


def test_normalize_gives_mean_zero_and_deviation_one_for_each_channel(rng):
    image = rng.normal([[[1.0]], [[-3.0]]], [[[2.0]], [[0.5]]], (2, 40, 40))
    made = Normalize(image.mean((1, 2)), image.std((1, 2)))(image)
    np.testing.assert_allclose(made.mean((1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(made.std((1, 2)), 1)
    assert Normalize(8, 4)(np.array([[0, 16]], "int8")).tolist() == [[-2.0, 2.0]]
    assert Normalize(8, 4)(np.zeros((1, 2), "int8")).dtype == "float32"


def test_a_transformed_sample_depends_on_seed_epoch_and_index_alone():
    data = augmented()
    order = [7, 3, 49, 7, -1, 0]
    once = {i: data[i][0].tobytes() for i in order}
    assert once[49] == once[-1]
    assert {i: data[i][0].tobytes() for i in reversed(order)} == once
    through = Subset(data, [3, 7])
    assert through[1][0].tobytes() == once[7]
    through.set_epoch(1)
    assert data.epoch == 1 and data[7][0].tobytes() != once[7]
    through.set_epoch(0)
    assert data[7][0].tobytes() == once[7]


# The queue


@given(st.permutations(range(12)))
def test_results_leave_in_order_as_soon_as_they_can(numbers):
    buffer, out, arrived = ReorderBuffer(), [], set()
    for number in numbers:
        arrived.add(number)
        out += buffer.put(number, str(number))
        due = next(k for k in itertools.count() if k not in arrived)
        assert out == [str(k) for k in range(due)] and len(buffer) == len(arrived) - due
    with pytest.raises(ValueError, match="result 5"):
        buffer.put(5, "")


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 9), st.integers(0, 40))
def test_tasks_fill_the_limit_and_level_the_loads(loads, waiting, limit):
    chosen = assign(loads, waiting, limit)
    assert len(chosen) == max(0, limit - waiting - sum(loads))
    after = [load + chosen.count(w) for w, load in enumerate(loads)]
    busiest_served = max((after[w] for w in chosen), default=0)
    assert all(busiest_served - a <= 1 for a in after)


# The loader


@methods
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_to_the_last_bit_whoever_loads_them(workers, method):
    def two_epochs(**how):
        loader = DataLoader(augmented(), 8, shuffle=True, seed=1, **how)
        return [arrays(list(loader)) for _ in range(2)]

    alone = two_epochs()
    assert alone[0] != alone[1] and len(alone[0]) == 7
    assert two_epochs(workers=workers, start_method=method) == alone


@pytest.mark.parametrize("dataset", [Odd(), Big(), Numbers(9)], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("drop_last", [False, True])
def test_any_batch_travels(dataset, drop_last):
    alone, together = (arrays(list(DataLoader(dataset, 4, drop_last=drop_last, workers=w))) for w in (0, 2))
    assert alone == together and len(alone) == len(DataLoader(dataset, 4, drop_last=drop_last))


def test_batches_that_travelled_can_be_written_and_are_counted():
    batches = list(DataLoader(Big(), 4, workers=2))
    before = Storage.live_bytes
    for batch in batches:
        batch.add_(1)
    del batch, batches[:]
    assert before - Storage.live_bytes == 12 * 2**21


def test_arrays_are_not_copied_into_the_message():
    parts = pack((3, Tensor(np.zeros(1 << 20, "float32")), None))
    assert len(parts[0]) < 2000 and parts[1].nbytes == 4 << 20
    assert pickle.loads(pickle.loads(parts[0])[0], buffers=parts[1:])[0] == 3


def test_order_does_not_depend_on_how_long_samples_take(rng):
    seconds = [float(s) for s in rng.permutation([0.02, *[0.001] * 23])]
    got = [int(i) for _, i in DataLoader(Numbers(24, seconds), workers=3, prefetch=2)]
    assert got == list(range(24))


def test_workers_never_run_further_ahead_than_prefetch_allows():
    counter = multiprocessing.get_context("fork").Value("i", 0)
    loader = DataLoader(Numbers(40, [0.1, *[0.0] * 39]), collate=functools.partial(counting, counter=counter), workers=2, prefetch=3,
                        start_method="fork")
    for taken, _ in enumerate(loader, 1):
        if taken in (1, 2, 10):
            time.sleep(0.05)
        assert counter.value <= taken + 2 * 3
    assert counter.value == 40


@pytest.mark.parametrize("workers", [0, 2])
def test_two_passes_at_a_time_do_not_disturb_each_other(workers):
    def epochs(**how):
        loader = DataLoader(augmented(20), 8, shuffle=True, seed=3, **how)
        return loader, arrays(list(loader)), arrays(list(loader))

    _, first, second = epochs()
    loader = DataLoader(augmented(20), 8, shuffle=True, seed=3, workers=workers)
    pairs = list(zip(loader, loader, strict=True))
    assert arrays([a for a, _ in pairs]) == first and arrays([b for _, b in pairs]) == second


def test_a_run_resumes_at_an_epoch():
    loader = DataLoader(augmented(), 8, shuffle=True, seed=1)
    epochs = [arrays(list(loader)) for _ in range(3)]
    again = DataLoader(augmented(), 8, shuffle=True, seed=1, workers=1)
    again.epoch = 2
    assert arrays(list(again)) == epochs[2] and again.epoch == 3


def test_an_endless_sampler_is_read_only_as_far_as_needed():
    for workers in (0, 2):
        batches = iter(DataLoader(Numbers(5), 2, sampler=itertools.cycle([4, 1, 3]), workers=workers, prefetch=1))
        assert [next(batches)[1].tolist() for _ in range(3)] == [[4, 1], [3, 4], [1, 3]]
        batches.close()


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_empty_and_tiny_epochs(workers):
    assert list(DataLoader(Numbers(0), 4, workers=workers)) == []
    assert list(DataLoader(Numbers(3), 4, drop_last=True, workers=workers)) == []
    assert [b[1].tolist() for b in DataLoader(Numbers(3), 2, workers=workers)] == [[0, 1], [2]]


def test_a_sequential_loader_keeps_order_and_samplers_may_repeat():
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert [b[1].tolist() for b in DataLoader(Numbers(5), 2, sampler=[4, 4, 0])] == [[4, 4], [0]]


def test_waiting_is_shared_by_workers():
    def seconds(workers):
        begin = time.perf_counter()
        for _ in DataLoader(Numbers(24, 0.05), 2, workers=workers):
            pass
        return time.perf_counter() - begin

    alone = seconds(0)
    assert min(seconds(3) for _ in range(5)) < 0.9 * alone  # a third if nothing else runs


# What goes wrong


@methods
def test_an_error_in_a_worker_is_raised_when_its_batch_is_due_with_the_workers_traceback(method):
    seen = []
    with pytest.raises(LookupError, match="sample 13 is broken") as caught:
        for _, index in DataLoader(Numbers(40, fails=13), 4, workers=2, start_method=method):
            seen += index.tolist()
    assert seen == list(range(12))
    assert "loaded.py" in str(caught.value.__cause__) and "in fail" in str(caught.value.__cause__)


def test_an_error_is_the_same_without_workers():
    seen = []
    with pytest.raises(LookupError, match="sample 13 is broken"):
        for _, index in DataLoader(Numbers(40, fails=13), 4):
            seen += index.tolist()
    assert seen == list(range(12))


def test_an_error_that_cannot_be_pickled_becomes_its_text():
    with pytest.raises(RuntimeError, match="TwoArguments: one and two"):
        list(DataLoader(Numbers(8, fails_oddly=5), workers=2))


def test_an_exit_in_a_sample_exits_as_without_workers():
    for workers in (0, 1):
        with pytest.raises(SystemExit, match="4"):
            list(DataLoader(Numbers(8, exits=5), workers=workers))


def test_a_batch_that_cannot_be_pickled_is_an_error_and_no_silence():
    with pytest.raises((pickle.PicklingError, AttributeError)):
        list(DataLoader(Numbers(4), collate=unpicklable, workers=1))


def test_collate_errors_name_the_sample_through_a_worker():
    ragged = [np.zeros(3), np.zeros(3), np.zeros(4)]
    with pytest.raises(ShapeError, match="sample 2 of the batch has shape"):
        list(DataLoader(ragged, 3, workers=1))


@methods
@pytest.mark.parametrize("happens, says", [("killed", "killed by SIGKILL"), ("ends", "exit code 7")])
def test_a_worker_that_dies_is_an_error_within_seconds(happens, says, method):
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"worker \d \(process \d+\) .*{says} with these batches to load: \d"):
        list(DataLoader(Numbers(60, 0.001, **{happens: 21}), 3, workers=2, start_method=method))
    assert time.monotonic() - begin < 60


def test_a_worker_killed_in_the_middle_of_a_message_is_an_error():
    loader = iter(DataLoader(Big(), 4, workers=1, prefetch=3))
    next(loader)
    time.sleep(0.1)  # the next batch fills the pipe and waits
    multiprocessing.active_children()[0].kill()
    with pytest.raises(RuntimeError, match="SIGKILL"):
        list(loader)


def test_a_worker_that_cannot_import_the_dataset_says_where_to_look():
    source = "from tinytorch import DataLoader\nclass Mine(list): pass\n" \
             "if __name__ == '__main__':\n list(DataLoader(Mine([1, 2]), workers=1, start_method='spawn'))\n"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "RuntimeError: worker 0" in done.stderr and "importable from a module" in done.stderr


@pytest.mark.parametrize("leave", ["break", "close", "delete", "raise"])
@pytest.mark.parametrize("happens", ["nothing", "sleeps", "stops"])
def test_leaving_early_ends_workers_whatever_they_do(leave, happens):
    batches = iter(DataLoader(Numbers(50, 0.02, **{happens: 3} if happens != "nothing" else {}), workers=2))
    next(batches)
    begin = time.monotonic()
    time.sleep(0.1)  # batch 1 has been sent; the worker of sample 3 is in it
    if leave == "close":
        batches.close()
    elif leave == "delete":
        del batches
    elif leave == "break":
        for _ in batches:
            break
        del batches
    else:
        with pytest.raises(ZeroDivisionError):
            for _ in (b for b in batches):
                raise ZeroDivisionError
        del batches
    assert multiprocessing.active_children() == []
    assert time.monotonic() - begin < 60      # and not after the 600 that it sleeps


SCRIPT = """
import multiprocessing, sys, time
from tests.tinytorch.loaded import Numbers
from tinytorch import DataLoader
if __name__ == "__main__":
    for batch in DataLoader(Numbers(10_000, 0.005), workers=2, start_method=sys.argv[1]):
        print(*(p.pid for p in multiprocessing.active_children()), flush=True)
        time.sleep(0.005)
"""


def hear_ctrl_c():
    """As a program at a terminal does; one started with & in a script is deaf to it, and so are these tests' children then."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@methods
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_no_worker_outlives_its_parent(sent, method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script), method], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                              preexec_fn=hear_ctrl_c)
    workers = [int(p) for p in parent.stdout.readline().split()]
    assert len(workers) == 2 and all(map(alive, workers))
    if sent == signal.SIGINT:
        os.killpg(parent.pid, sent)  # as a terminal does: to the whole group
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=120)
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, workers))
    assert errors.count("Traceback") == (1 if sent == signal.SIGINT else 0), errors
    assert ("KeyboardInterrupt" in errors) == (sent == signal.SIGINT)


SLOW = """
import os, time
from tests.tinytorch.loaded import Numbers
from tinytorch import DataLoader
if __name__ == "__main__":
    list(DataLoader(Numbers(4), workers=2, start_method="spawn"))
else:
    os.write(1, b"starting\\n")  # a whole line at once, whoever else writes
    time.sleep(1)
"""


def test_ctrl_c_while_workers_start_is_the_parents_affair(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SLOW)
    parent = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                              preexec_fn=hear_ctrl_c)
    assert [parent.stdout.readline(), parent.stdout.readline()] == ["starting\n", "starting\n"]
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=120)
    assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors, errors


def test_an_error_at_the_start_leaves_nothing():
    with pytest.raises((AttributeError, pickle.PicklingError)):
        list(DataLoader([1, 2], collate=lambda s: s, workers=2, start_method="spawn"))


def test_a_raw_collate_keeps_samples_as_they_are():
    for workers in (0, 1):
        (first, second), = DataLoader(Numbers(2), 2, collate=raw, workers=workers)
        assert isinstance(first[0], np.ndarray) and second[1] == 1
