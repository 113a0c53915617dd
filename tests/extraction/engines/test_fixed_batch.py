from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import WeightsError
from featx.extraction.engines.fixed_batch import FixedBatches, check_batch_independence
from featx.system.array_types import AnyArray


class FirstPixel:
    """A network whose row is the first pixel; it records the sizes of its batches."""

    def __init__(self, rounding: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.rounding = rounding

    def __call__(self, batch: AnyArray) -> AnyArray:
        self.sizes.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32) + self.rounding


def images(n: int) -> AnyArray:
    return np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1).repeat(3, axis=3)


def test_batches_have_one_size() -> None:
    network = FirstPixel()
    np.testing.assert_array_equal(FixedBatches(network, (1, 1))(images(19))[:, 0], np.arange(19))
    assert network.sizes == [COMPILED_BATCH_SIZE] * 3


def test_few_images_run_one_by_one_from_the_second_time_on() -> None:
    network, single = FirstPixel(), FirstPixel()
    run = FixedBatches(network, (1, 1), lambda: single)
    run(images(3))
    assert single.sizes == []
    np.testing.assert_array_equal(run(images(11))[:, 0], np.arange(11))
    assert single.sizes == [1] * (COMPILED_BATCH_SIZE + 3)  # the comparison, and the images
    run(images(7))  # more than half a batch
    assert network.sizes == [COMPILED_BATCH_SIZE] * 4


def test_memory_of_a_batch_is_freed_for_lone_images() -> None:
    freed: list[int] = []
    network, single = FirstPixel(), FirstPixel()
    run = FixedBatches(network, (1, 1), lambda: single, lambda: freed.append(len(network.sizes)))
    run(images(10))
    assert freed == []  # batches follow
    run(images(1))
    assert freed == [3]  # after the comparison
    run(images(16))
    assert freed == [3]
    lone = FixedBatches(network, (1, 1), lambda: single, lambda: freed.append(0))
    lone(images(1))
    assert freed == [3, 0]


@pytest.mark.parametrize("single", [FirstPixel(rounding=1e-6), None], ids=["other rows", "not compiled"])
def test_batches_are_padded_if_a_single_image_cannot_run(single: FirstPixel | None) -> None:
    network = FirstPixel()
    run = FixedBatches(network, (1, 1), lambda: single)
    for _ in range(3):
        np.testing.assert_array_equal(run(images(2))[:, 0], [0, 1])
    assert network.sizes == [COMPILED_BATCH_SIZE] * 4  # with the comparison


def test_rows_may_depend_on_their_own_image_only() -> None:
    check_batch_independence(lambda batch: [batch.mean(axis=(1, 2))], (8, 8), "'net'")
    with pytest.raises(WeightsError, match="Cannot use network 'net': .*other images of its batch"):
        check_batch_independence(lambda batch: [batch - batch.mean(axis=0)], (8, 8), "'net'")


def test_rows_may_not_depend_on_their_position() -> None:
    positions = np.arange(COMPILED_BATCH_SIZE)[:, None]
    with pytest.raises(WeightsError, match="depend on the other images"):
        check_batch_independence(lambda batch: [batch.mean(axis=(1, 2)) + positions], (8, 8), "'net'")


def test_threads_with_few_images_share_a_batch() -> None:
    network = FirstPixel()
    may_run, is_running = threading.Event(), threading.Event()

    def wait_at_first(batch: AnyArray) -> AnyArray:
        is_running.set()
        assert may_run.wait(10)
        return network(batch)

    run = FixedBatches(wait_at_first, (1, 1))
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(run, images(1))
        assert is_running.wait(10)
        others = [threads.submit(run, images(8)[number : number + 2]) for number in range(3)]
        while len(run._share._waiting) < 3:
            time.sleep(0.001)
        may_run.set()
        assert first.result(10).tolist() == [[0.0]]
        for number, rows in enumerate(others):
            assert rows.result(10)[:, 0].tolist() == [number, number + 1]
    assert network.sizes == [COMPILED_BATCH_SIZE] * 2
