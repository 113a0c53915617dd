"""Benchmarks of jobs: throughput, overhead of shards, planning and merging."""

from __future__ import annotations

import statistics

from tests.benchmarks.harness import Environment, Measurement, Timing, at_least, at_most, benchmark, rates


def _run_job(environment: Environment, paths: list[str], cache: str, shard_size: int, backend: str) -> Timing:
    return environment.run(
        "run_shards",
        paths=paths,
        cache=environment.copy_cache(cache),
        folder=environment.temporary_folder(),
        shard_size=shard_size,
        backend=backend,
    )


@benchmark("job", default=False)
def job(environment: Environment) -> list[Measurement]:
    """Job of 100,000 images against plain extraction; takes minutes and 2 GB of disk."""
    paths, cache = environment.photos(100_000, 256, 256), environment.new_cache({})
    ratio, ours, plain = environment.speedup(
        lambda: _run_job(environment, paths, cache, 10_000, "sequential"),
        lambda: environment.extract(paths, {}, environment.copy_cache(cache)),
    )
    description = "rate of a job of 100,000 JPEG in shards of 10,000 with start-up, relative to extraction"
    return [at_least("job", description, ratio, 0.95, rates(100_000, ours, plain))]


@benchmark("job-processes")
def job_processes(environment: Environment) -> list[Measurement]:
    """Job in one process that uses all cores against one process per core."""
    paths, cache = environment.photos(6_000, 256, 256), environment.new_cache({})
    ratio, ours, theirs = environment.speedup(
        lambda: _run_job(environment, paths, cache, 1_000, "sequential"),
        lambda: _run_job(environment, paths, cache, 1_000, "loky"),
    )
    description = "speedup of a job in one process on all cores over one process per core"
    return [at_least("job-processes", description, ratio, 1, rates(6_000, ours, theirs))]


@benchmark("plan")
def plan(environment: Environment) -> list[Measurement]:
    """Planning of a job from a CSV file."""
    paths = environment.photos(60_000, 128, 128)

    def rate() -> float:
        return 60_000 / float(
            environment.run("plan_images", paths=paths, folder=environment.temporary_folder())["seconds"]
        )

    description = "planning a job from a CSV file, paths/s"
    return [at_least("plan", description, environment.median(rate), 20_000, "60,000 local files")]


@benchmark("shard-overhead")
def shard_overhead(environment: Environment) -> list[Measurement]:
    """Time per shard beyond that of its images."""
    paths, cache = environment.photos(6_400, 256, 256), environment.new_cache({})

    def seconds(shard_size: int) -> float:
        return float(_run_job(environment, paths, cache, shard_size, "sequential")["seconds"])

    runs = [(seconds(64) - seconds(6_400)) / 99 * 1000 for _ in range(environment.n_runs)]
    description = "overhead of a shard, ms: 6,400 images in 100 shards instead of one"
    details = ", ".join(f"{run:.1f}" for run in runs)
    return [at_most("shard-overhead", description, statistics.median(runs), 50, details)]


@benchmark("merge")
def merge(environment: Environment) -> list[Measurement]:
    """Merging, status and opening of a finished job of 10 million rows."""
    merged: dict[int, Timing] = {}
    for n_shards in (100, 1000):
        folder = str(environment.folder / f"done-{n_shards}")
        environment.run("write_finished_job", folder=folder, shards=n_shards, rows=10_000, features=16)
        output = str(environment.folder / "merged.npy")
        merged[n_shards] = environment.run("merge_finished_job", folder=folder, output=output)
    opened = environment.run("open_job", folder=str(environment.folder / "done-1000"))
    large, small = merged[1000], merged[100]
    rate = 1e7 / large["seconds"]
    return [
        at_most(
            "merge/memory",
            "peak memory of merging 10⁷ rows, relative to 10⁶ rows",
            large["peak_mb"] / small["peak_mb"],
            1.1,
            f"{large['peak_mb']:.0f} vs. {small['peak_mb']:.0f} MB",
        ),
        Measurement(
            "merge/rate",
            "merging 10⁷ rows of 16 features in 1,000 shards, rows/s",
            round(rate),
            details=f"{large['seconds']:.0f} s",
        ),
        at_most("merge/status", "status of a job of 1,000 shards, s", opened["seconds"], 2),
        at_most("merge/open", "open_features of a job of 1,000 shards and 10 rows, s", opened["opened"], 2),
    ]
