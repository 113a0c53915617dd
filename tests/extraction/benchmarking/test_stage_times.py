from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx.extraction.benchmarking.stage_times import StageClock, time_stages
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone


def test_stages_add_up_to_a_complete_run(paths: list[str], counting: CountingBackbone) -> None:
    stages = time_stages(paths, ExtractionOptions("counting").resolve(), None)
    names = [stage.stage for stage in stages]
    assert names == ["read", "hash", "decode", "resize", "network", "store", "other"]
    assert sum(stage.share for stage in stages) == pytest.approx(1, abs=0.01)
    assert all(stage.milliseconds > 0 for stage in stages if stage.stage in ("decode", "resize", "store"))
    assert counting.n_images > 2 * len(paths)


def test_arrays_in_files(tmp_path: Path, counting: CountingBackbone) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels)
    images = [f"{tmp_path}/a.npz#images/{row}" for row in range(4)]
    assert len(time_stages(images, ExtractionOptions("counting").resolve(), None)) == 7


def test_network_has_a_large_share_of_mobilenet(paths: list[str], compiled_cache: Path) -> None:
    stages = {
        stage.stage: stage for stage in time_stages(paths, ExtractionOptions().resolve(), compiled_cache / "compiled")
    }
    assert stages["network"].milliseconds > stages["hash"].milliseconds
    assert stages["network"].share > 0.2


def test_clock_counts_work_and_not_waiting() -> None:
    import time

    clock = StageClock()
    with clock.timing("read"):
        time.sleep(0.05)
    with clock.timing("hash"):
        begun = time.process_time()
        while time.process_time() - begun < 0.05:
            pass
    assert clock.seconds["read"] < 0.02 < clock.seconds["hash"]
