"""Benchmarks of comparing baselines and of predicting with a trained model."""

from __future__ import annotations

import statistics

from tests.benchmarks.harness import Environment, Measurement, at_least, at_most, benchmark, median_run, rates


@benchmark("compare")
def compare(environment: Environment) -> list[Measurement]:
    """Comparison of baselines against cross_validate of scikit-learn."""
    ratio, ours, theirs = environment.speedup(
        lambda: environment.run("compare_featx"), lambda: environment.run("compare_plain")
    )
    difference = max(abs(ours["scores"][name] - theirs["scores"][name]) for name in ours["scores"])
    details = f"{ours['seconds']:.1f} vs. {theirs['seconds']:.1f} s; scores differ by at most {difference:.4f}"
    description = "speedup over cross_validate: logreg, svm and knn on 8,000 × 1,024, 100 classes"
    return [at_least("compare", description, ratio, 4, details, ok=difference <= 0.002)]


@benchmark("compare-diagnostics")
def compare_diagnostics(environment: Environment) -> list[Measurement]:
    """Time of the diagnostics of a comparison relative to the comparison."""
    runs = [
        environment.run("compare_diagnostics", folder=environment.temporary_folder()) for _ in range(environment.n_runs)
    ]
    run = median_run(runs, lambda run: run["diagnostics"] / run["seconds"])
    share = run["diagnostics"] / run["seconds"]
    details = f"{run['diagnostics']:.1f} in addition to {run['seconds']:.1f} s"
    description = (
        "time of duplicates, label errors, learning curve and ungrouped scores, relative to the comparison on 8,000 × "
        "1,024"
    )
    return [at_most("compare-diagnostics", description, share, 1, details)]


@benchmark("predict")
def predict(environment: Environment) -> list[Measurement]:
    """Predictions against extraction alone, and a single prediction."""
    paths = environment.photos(1100)
    known, new = paths[:100], paths[100:]
    cache, model = environment.new_cache({}), str(environment.folder / "model.skops")
    environment.run("train_model", paths=known, cache=cache, output=model)
    ratio, ours, plain = environment.speedup(
        lambda: environment.run("predict", paths=new, model=model, cache=environment.copy_cache(cache)),
        lambda: environment.extract(new, {}, environment.copy_cache(cache)),
    )
    single = [
        environment.run("predict", paths=[path], model=model, cache=environment.copy_cache(cache))
        for path in new[: environment.n_runs]
    ]
    seconds = statistics.median(run["processor_seconds"] for run in single)
    many = "rate of predicting 1,000 JPEG, relative to extraction"
    one = "one prediction, processor seconds"
    return [
        at_least("predict/many", many, ratio, 0.9, rates(1000, ours, plain)),
        at_most("predict/one", one, seconds, 1.5, f"{single[0]['all']:.2f} s in total"),
    ]
