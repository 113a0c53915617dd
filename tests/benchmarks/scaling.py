"""How a job scales on Dask: simulated workers whose network is a sleep of its measured cost, all else real.

The scheduler, the workers (processes that speak TCP), the plan, reading and decoding, and the commits of rows of the
usual width are those of any job. Every worker is given equally many shards: with n workers a job of n times as many
images should take as long as with one, and efficiency is how nearly it does. All of them share the cores of this
machine for what is real, so that what is measured is a lower bound. Therefore the network is a slow one, and Dask's own
watching of workers is off: 64 idle ones took 1.5 cores here, which is 2 % of a core on each of 64 machines.

    python -m tests.benchmarks.scaling --workers 1 4 16 64
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from featx import DirectBackbone, plan_job, register_backbone, run_job
from featx.images.decode import load_decoders

N_FEATURES = 1024
#: Images/s of ConvNeXt base, float32, measured on two cores of an AMD EPYC with AVX-512.
RATE = 11.8
#: Of Dask: what workers watch themselves with.
WATCHING = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "5s",
    "distributed.admin.system-monitor.interval": "10s",
}


class SleepingBackbone(DirectBackbone):
    """A network that takes its time, and nobody else's."""

    name, version, image_size = "sleeping", 1, 224

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def n_features(self, pooling: str) -> int:
        return N_FEATURES

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(len(pixels) / self.rate)
        some = pixels[:, ::16, ::16].mean(axis=(1, 2), dtype=np.float32)  # next to nothing: the sleep is the cost
        rows = np.tile(some, (1, N_FEATURES // 3 + 1))
        return np.ascontiguousarray(rows[:, :N_FEATURES])


def write_images(folder: Path, n_images: int) -> list[str]:
    """Write JPEGs that are all different: one picture, and its number behind the end."""
    rng = np.random.default_rng(0)
    noise = PIL.Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((256, 192))
    noise.save(folder / "one.jpg", quality=85)
    data = (folder / "one.jpg").read_bytes()
    paths = []
    for number in range(n_images):
        paths.append(str(folder / f"{number:07}.jpg"))
        Path(paths[-1]).write_bytes(data + number.to_bytes(8, "big"))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--rate", type=float, default=RATE, help="images/s of one worker's network")
    parser.add_argument("--shard-size", type=int, default=160)
    parser.add_argument("--shards", type=int, default=10, help="of each worker")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of Dask's, about ports
    import dask
    import distributed

    for name in ("featx.jobs.run", "featx.jobs.running.worker", "pyarrow.parquet"):
        importlib.import_module(name)  # once, and inherited by every worker
    load_decoders()
    dask.config.set({"distributed.worker.multiprocessing-method": "fork", **WATCHING})
    register_backbone(SleepingBackbone(arguments.rate))
    folder = Path(tempfile.mkdtemp(prefix="featx-scaling-"))
    ideal = arguments.shards * arguments.shard_size / arguments.rate
    rows = []
    try:
        images = folder / "images"
        images.mkdir()
        paths = write_images(images, max(arguments.workers) * arguments.shards * arguments.shard_size)
        for n_workers in arguments.workers:
            n_images = n_workers * arguments.shards * arguments.shard_size
            table = folder / f"{n_workers}.csv"
            table.write_text("\n".join(["path", *paths[:n_images]]) + "\n")
            plan_job(table, folder / f"job-{n_workers}", backbone="sleeping", shard_size=arguments.shard_size, sample=0)
            with distributed.LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None, memory_limit=0, silence_logs=50
            ) as cluster:
                cluster.wait_for_workers(n_workers)
                started = time.perf_counter()
                run = run_job(
                    folder / f"job-{n_workers}", backend="dask", scheduler=cluster.scheduler_address, cache=None
                )
                seconds = time.perf_counter() - started
            assert run.rows == n_images
            rows.append({"workers": n_workers, "images": n_images, "seconds": round(seconds, 2)})
            efficiency = {"of_ideal": ideal / seconds, "of_first": rows[0]["seconds"] / seconds}
            rows[-1] |= {name: round(value, 3) for name, value in efficiency.items()}
            print(json.dumps(rows[-1]), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
