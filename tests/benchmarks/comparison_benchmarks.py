"""Benchmarks of comparisons: many classes, many rows; time, and memory of all processes."""

from __future__ import annotations

from tests.benchmarks.harness import Environment, Measurement, at_most, benchmark


def _compare(
    environment: Environment, name: str, n_rows: int, n_classes: int, noise: float, limits: tuple[int, int]
) -> list[Measurement]:
    timing = environment.run(
        "compare_mixture", folder=environment.temporary_folder(), rows=n_rows, classes=n_classes, noise=noise
    )
    minutes, gigabytes = limits
    scores = ", ".join(f"{estimator} {score:.3f}" for estimator, score in timing["scores"].items())
    what = f"default estimators on {n_rows:,} × 1,024, {n_classes:,} classes, 5 folds"
    is_complete = len(timing["scores"]) == 4
    return [
        at_most(name, f"{what}, minutes", timing["seconds"] / 60, minutes, scores, ok=is_complete),
        at_most(f"{name}/memory", f"{what}: peak of all processes, GB", timing["peak_gb"], gigabytes, ok=is_complete),
    ]


@benchmark("compare-1000-classes", default=False)
def compare_1000_classes(environment: Environment) -> list[Measurement]:
    """Default estimators on 1,000 classes of 20 rows."""
    return _compare(environment, "compare-1000-classes", 20_000, 1_000, 0.75, (10, 3))


@benchmark("compare-60000", default=False)
def compare_60000(environment: Environment) -> list[Measurement]:
    """Default estimators on 60,000 rows of ten classes."""
    return _compare(environment, "compare-60000", 60_000, 10, 1.0, (15, 6))
