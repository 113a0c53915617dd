"""Benchmarks of comparisons: many classes, many rows; time, and memory of all processes, beside plain scikit-learn."""

from __future__ import annotations

from tests.benchmarks.harness import Environment, Measurement, at_most, benchmark

_DEFAULT = ("logreg", "svm", "knn")
#: Estimates of shorter folds do not matter: no time limit is that short.
_MIN_SECONDS = 1.0


def _compare(
    environment: Environment,
    name: str,
    shape: tuple[int, int],
    noise: float,
    limits: tuple[float, float],
    *,
    as_job: bool = False,
) -> list[Measurement]:
    """Measure featx, then cross_val_score of the same default estimators with the memory and in the time of featx."""
    folder = environment.temporary_folder()
    n_rows, n_classes = shape
    timing = environment.run(
        "compare_mixture", folder=folder, rows=n_rows, classes=n_classes, noise=noise, as_job=as_job
    )
    minutes, gigabytes = limits
    scores = "; ".join(f"{estimator} {score:.3f}" for estimator, score in timing["scores"].items())
    fold_seconds = "; ".join(f"{estimator} {value:.1f} s" for estimator, value in timing["fold_seconds"].items())
    source = "a job of" if as_job else "default estimators on"
    what = f"{source} {n_rows:,} × 1,024, {n_classes:,} classes, 5 folds"
    is_complete = len(timing["scores"]) == (5 if as_job else 4)
    outcomes, n_finished, left = [], 0, timing["seconds"]
    for estimator in _DEFAULT:
        if left <= 0:
            outcomes.append(f"{estimator} not started: no time left")
            continue
        run = environment.run("cross_val_scores", folder=folder, estimator=estimator, gigabytes=gigabytes, seconds=left)
        outcomes.append(f"{estimator} {run['outcome']}")
        n_finished += run["finished"]
        left -= run["seconds"]
    return [
        at_most(name, f"{what}, minutes", timing["seconds"] / 60, minutes, scores, ok=is_complete),
        at_most(
            f"{name}/memory",
            f"{what}: peak of anonymous memory of all processes, GB",
            timing["peak_gb"],
            gigabytes,
            f"mapped files {timing['mapped_gb']:.2f} GB; seconds of a fold: {fold_seconds}",
            ok=is_complete,
        ),
        Measurement(
            f"{name}/plain",
            f"{what}: of 3 estimators, those that cross_val_score finishes in the same time and {gigabytes:g} GB",
            n_finished,
            details="; ".join(outcomes),
        ),
    ]


@benchmark("compare-1000-classes", default=False)
def compare_1000_classes(environment: Environment) -> list[Measurement]:
    """Default estimators on 1,000 classes of 20 rows, beside cross_val_score."""
    return _compare(environment, "compare-1000-classes", (20_000, 1_000), 0.75, (10, 3))


@benchmark("compare-60000", default=False)
def compare_60000(environment: Environment) -> list[Measurement]:
    """Default estimators on 60,000 rows of ten classes, beside cross_val_score."""
    return _compare(environment, "compare-60000", (60_000, 10), 1.0, (15, 6))


@benchmark("compare-150000", default=False)
def compare_150000(environment: Environment) -> list[Measurement]:
    """The same estimators and ridge on a job of 150,000 rows, a trial of compare-million."""
    return _compare(environment, "compare-150000", (150_000, 10), 1.0, (10, 5), as_job=True)


@benchmark("compare-million", default=False)
def compare_million(environment: Environment) -> list[Measurement]:
    """Default estimators and ridge on a job of 1,000,000 rows, beside cross_val_score."""
    return _compare(environment, "compare-million", (1_000_000, 10), 1.0, (30, 5), as_job=True)


@benchmark("compare-estimates", default=False)
def compare_estimates(environment: Environment) -> list[Measurement]:
    """Estimated time of a fold, relative to the actual one, for the built-in classifiers."""
    return measure_estimates(environment, (8_000, 10), (16_000, 10), (12_000, 100))


def measure_estimates(environment: Environment, *shapes: tuple[int, int]) -> list[Measurement]:
    """Return a row for each number of rows and classes."""
    rows = []
    for n_rows, n_classes in shapes:
        folder = environment.temporary_folder()
        seconds = environment.run("estimate_folds", folder=folder, rows=n_rows, classes=n_classes)["folds"]
        ratios = {name: estimate / actual for name, (estimate, actual) in seconds.items()}
        longest = {name: ratio for name, ratio in ratios.items() if max(seconds[name]) >= _MIN_SECONDS} or ratios
        worst = max(max(ratio, 1 / ratio) for ratio in longest.values())
        details = "; ".join(f"{name} {ratio:.2f} of {seconds[name][1]:.1f} s" for name, ratio in ratios.items())
        what = f"{n_rows:,} × 1,024, {n_classes} classes: largest factor of estimated and actual time of folds ≥ 1 s"
        rows.append(at_most(f"compare-estimates/{n_rows}-{n_classes}", what, worst, 2, details))
    return rows
