from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import EngineError, WeightsError
from featx.extraction.engines.fixed_batch import FixedBatches, SharedBatches, check_batch_independence
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


@pytest.mark.parametrize("single", [FirstPixel(rounding=1e-6), None], ids=["other rows", "not compiled"])
def test_batches_are_padded_if_a_single_image_cannot_run(single: FirstPixel | None) -> None:
    network = FirstPixel()
    run = FixedBatches(network, (1, 1), lambda: single)
    for _ in range(3):
        np.testing.assert_array_equal(run(images(2))[:, 0], [0, 1])
    assert network.sizes == [COMPILED_BATCH_SIZE] * (4 if single else 3)


def test_waiting_threads_share_batches() -> None:
    network = FirstPixel()
    first_runs, may_end = threading.Event(), threading.Event()

    def run(pixels: AnyArray) -> AnyArray:
        first_runs.set()
        assert may_end.wait(10)
        return network(pixels)

    shared = SharedBatches(run)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(shared, images(1))
        assert first_runs.wait(10)
        others = [threads.submit(shared, images(10)[index : index + 2]) for index in range(8)]
        while len(shared._waiting) < 8:
            time.sleep(0.001)
        may_end.set()
        assert first.result()[:, 0].tolist() == [0]
        assert [rows.result()[:, 0].tolist() for rows in others] == [[index, index + 1] for index in range(8)]
    assert network.sizes == [1, 16]


def test_error_of_a_shared_batch_reaches_every_thread_and_the_next_one_works() -> None:
    failures = [EngineError("the network failed")]

    def run(pixels: AnyArray) -> AnyArray:
        if failures:
            raise failures.pop()
        return pixels

    shared = SharedBatches(run)
    with pytest.raises(EngineError, match="the network failed"):
        shared(images(1))
    np.testing.assert_array_equal(shared(images(2)), images(2))


def test_interrupt_of_one_thread_does_not_reach_the_others() -> None:
    first_runs, may_end = threading.Event(), threading.Event()
    interrupts = [KeyboardInterrupt()]

    def run(pixels: AnyArray) -> AnyArray:
        first_runs.set()
        assert may_end.wait(10)
        if len(pixels) > 1 and interrupts:
            raise interrupts.pop()
        return pixels

    shared = SharedBatches(run)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(shared, images(1))
        assert first_runs.wait(10)
        others = [threads.submit(shared, images(1)) for _ in range(3)]
        while len(shared._waiting) < 3:
            time.sleep(0.001)
        may_end.set()
        first.result(10)
        raised = [rows.exception(10) for rows in others]
    assert sorted(type(error).__name__ for error in raised) == ["KeyboardInterrupt", "NoneType", "NoneType"]


def test_rows_may_depend_on_their_own_image_only() -> None:
    check_batch_independence(lambda batch: [batch.mean(axis=(1, 2))], (8, 8), "'net'")
    with pytest.raises(WeightsError, match="Cannot use network 'net': .*other images of its batch"):
        check_batch_independence(lambda batch: [batch - batch.mean(axis=0)], (8, 8), "'net'")


def test_rows_may_not_depend_on_their_position() -> None:
    positions = np.arange(COMPILED_BATCH_SIZE)[:, None]
    with pytest.raises(WeightsError, match="depend on the other images"):
        check_batch_independence(lambda batch: [batch.mean(axis=(1, 2)) + positions], (8, 8), "'net'")
