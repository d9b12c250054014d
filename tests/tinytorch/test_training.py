"""The exported training loop: exact means, accumulation, files that survive kill -9, resumption to the bit, float16."""

import io
import math
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch as tt
from tinytorch import Tensor, training
from tinytorch.layers import Parameter, manual_seed
from tinytorch.training import (
    Average,
    Callback,
    CallbackError,
    CheckpointError,
    EarlyStopping,
    Half,
    LossError,
    LossScaler,
    MacroF1,
    Trainer,
    evaluating,
    fixed,
    load_checkpoint,
    plot_history,
    ring_chunk,
    run_ranks,
    save_checkpoint,
    sharded_step,
    shares,
    split_arrays,
    supervise,
    unfixed,
)

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def points(n=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype("float32")
    return x, (x[:, 0] + 0.5 * rng.normal(size=n) > 0).astype("int64")


def loader_of(n=50, seed=0, **options):
    return tt.DataLoader(tt.TensorDataset(*(Tensor(a) for a in points(n))), **({"batch_size": 8, "shuffle": True, "seed": seed} | options))


def network(drop=0.0, dtype="float32"):
    rng = np.random.default_rng(0)
    return tt.Sequential(tt.Linear(3, 12, rng=rng, dtype=dtype), tt.tanh, tt.Dropout(drop), tt.Linear(12, 2, rng=rng, dtype=dtype))


def trainer_of(model=None, seed=0, half=False, **options):
    manual_seed(seed)
    model = model or (Half(network(0.3)) if half else network(0.3))
    optimizer = tt.AdamW(model.parameters(), lr=0.02)
    schedule = tt.CosineWithWarmup(optimizer, 3, 100)
    return Trainer(model, tt.cross_entropy, optimizer, **({"scheduler": schedule, "max_norm": 1.0, "progress": False} | options))


def weights(model):
    return np.concatenate([np.array(p).reshape(-1) for p in model.parameters()])


class Strike(Callback):
    """Ends a run after so many steps."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, record):
        if trainer.steps + trainer.skipped == self.step:
            raise InterruptedError("struck")


# Means and evaluation


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_the_mean_does_not_depend_on_how_samples_are_cut_into_batches(counts, seed):
    values, average, at = np.random.default_rng(seed).normal(size=sum(counts)), Average(), 0
    for count in counts:
        average.update(values[at:at + count].mean(), count)
        at += count
    assert average.value == pytest.approx(values.mean(), rel=1e-12, abs=1e-14) and average.count == len(values)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 50])
def test_evaluation_is_the_same_for_every_batch_size_and_leaves_modes_and_graph_alone(batch_size):
    model = network(0.5)
    model[2].eval()
    trainer = Trainer(model, tt.cross_entropy, tt.SGD(model.parameters(), 0.1), progress=False,
                      metrics={"accuracy": tt.accuracy, "F1": MacroF1(2)})
    modes = [m.training for m in model.modules()]
    got = trainer.evaluate(loader_of(batch_size=batch_size, shuffle=False))
    x, y = points()
    with evaluating(model):
        logits = model(Tensor(x))
        assert not logits.requires_grad
        want = tt.cross_entropy(logits, Tensor(y)).item()
    predicted = logits.numpy().argmax(axis=1)
    scores = [2 * np.sum((predicted == c) & (y == c)) / (np.sum(predicted == c) + np.sum(y == c)) for c in (0, 1)]
    assert got == pytest.approx({"loss": want, "accuracy": (predicted == y).mean(), "F1": np.mean(scores)}, rel=1e-6)
    assert [m.training for m in model.modules()] == modes and tt.is_grad_enabled()


def test_positions_that_are_ignored_count_neither_in_training_nor_in_evaluation():
    x, y = points()
    y[3:25] = -100
    kept = y != -100
    full = tt.DataLoader(tt.TensorDataset(Tensor(x), Tensor(y)), batch_size=8)
    short = tt.DataLoader(tt.TensorDataset(Tensor(x[kept]), Tensor(y[kept])), batch_size=100)
    trained = []
    for loader, accumulate in ((full, 7), (short, 1)):
        model = network()
        trainer = Trainer(model, tt.cross_entropy, tt.SGD(model.parameters(), 0.5), accumulate=accumulate, progress=False,
                          count=lambda batch: int((batch[-1].numpy() != -100).sum()))
        trainer.fit(loader, 3)
        trained.append((weights(model), trainer.evaluate(loader)["loss"]))
    np.testing.assert_allclose(trained[0][0], trained[1][0], rtol=1e-4, atol=1e-6)
    assert trained[0][1] == pytest.approx(trained[1][1], rel=1e-5)


# Accumulation


@settings(max_examples=25)
@given(COUNTS)
def test_pieces_of_any_sizes_make_the_step_of_one_large_batch(counts):
    n = sum(counts)
    x, y = points(n)
    x = x.astype("float64")
    ends = np.cumsum(counts)
    pieces = [(Tensor(x[b - c:b]), Tensor(y[b - c:b])) for b, c in zip(ends, counts, strict=True)]
    after, records = [], []
    for group in (pieces, [(Tensor(x), Tensor(y))]):
        model = network(dtype="float64")
        trainer = Trainer(model, tt.cross_entropy, tt.SGD(model.parameters(), 0.5), max_norm=0.1, progress=False)
        records.append(trainer.train_step(group))
        after.append(weights(model))
    np.testing.assert_allclose(after[0], after[1], rtol=1e-11, atol=1e-14)
    assert records[0]["samples"] == records[1]["samples"] == n
    assert records[0]["loss"] == pytest.approx(records[1]["loss"], rel=1e-12)
    assert records[0]["norm"] == pytest.approx(records[1]["norm"], rel=1e-11)
    assert sum(shares(counts)) == pytest.approx(1)


def test_no_sample_is_lost_in_a_last_group_that_is_incomplete():
    seen = []

    def count(batch):
        seen.append(len(batch[-1]))
        return len(batch[-1])

    trainer = trainer_of(accumulate=3, count=count)
    trainer.fit(loader_of(50), 2)  # 7 batches: groups of 3, 3 and 1
    assert sum(seen) == 100 and trainer.steps == 6 and trainer.scheduler.steps == 6
    assert all(p.grad is None for p in trainer.params)


def test_accumulation_lowers_the_peak_of_memory():
    peaks = []
    for accumulate in (1, 8):
        rng = np.random.default_rng(0)
        layers = [part for _ in range(6) for part in (tt.Linear(32, 32, rng=rng), tt.tanh)]
        model = tt.Sequential(*layers, tt.Linear(32, 2, rng=rng))
        trainer = Trainer(model, tt.cross_entropy, tt.SGD(model.parameters(), 0.1), progress=False)
        data = tt.TensorDataset(Tensor(np.ones((1024, 32), "float32")), Tensor(np.zeros(1024, "int64")))
        batches = list(tt.DataLoader(data, batch_size=1024 // accumulate))
        trainer.train_step(batches)
        tt.Storage.peak_bytes = before = tt.Storage.live_bytes
        trainer.train_step(batches)
        peaks.append(tt.Storage.peak_bytes - before)
    assert peaks[1] < peaks[0] / 4


# Files


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats(allow_nan=False) | st.text(max_size=5)
    | hnp.arrays(st.sampled_from(["float64", "float32", "float16", "int64", "int8", "bool"]), hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
                 elements=None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/.0", max_size=3), inner, max_size=3), max_leaves=8)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@settings(max_examples=60)
@given(tree=st.dictionaries(st.text("xyz", min_size=1, max_size=3), trees, max_size=3))
def test_a_tree_comes_back_from_its_file_as_it_was(tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("tree") / "last.npz"
    arrays = split_arrays(tree)[1]
    leaves = sum(1 for _ in leaves_of(tree))
    if len(arrays) < leaves:  # two paths are one text, as "a/b" and "a" with "b" in it
        with pytest.raises(ValueError, match="two arrays"):
            save_checkpoint(path, tree)
        return
    assert save_checkpoint(path, tree) == path.stat().st_size
    assert same(load_checkpoint(path), tree)
    with np.load(path, allow_pickle=False) as file:
        assert len(file.files) == leaves + 1


@pytest.mark.parametrize("tree", [{"a/b": np.ones(1), "a": {"b": np.ones(1)}}, {"x": {"@array": "y"}, "y": np.ones(2)}])
def test_two_arrays_with_one_path_are_refused_and_not_mixed_up(tree, tmp_path):
    with pytest.raises(ValueError, match="two arrays"):
        save_checkpoint(tmp_path / "last.npz", tree)


def leaves_of(tree):
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves_of(value)


def test_equal_states_give_equal_bytes(tmp_path):
    state = {"model": network().state_dict(), "n": [1, (2, 3)]}
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, state)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_single_byte_can_change_what_is_read(tmp_path):
    path, state = tmp_path / "last.npz", {"model": {"weight": np.arange(6.0), "flags": np.array([True])}, "epoch": 3}
    save_checkpoint(path, state)
    good, noticed = path.read_bytes(), 0
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        path.write_bytes(bad)
        try:
            assert same(load_checkpoint(path), state), f"byte {at}"
        except CheckpointError as error:
            noticed += 1
            assert "\n" not in str(error) and "last.npz" in str(error)
    assert noticed > len(good) / 2


def test_files_that_are_cut_off_or_no_checkpoints_are_refused_in_one_line(tmp_path):
    path = tmp_path / "last.npz"
    save_checkpoint(path, {"a": np.ones(3)})
    good = path.read_bytes()
    for cut in (0, 1, 30, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(CheckpointError, match="last.npz"):
            load_checkpoint(path)
    np.savez(path, a=np.ones(3))
    with pytest.raises(CheckpointError, match="no header"):
        load_checkpoint(path)
    path.write_bytes(b"PK is not a zip")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.npz")
    save_checkpoint(path, {"a": 1})
    with pytest.raises(CheckpointError, match="no checkpoint of a Trainer"):
        trainer_of().load(path)


def test_reading_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for data in (pickle.dumps(Bomb()), archive(a=np.array([Bomb()], object)), archive(header=np.array([Bomb()], object))):
        (tmp_path / "bomb.npz").write_bytes(data)
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "bomb.npz")
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(TypeError, match="model/z is of type complex"):
        save_checkpoint(tmp_path / "new.npz", {"model": {"z": np.complex128(1j)}})
    with pytest.raises(TypeError, match="model/a is an array of Python objects"):
        save_checkpoint(tmp_path / "new.npz", {"model": {"a": np.array([None])}})
    with pytest.raises(TypeError, match="model/hook is of type function"):
        save_checkpoint(tmp_path / "new.npz", {"model": {"hook": leaves_of}})
    assert not (tmp_path / "new.npz").exists()


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_kill_9_while_checkpoints_are_written_leaves_a_whole_one_every_time(tmp_path):
    path = tmp_path / "last.npz"
    writer = textwrap.dedent(f"""
        import itertools, numpy as np
        from tinytorch.training import save_checkpoint
        for n in itertools.count(1):
            save_checkpoint({str(path)!r}, {{"n": n, "a": np.full(200_000, n)}})
            print(n, flush=True)
    """)
    rng, last = random.Random(0), 0
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            said = int(child.stdout.readline())
        time.sleep(rng.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        said = max([said, *map(int, child.stdout.read().split())])
        child.wait()
        child.stdout.close()
        state = load_checkpoint(path)
        assert state["n"] in (said, said + 1) and (state["a"] == state["n"]).all()
        last += said
    assert last >= 18


# Resuming


RUN = textwrap.dedent("""
    import sys
    import numpy as np
    import tinytorch as tt
    from tinytorch.layers import manual_seed
    from tinytorch.training import Callback, EarlyStopping, Trainer

    path, seed, out, slow = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "slow"

    class Say(Callback):
        def on_step_end(self, trainer, record):
            print(trainer.steps, flush=True)
            if slow:
                import time
                time.sleep(0.1)

    class Noisy(tt.TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x.numpy() + tt.layers.default_rng().normal(size=3).astype("float32"), y

    import tinytorch.layers
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    manual_seed(seed)
    own = np.random.default_rng(seed)
    model = tt.Sequential(tt.Linear(3, 16, rng=own), tt.relu, tt.Dropout(0.4), tt.Linear(16, 16), tt.Dropout(0.2, rng=own), tt.Linear(16, 2))
    optimizer = tt.AdamW(model.parameters(), lr=0.01)
    trainer = Trainer(model, tt.cross_entropy, optimizer, scheduler=tt.CosineWithWarmup(optimizer, 5, 60), accumulate=2, max_norm=1.0,
                      callbacks=[EarlyStopping(patience=50), Say()], checkpoint=path, every=3, progress=False,
                      metrics={"accuracy": tt.accuracy})
    loader = tt.DataLoader(Noisy(tt.Tensor(x), tt.Tensor(y)), batch_size=7, shuffle=True, seed=seed)  # 9 batches, 5 steps
    held = tt.DataLoader(tt.TensorDataset(tt.Tensor(x), tt.Tensor(y)), batch_size=13, shuffle=True, seed=5)
    try:
        trainer.load(path)
    except FileNotFoundError:
        pass
    trainer.fit(loader, 6, held)
    np.savez(out, *[np.array(p) for p in model.parameters()], history=np.array([list(row.values()) for row in trainer.history]),
             again=[g.random() for g in (tinytorch.layers.default_rng(), own)])
""")


def start(folder, path, seed, out, slow=False):
    command = [sys.executable, "-c", RUN, str(path), str(seed), str(folder / out), "slow" if slow else "fast"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


@pytest.mark.slow
@pytest.mark.parametrize("after", [4, 7, 13])
def test_kill_9_in_the_middle_of_an_epoch_then_resumed_ends_with_the_same_bits(tmp_path, after):
    child = start(tmp_path, tmp_path / "straight.ckpt", 3, "straight.npz")
    child.communicate()
    assert child.returncode == 0

    path = tmp_path / "killed.ckpt"
    child = start(tmp_path, path, 3, "killed.npz", slow=True)
    for line in child.stdout:
        if int(line) == after:
            child.send_signal(signal.SIGKILL)
            break
    child.communicate()
    assert child.returncode == -signal.SIGKILL and not (tmp_path / "killed.npz").exists()

    child = start(tmp_path, path, 77, "resumed.npz")  # another seed: everything comes from the file
    said, _ = child.communicate()
    assert child.returncode == 0 and 0 < len(said.split()) < 30
    with np.load(tmp_path / "straight.npz") as straight, np.load(tmp_path / "resumed.npz") as resumed:
        assert straight.files == resumed.files
        for name in straight.files:
            assert straight[name].tobytes() == resumed[name].tobytes(), name


@pytest.mark.parametrize("step", [1, 3, 7, 8, 15])
@pytest.mark.parametrize("half", [False, True])
def test_a_run_that_was_struck_at_any_step_ends_with_the_same_bits(tmp_path, step, half):
    def make(seed, **options):
        scaler = LossScaler(2.0**24, 4) if half else None
        return trainer_of(seed=seed, half=half, scaler=scaler, checkpoint=tmp_path / "last.npz", every=1, **options)

    validation = loader_of(20, seed=9)
    straight = make(0)
    straight.fit(loader_of(), 3, validation)
    with pytest.raises(CallbackError, match="Strike.on_step_end"):
        make(0, callbacks=[Strike(step + 1)]).fit(loader_of(), 3, validation)
    resumed = make(50)
    resumed.load(tmp_path / "last.npz")
    resumed.fit(loader_of(seed=50), 3, validation)
    assert weights(resumed.model).tobytes() == weights(straight.model).tobytes()
    assert resumed.history == straight.history
    assert (resumed.steps, resumed.skipped) == (straight.steps, straight.skipped)
    if half:
        assert resumed.skipped > 0 and resumed.scaler.scale == straight.scaler.scale


def test_a_run_that_is_finished_or_had_stopped_early_does_nothing_more_when_resumed(tmp_path):
    path = tmp_path / "last.npz"
    stopping = [EarlyStopping("loss", patience=1, min_delta=10.0)]
    first = trainer_of(callbacks=stopping, checkpoint=path)
    first.fit(loader_of(), 9)
    assert len(first.history) == 2
    again = trainer_of(seed=4, callbacks=[EarlyStopping("loss", patience=1, min_delta=10.0)])
    again.load(path)
    again.fit(loader_of(seed=4), 9)
    assert again.history == first.history and again.steps == first.steps
    assert np.array_equal(weights(again.model), weights(first.model))


def test_more_epochs_can_be_added_and_are_those_of_a_longer_run():
    for first in (1, 2):
        short, long = trainer_of(), trainer_of()
        long.fit(loader_of(), 4)
        after = weights(long.model)
        manual_seed(0)
        short = trainer_of()
        loader = loader_of()
        short.fit(loader, first)
        short.fit(loader, 4)
        assert np.array_equal(weights(short.model), after)


def test_after_a_run_broke_off_the_next_fit_takes_its_epoch_up_at_the_first_batch(tmp_path):
    trainer = trainer_of(accumulate=2, callbacks=[Strike(2)], checkpoint=tmp_path / "last.npz")
    with pytest.raises(CallbackError):
        trainer.fit(loader_of(), 1)
    seen = []

    class Count(Callback):
        def on_step_end(self, trainer, record):
            seen.append((trainer.batch, trainer.mean.count))

    trainer.callbacks = [Count()]
    trainer.fit(loader_of(), 1)
    assert seen == [(2, 16), (4, 32), (6, 48), (7, 50)]


def test_gradients_of_a_step_that_broke_off_do_not_reach_the_next():
    after, batch = [], next(iter(loader_of()))
    for left in (False, True):
        trainer = trainer_of(network())
        for p in trainer.params:
            p.grad = Tensor(np.ones(p.shape, "float32")) if left else None
        trainer.train_step([batch])
        after.append(weights(trainer.model))
    assert np.array_equal(*after)


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "last.npz"
    trainer_of(checkpoint=path, accumulate=2).fit(loader_of(), 1)
    for other, loader, text in ((trainer_of(), loader_of(), "accumulate 2, now 1"),
                                (trainer_of(accumulate=2), loader_of(batch_size=10), "batches 7, now 5"),
                                (trainer_of(accumulate=2, scheduler=None), loader_of(), "schedule True, now False"),
                                (trainer_of(accumulate=2, scaler=LossScaler()), loader_of(), "scaler False, now True"),
                                (trainer_of(accumulate=2, callbacks=[EarlyStopping()]), loader_of(), "EarlyStopping")):
        before = weights(other.model)
        other.load(path)
        with pytest.raises(CheckpointError, match=text):
            other.fit(loader, 2)
        assert np.array_equal(weights(other.model), before)
    wide = trainer_of(tt.Sequential(tt.Linear(3, 2)), accumulate=2)
    wide.load(path)
    with pytest.raises(ValueError, match="missing|unexpected|shape"):
        wide.fit(loader_of(), 2)


# Early stopping and callbacks


def test_early_stopping_puts_the_best_weights_back():
    kept = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer, row):
            kept[row["epoch"]] = weights(trainer.model)

    stopping = EarlyStopping(patience=3)
    trainer = trainer_of(callbacks=[stopping, Keep()])
    trainer.optimizer.param_groups[0]["lr"] = 0.1
    history = trainer.fit(loader_of(), 60, loader_of(30, shuffle=False, seed=None))
    losses = [row["validation loss"] for row in history]
    assert stopping.best_epoch == 1 + int(np.argmin(losses)) and len(history) == stopping.best_epoch + 3 < 60
    assert np.array_equal(weights(trainer.model), kept[stopping.best_epoch])


def test_callbacks_are_called_in_order_and_the_history_is_complete_when_they_are():
    log = []

    class Log(Callback):
        def __init__(self, name):
            self.name = name

        def __getattribute__(self, attribute):
            if attribute.startswith("on_"):
                return lambda trainer, *args: log.append((object.__getattribute__(self, "name"), attribute, len(trainer.history)))
            return object.__getattribute__(self, attribute)

    trainer_of(callbacks=[Log("a"), Log("b")]).fit(loader_of(12), 2)
    events = [(event, rows) for name, event, rows in log if name == "a"]
    assert events == [("on_fit_begin", 0), ("on_epoch_begin", 0), ("on_step_end", 0), ("on_step_end", 0), ("on_epoch_end", 1),
                      ("on_epoch_begin", 1), ("on_step_end", 1), ("on_step_end", 1), ("on_epoch_end", 2), ("on_fit_end", 2)]
    assert [name for name, *_ in log] == ["a", "b"] * len(events)


def test_an_exception_in_a_callback_is_named_and_an_interrupt_is_not_hidden():
    class Interrupts(Callback):
        def on_step_end(self, trainer, record):
            raise KeyboardInterrupt

    with pytest.raises(CallbackError, match=r"Strike.on_step_end failed in epoch 2, step 9: InterruptedError: struck") as caught:
        trainer_of(callbacks=[Strike(9)]).fit(loader_of(), 3)
    assert isinstance(caught.value.__cause__, InterruptedError) and "\n" not in str(caught.value)
    with pytest.raises(KeyboardInterrupt):
        trainer_of(callbacks=[Interrupts()]).fit(loader_of(), 1)
    with pytest.raises(CallbackError, match="in epoch 1, .*'validation loss' is not in the history, which has epoch, loss, lr"):
        trainer_of(callbacks=[EarlyStopping()]).fit(loader_of(), 1)


# What goes wrong in numbers


def test_a_nan_is_reported_with_epoch_step_and_place():
    x, y = points()
    x[23, 1] = np.nan
    loader = tt.DataLoader(tt.TensorDataset(Tensor(x), Tensor(y)), batch_size=10)
    with pytest.raises(LossError, match="epoch 1, step 3: the input of sample 3 ") as caught:
        trainer_of().fit(loader, 1)
    assert "\n" not in str(caught.value)
    trainer = trainer_of()
    trainer.fit(loader_of(), 1)
    with tt.no_grad():
        trainer.model[3].bias[0] = math.inf
    with pytest.raises(LossError, match="epoch 2, step 8: parameter 3.bias "):
        trainer.fit(loader_of(), 2)
    trainer = trainer_of()
    trainer.loss = lambda prediction, target: tt.cross_entropy(prediction, target) / 0
    with pytest.raises(LossError, match="epoch 1, step 1: .*learning rate"):
        trainer.fit(loader_of(), 1)


def half_run(scaler, weight=1e-6, half=True, steps=60):
    x, y = points(64)
    model = Half(network()) if half else network()
    trainer = Trainer(model, lambda p, t: tt.cross_entropy(p, t) * weight, tt.Adam(model.parameters(), 0.02), scaler=scaler, progress=False)
    for _ in range(steps):
        trainer.train_step([(Tensor(x), Tensor(y))])
    with evaluating(model):
        return trainer, tt.cross_entropy(model(Tensor(x)), Tensor(y)).item()


def test_scaling_rescues_gradients_that_underflow_in_float16():
    start = half_run(None, steps=0)[1]
    full = half_run(None, half=False)[1]
    plain = half_run(None)[1]
    trainer, scaled = half_run(LossScaler(2.0**16))
    assert plain > start - 0.02 and scaled < full + 0.05 < start - 0.2 and trainer.skipped == 0


def test_a_scale_that_is_too_large_halves_until_it_fits_and_skips_without_a_trace():
    trainer, loss = half_run(LossScaler(2.0**60, interval=10**6))
    steps = {state["step"] for state in trainer.optimizer.state.values()}
    assert trainer.skipped > 5 and steps == {trainer.steps} and trainer.steps + trainer.skipped == 60
    assert trainer.scaler.scale == 2.0 ** (60 - trainer.skipped)
    assert np.isfinite(weights(trainer.model)).all() and loss < half_run(None, half=False)[1] + 0.2


def test_gradients_that_are_never_finite_end_in_an_error_and_not_in_endless_skipping():
    scaler = LossScaler(1.0)
    with pytest.raises(LossError, match="no overflow"):
        for _ in range(100):
            scaler.update(True)


def test_half_leaves_parameters_names_and_results_in_float32():
    half = Half(network())
    before = weights(half)
    out = half(Tensor(points()[0]))
    assert out.dtype == np.float32 and {p.dtype.name for p in half.parameters()} == {"float32"}
    assert np.array_equal(weights(half), before) and list(half.state_dict())[0] == "model.0.weight"
    with pytest.raises(ValueError, match="in_features"):
        half(Tensor(np.ones((2, 9), "float32")))
    assert {p.dtype.name for p in half.parameters()} == {"float32"}


# Looks, and arguments


def test_progress_is_a_line_for_an_epoch_and_at_most_ten_where_there_is_no_terminal(capsys):
    trainer_of(progress=True).fit(loader_of(12), 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("epoch 1 of 3: loss ")
    trainer_of(progress=True).fit(loader_of(12), 35)
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    trainer = trainer_of(progress=True)
    trainer.fit(loader_of(12), 2)
    out = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", capsys.readouterr().out)
    assert "4/4" in out and "epoch 1 of 2: loss" in out and trainer.progress.bar is None


def test_plots_show_losses_and_metrics():
    import matplotlib

    matplotlib.use("Agg")
    trainer = trainer_of(metrics={"accuracy": tt.accuracy})
    figure = plot_history(trainer.fit(loader_of(), 2, loader_of(20)))
    assert [line.get_label() for axis in figure.axes for line in axis.lines] == ["loss", "validation loss", "validation accuracy"]
    assert len(plot_history(trainer_of().fit(loader_of(), 1)).axes) == 1
    matplotlib.pyplot.close("all")
    with pytest.raises(ValueError, match="call fit first"):
        plot_history([])


def test_arguments_that_make_no_sense_are_refused():
    for options, text in (({"accumulate": 0}, "accumulate"), ({"every": 2}, "checkpoint="), ({"every": 0, "checkpoint": "x"}, "every")):
        with pytest.raises(ValueError, match=text):
            trainer_of(**options)
    with pytest.raises(FileNotFoundError, match="make the folder /nowhere first"):
        trainer_of(checkpoint="/nowhere/last.npz")
    for options in ({"patience": 0}, {"min_delta": -1}, {"mode": "best"}):
        with pytest.raises(ValueError, match=str(list(options.values())[0])):
            EarlyStopping(**options)
    for options in ({"scale": 0}, {"interval": 0}):
        with pytest.raises(ValueError, match="scale"):
            LossScaler(**options)
    with pytest.raises(ValueError, match="no run to save"):
        trainer_of().save("nowhere.npz")


def test_two_runs_from_one_seed_are_equal_and_no_clock_is_in_the_history():
    runs = [trainer_of() for _ in range(2)]
    histories = []
    for run in runs:
        manual_seed(0)
        histories.append(run.fit(loader_of(), 3, loader_of(20)))
    assert histories[0] == histories[1] and np.array_equal(weights(runs[0].model), weights(runs[1].model))
    assert set(histories[0][0]) == {"epoch", "loss", "lr", "validation loss"}
    assert sum(runs[0].seconds.values()) > 0


def test_the_module_loads_neither_matplotlib_nor_rich():
    code = "import sys, tinytorch.training; print([m for m in ('matplotlib', 'rich', 'pickle5') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    assert training.Trainer is tt.Trainer


# -- many processes

@given(st.integers(1, 12))
def test_the_ring_gives_everybody_the_sum_and_sends_each_chunk_once_a_step(world):
    held = np.random.default_rng(world).integers(0, 100, (world, world))
    wanted = held.sum(axis=0)
    for step in range(2 * (world - 1)):
        chunks = [ring_chunk(rank, step, world) for rank in range(world)]
        assert sorted(chunks) == list(range(world))
        before = held.copy()
        for rank, chunk in enumerate(chunks):
            right = (rank + 1) % world
            held[right, chunk] = before[rank, chunk] + (before[right, chunk] if step < world - 1 else 0)
    assert (held == wanted).all()


needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork processes")


@needs_fork
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_all_ranks_get_the_sum_and_each_receives_its_share_of_the_traffic(world):
    values = np.random.default_rng(world).integers(-99, 99, (world, 23))

    def work(ring):
        sums = [ring.all_reduce(values[ring.rank].astype(dtype)) for dtype in ("int64", "float32", "int8")]
        own = ring.reduce_scatter(values[ring.rank])
        return sums, own, ring.bounds(23)[ring.own], ring.moved, os.getpid()

    ranks = run_ranks(world, 23 * 8, work)
    for sums, own, (begin, end), moved, _ in ranks:
        for found, dtype in zip(sums, ("int64", "float32", "int8"), strict=True):
            assert found.dtype == dtype and (found == values.sum(axis=0).astype(dtype)).all()
        assert (own == values.sum(axis=0)[begin:end]).all()
        assert abs(moved - 23 * (world - 1) / world * (2 * 13 + 8)) <= world * 40
    assert sorted(bounds for _, _, bounds, *_ in ranks) == [(23 * k // world, 23 * (k + 1) // world) for k in range(world)]
    assert len({pid for *_, pid in ranks} | {os.getpid()}) == world + 1 and multiprocessing.active_children() == []


@needs_fork
@pytest.mark.parametrize(("happens", "status"), [(lambda: os.kill(os.getpid(), signal.SIGKILL), "-9"), (lambda: 1 / 0, "1")])
def test_a_rank_that_dies_stops_the_others_and_is_named(happens, status, capfd):
    def work(ring):
        if ring.rank == 1:
            happens()
        return ring.all_reduce(np.ones(4))

    begun = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"rank 1 of 3 ended with status {status} and no result"):
        run_ranks(3, 64, work)
    assert time.monotonic() - begun < 20 and multiprocessing.active_children() == []    # and not after the barrier's 30 s
    assert ("ZeroDivisionError" in capfd.readouterr().err) == (status == "1")


@needs_fork
def test_a_vector_that_is_longer_than_the_shared_rows_is_refused(capfd):
    with pytest.raises(RuntimeError, match="rank 0 of 1"):
        run_ranks(1, 64, lambda ring: ring.all_reduce(np.ones(9)))
    assert "9 numbers of float64 do not fit into the 64 bytes" in capfd.readouterr().err


PIECES = 12


def in_ranks(ring, sharded):
    """Ten steps on pieces of a batch -> losses, weights, bytes of the optimizer's state."""
    model = network()
    params, losses = list(model.parameters()), []
    numbers = np.concatenate([p.numpy().reshape(-1) for p in params])
    held = [Parameter(Tensor(numbers[slice(*ring.bounds(len(numbers))[ring.own])] if sharded else numbers))]
    optimizer = tt.AdamW(held, lr=0.01)
    for step in range(10):
        x, y = points(60, step)
        total = np.zeros(len(numbers) + 1, np.int64)
        for piece in range(ring.rank, PIECES, ring.world):
            model.zero_grad()
            loss = tt.cross_entropy(model(Tensor(x[piece::PIECES])), Tensor(y[piece::PIECES])) * (1 / PIECES)
            loss.backward()
            total += fixed(np.concatenate([*(p.grad.numpy().reshape(-1) for p in params), [loss.item()]]))
        losses.append(float(unfixed(ring.all_reduce(total[-1:]), "float32")[0]))
        if sharded:
            sharded_step(numbers, total[:-1], held[0], optimizer, ring)
        else:
            held[0].grad = Tensor(unfixed(ring.all_reduce(total[:-1]), "float32"))
            optimizer.step()
            numbers = held[0].numpy().copy()
        at = 0
        with tt.no_grad():
            for p in params:
                p.copy_(Tensor(numbers[at:at + p.numel()].reshape(p.shape)))
                at += p.numel()
    return losses, numbers, sum(t.nbytes for t in optimizer.state[held[0]].values() if isinstance(t, Tensor))


@needs_fork
def test_losses_and_weights_are_the_same_bits_for_any_number_of_processes_sharded_or_not():
    (losses, numbers, state), = run_ranks(1, 8 * 2000, lambda ring: in_ranks(ring, False))
    assert losses[-1] < losses[0] and state == 2 * numbers.nbytes
    for world, sharded in ((1, True), (2, False), (3, False), (3, True), (4, True)):
        ranks = run_ranks(world, 8 * 2000, lambda ring, sharded=sharded: in_ranks(ring, sharded))
        assert all(found == losses and other.tobytes() == numbers.tobytes() for found, other, _ in ranks)
        sizes = [size for *_, size in ranks]
        assert (sum(sizes) == state and max(sizes) - min(sizes) <= 8) if sharded else sizes == [state] * world


@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 6), st.integers(1, 5)), elements=st.floats(-4000, 4000, width=32)), st.randoms())
def test_a_sum_in_fixed_point_is_exact_and_has_no_order(rows, chance):
    order = list(range(len(rows)))
    chance.shuffle(order)
    total = fixed(rows).sum(axis=0)
    assert (sum(fixed(rows[k]) for k in order) == total).all()
    assert np.abs(unfixed(total, "float64") - rows.astype("float64").sum(axis=0)).max() <= len(rows) * 2.0**-41
    with pytest.raises(OverflowError, match="nan is no number below"):
        fixed(np.append(rows.ravel(), np.nan))


