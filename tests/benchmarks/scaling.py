"""Scaling of a job on Dask with simulated workers: the network is a sleep of its measured time, the rest is real.

The scheduler, the worker processes and their TCP connections, the plan, reading, decoding and committing rows of the
usual width are those of any job. Each worker gets the same number of shards: with n workers, a job of n times as many
images should take as long as with one. Efficiency is the ratio of these times.

All workers share the cores of this machine, so that the measured efficiency is a lower bound. Therefore, the network is
a slow one, and Dask's monitoring of workers is off: that of 64 idle workers took 1.5 cores here, which is 2 % of a core
on each of 64 machines.

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
#: Options of Dask that turn the monitoring of workers off.
NO_MONITORING = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "5s",
    "distributed.admin.system-monitor.interval": "10s",
}


class SleepingBackbone(DirectBackbone):
    """A network whose time is a sleep, which needs no core."""

    name, version, image_size = "sleeping", 1, 224

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def n_features(self, pooling: str) -> int:
        return N_FEATURES

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(len(pixels) / self.rate)
        colors = pixels[:, ::16, ::16].mean(axis=(1, 2), dtype=np.float32)  # negligible time
        rows = np.tile(colors, (1, N_FEATURES // 3 + 1))
        return np.ascontiguousarray(rows[:, :N_FEATURES])


def write_images(folder: Path, n_images: int) -> list[str]:
    """Write different JPEG files: the same image, with a number after its end."""
    rng = np.random.default_rng(0)
    noise = PIL.Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((256, 192))
    noise.save(folder / "one.jpg", quality=85)
    data = (folder / "one.jpg").read_bytes()
    paths = []
    for index in range(n_images):
        paths.append(str(folder / f"{index:07}.jpg"))
        Path(paths[-1]).write_bytes(data + index.to_bytes(8, "big"))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--rate", type=float, default=RATE, help="images per second of the network of a worker")
    parser.add_argument("--shard-size", type=int, default=160)
    parser.add_argument("--shards", type=int, default=10, help="number of shards of each worker")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of Dask about ports
    import dask
    import distributed

    for name in ("featx.jobs.run", "featx.jobs.running.worker", "pyarrow.parquet"):
        importlib.import_module(name)  # once; forked workers inherit them
    load_decoders()
    dask.config.set({"distributed.worker.multiprocessing-method": "fork", **NO_MONITORING})
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
