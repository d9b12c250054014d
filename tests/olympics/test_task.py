"""The task: it follows from the secret, is new, and wants a hidden layer where there is room for one."""

import numpy as np
import pytest

from mlsysbook.olympics import task
from mlsysbook.olympics.tracks import TRACKS


def test_the_same_secret_makes_the_same_task_and_another_one_another():
    one, again, other = task.make(b"a"), task.make(b"a"), task.make(b"b")
    assert one.x.tobytes() == again.x.tobytes() and one.request(1, 2)[0] == again.request(1, 2)[0]
    assert one.x.tobytes() != other.x.tobytes()
    assert one.x.shape == (task.OPEN, 64) and one.x.dtype == np.uint8 and set(one.y) == set(range(10))


def test_signs_can_be_told_apart():
    images = task.inked(task.signs(np.random.default_rng(0)))
    gaps = np.linalg.norm((images[:, None] - images[None]).reshape(10, 10, -1), axis=-1)
    assert gaps[~np.eye(10, dtype=bool)].min() > task.APART
    assert 0 <= images.min() and images.max() <= 1 and (images.max(axis=(1, 2)) > 0.5).all()


def test_no_picture_comes_twice_and_none_is_an_open_one():
    made = task.make(b"a")
    rows = np.concatenate([np.frombuffer(made.request(start, k)[0], np.uint8).reshape(-1, 64) for start in range(2) for k in range(3)])
    assert len(np.unique(np.concatenate([rows, made.x]), axis=0)) == len(rows) + len(made.x)


def test_drawings_lie_where_the_signs_are():
    rng = np.random.default_rng(0)
    signs = task.signs(rng)
    images, labels = task.drawings(signs, 2000, rng)
    middle = np.stack([images[labels == k].mean(axis=0) for k in range(10)]).reshape(10, -1)
    found = np.linalg.norm(middle[:, None] - task.inked(signs).reshape(10, -1)[None], axis=-1).argmin(axis=1)
    assert (found == np.arange(10)).all()


@pytest.mark.parametrize("secret", [b"practice", b"simulation"])
def test_a_network_without_a_hidden_layer_is_too_far_behind_where_others_have_one(secret):
    from tinytorch import capstone

    made = task.make(secret)
    x = made.x.astype(np.float32) / 255
    rows, labels, _ = made.request(0, 0)
    asked = np.frombuffer(rows, np.uint8).reshape(-1, 64).astype(np.float32) / 255

    def right(network):
        return np.mean(np.asarray(capstone.run(network, asked)).argmax(axis=1) == labels)

    flat = right(capstone.quantised(capstone.trained(x, made.y, (64, 10), 0, epochs=40)))
    for name in ("cloud", "edge", "mobile"):
        assert flat < right(capstone.build(x, made.y, TRACKS[name].budget, 0)) - TRACKS[name].behind
