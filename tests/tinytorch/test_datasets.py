"""Data that is shipped, and readers of files in the formats of MNIST and CIFAR-10, written here byte by byte."""

import gzip
import struct

import numpy as np
import pytest

from tinytorch import datasets


def test_digits_are_split_by_digit():
    (x, y), (test_x, test_y) = datasets.digits()
    assert x.shape == (1438, 1, 8, 8) and test_x.shape == (359, 1, 8, 8) and x.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    for digit in range(10):
        share = (test_y == digit).sum() / ((y == digit).sum() + (test_y == digit).sum())
        assert abs(share - 0.2) < 0.005
    assert not {image.tobytes() for image in x} & {image.tobytes() for image in test_x}


@pytest.mark.parametrize("name, line", [
    ("hamlet", "To be, or not to be,--that is the question:--"), ("macbeth", "Out, damned spot! out, I say!"),
    ("lear", ""), ("othello", "green-ey'd monster"),
])
def test_plays_are_there_and_plain(name, line):
    play = datasets.text(name)
    assert line in play and play.isascii() and "\r" not in play and "\n\n\n" not in play and "Gutenberg" not in play


def test_a_play_that_is_not_here():
    with pytest.raises(ValueError, match="no text is called 'mcbeth'; the nearest is macbeth, all are hamlet, othello, lear, macbeth"):
        datasets.text("mcbeth")


def idx(array, code=0x08):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path, rng):
    for kind, n in (("train", 7), ("t10k", 3)):
        images, labels = rng.integers(0, 256, (n, 28, 28)).astype("u1"), rng.integers(0, 10, n).astype("u1")
        (tmp_path / f"{kind}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{kind}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_mnist(folder):
    (x, y), (test_x, test_y) = datasets.mnist(folder)
    assert x.shape == (7, 1, 28, 28) and test_x.shape == (3, 1, 28, 28) and y.shape == (7,) and test_y.dtype == np.int64
    raw = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    assert (np.round(x * 255).astype("u1").tobytes()) == raw


def test_other_types_of_idx(tmp_path):
    for code, dtype in ((0x0B, ">i2"), (0x0D, ">f4")):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        (tmp_path / "a").write_bytes(idx(array, code))
        read = datasets.read_idx(tmp_path / "a")
        assert read.dtype.isnative and (read == array).all()


@pytest.mark.parametrize("content, message", [
    (b"", "no IDX file; it starts with nothing"), (b"\x89PNG....", "no IDX file; it starts with 89504e47"),
    (idx(np.zeros((2, 3), "u1"))[:-1], r"cut off or too long; its header says shape \(2, 3\) of 1 bytes each, 17 bytes are there"),
    (idx(np.zeros((2, 3), "u1"))[:8], "cut off or too long"),
])
def test_a_damaged_file_is_refused(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        datasets.read_idx(tmp_path / "a")


def test_labels_of_another_number_are_refused(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(6, "u1")))
    with pytest.raises(ValueError, match=r"train has uint8 images of shape \(7, 28, 28\) and labels of shape \(6,\)"):
        datasets.mnist(folder)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte is missing; download the set"):
        datasets.mnist(tmp_path)


def test_some_images_of_a_set_are_drawn_with_their_labels(folder, tmp_path):
    (x, y), (test_x, test_y) = datasets.mnist(folder)
    (some, labels), test = datasets.images(folder, 5, 50, seed=1)
    places = [int(np.flatnonzero((x == image).all(axis=(1, 2, 3)))[0]) for image in some]
    assert len(set(places)) == 5 and (labels == y[places]).all() and (test[0] == test_x).all() and (test[1] == test_y).all()
    assert (datasets.images(folder, 5, 50, seed=1)[0][0] == some).all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty has neither train-images-idx3-ubyte nor data_batch_1.bin"):
        datasets.images(tmp_path / "empty", 5, 5)


def test_cifar10(tmp_path, rng):
    records = rng.integers(0, 256, (12, 3073)).astype("u1")
    records[:, 0] %= 10
    for k in range(5):
        (tmp_path / f"data_batch_{k + 1}.bin").write_bytes(records[2 * k:2 * k + 2].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[10:].tobytes())
    (x, y), (test_x, test_y) = datasets.cifar10(tmp_path)
    assert x.shape == (10, 3, 32, 32) and test_x.shape == (2, 3, 32, 32)
    assert (y == records[:10, 0]).all() and (test_y == records[10:, 0]).all()
    assert round(float(x[4, 2, 31, 31]) * 255) == records[4, 3072] and round(float(x[4, 0, 0, 1]) * 255) == records[4, 2]
    (x, y), (test_x, _) = datasets.images(tmp_path, 4, 99)
    assert len(y) == 4 and len(test_x) == 2 and all(any((image == other).all() for other in datasets.cifar10(tmp_path)[0][0]) for image in x)
    (tmp_path / "test_batch.bin").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="test_batch.bin: 100 bytes are no whole number of records of 3073"):
        datasets.cifar10(tmp_path)
