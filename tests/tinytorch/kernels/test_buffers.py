"""Arrays whose memory is used again."""

import gc
import os
from threading import Thread

import numpy as np
import pytest

pytestmark = pytest.mark.slow

buffers = pytest.importorskip("tinytorch._ext.buffers", reason="the kernels are not compiled here")
LIMIT, KIB = 256 << 20, 1 << 10


@pytest.fixture(autouse=True)
def empty_list():
    gc.collect()
    buffers.clear()
    yield
    buffers.clear()


def made(nbytes, maker=np.empty):
    with buffers.reuse():
        return maker(nbytes, np.uint8)


def place(array):
    return array.__array_interface__["data"][0]


def test_the_next_array_of_about_that_size_has_the_memory_of_the_last():
    first = made(800 * KIB)
    at = place(first)
    del first
    assert buffers.held()[0] == 896 * KIB           # 512 KiB and a multiple of 128
    again = made(790 * KIB)
    assert place(again) == at and buffers.held()[0] == 0
    other = made(790 * KIB)
    assert place(other) != at


@pytest.mark.parametrize("nbytes", [1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 80 * KIB, 127 * KIB, 128 * KIB, 1000 * KIB + 3, 64 << 20])
def test_every_byte_of_an_array_is_its_own(nbytes):
    for _ in range(2):                              # fresh, then from the list
        one, two = made(nbytes), made(nbytes)
        one[:], two[:] = 1, 2
        assert (one == 1).all() and (two == 2).all()
        del one, two


def test_zeros_are_zero_in_used_memory():
    used = made(300 * KIB)
    used[:] = 255
    at = place(used)
    del used
    zeros = made(300 * KIB, np.zeros)
    assert place(zeros) == at and not zeros.any()


def test_an_array_may_grow_and_shrink_in_place():
    array = made(100 * KIB)
    array[:] = np.arange(100 * KIB) % 251
    for nbytes in (300 * KIB, 500 * KIB, 70 * KIB, 3, 90 * KIB):
        array.resize(nbytes, refcheck=False)
        array[100 * KIB:] = 7
        assert (array[:3] == (0, 1, 2)).all()
    del array
    for _ in range(3):
        made(96 * KIB)[:] = 1


def test_outside_the_block_memory_is_the_systems():
    made(200 * KIB)
    waiting = buffers.held()
    np.empty(200 * KIB, np.uint8)
    assert buffers.held() == waiting


def test_blocks_nest_and_end_with_an_error():
    handler = np._core.multiarray.get_handler_name
    before = handler()
    with pytest.raises(KeyError), buffers.reuse(), buffers.reuse():
        assert handler() == "tinytorch"
        raise KeyError
    assert handler() == before


def test_the_list_is_bounded():
    arrays = [made(20 << 20) for _ in range(20)]
    del arrays
    assert 0 < buffers.held()[0] <= LIMIT
    arrays = [made(64 * KIB) for _ in range(100)]
    before = buffers.held()[0]
    del arrays
    assert buffers.held()[0] - before <= 16 * 64 * KIB
    buffers.clear()
    assert buffers.held()[0] == 0


def test_threads_share_the_list():
    wrong = []

    def work(number):
        for _ in range(300):
            arrays = [made(70 * KIB), made(200 * KIB)]
            for array in arrays:
                array[:] = number
            if any((array != number).any() for array in arrays):
                wrong.append(number)

    threads = [Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_has_its_own_list():
    keep = made(300 * KIB)
    at = place(keep)
    keep[:] = 5
    del keep
    child = os.fork()
    if child == 0:
        array = made(300 * KIB)
        array[:] = 9
        os._exit(0 if place(array) == at else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (made(300 * KIB) == 5).all()