@needs_fork
def test_a_run_that_is_killed_again_and_again_ends_with_the_bits_and_the_loss_curve_of_one_that_was_not(tmp_path):
    class Killed(Callback):
        def __init__(self, after):
            self.after = after

        def on_step_end(self, trainer, record):
            self.after -= 1
            if not self.after:
                os.kill(os.getpid(), signal.SIGKILL)

    path, after, statuses = tmp_path / "last.npz", iter([1, 4, 9, 3, 99]), []

    def run(**options):
        made = trainer_of(network(drop=0.3), checkpoint=path, every=2, **options)
        if path.exists():
            made.load(path)
        made.fit(loader_of(), 5, loader_of(20, seed=9))

    def launch():
        process = multiprocessing.get_context("fork").Process(target=run, kwargs={"callbacks": [Killed(next(after))]})
        process.start()
        process.join()
        statuses.append(process.exitcode)
        return process.exitcode

    def done():
        return load_checkpoint(path)["counts"]["steps"] if path.exists() else 0

    assert supervise(launch, done) == 5 and statuses == [-9] * 4 + [0]
    ended = load_checkpoint(path)
    path.unlink()
    run()
    straight = load_checkpoint(path)
    assert ended["history"] == straight["history"] and len(ended["history"]) == 5
    assert all(ended["model"][name].tobytes() == straight["model"][name].tobytes() for name in straight["model"])


def test_a_run_that_dies_at_one_place_is_not_started_for_ever():
    ends = iter([(1, 3), (-9, 7), (1, 7), (1, 7), (1, 7)])
    seen = [(0, 0)]

    def launch():
        seen.append(next(ends))
        return seen[-1][0]

    with pytest.raises(RuntimeError, match="2 starts in a row ended without a step more than 7; the last status is 1"):
        supervise(launch, lambda: seen[-1][1], patience=2)
    assert len(seen) == 5
