"""Accuracies that the documentation states, on photos of yours and on scikit-learn's digits, as tables in Markdown.

    python -m tests.benchmarks.accuracy --photos PHOTOS augmentation ranking

PHOTOS has one subfolder per class. The documentation uses the 840 aerial photos of UC Merced (public domain).
"""

from __future__ import annotations

import argparse
import io
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
from threadpoolctl import threadpool_limits

from featx import (
    FeatureExtractor,
    FineTunedClassifier,
    augment_features,
    compare_baselines,
    compare_images,
    find_duplicates,
    find_images,
    find_label_issues,
    load_pipeline,
    predict_images,
    rank_features,
    rank_images,
    train_images,
    write_digits,
)
from featx.baselines.estimators import make_baseline

N_RUNS = 20
_N_FEW, _N_DRAWS = 10, 5
Collections = dict[str, tuple[list[str], Any]]


def read_collections(photos: Path, folder: Path) -> Collections:
    """Return paths and labels of the photos and of the digits."""
    write_digits(folder / "digits")
    tables = {"photos": find_images(photos), "digits": find_images(folder / "digits")}
    return {name: (table.paths, np.array(table.labels)) for name, table in tables.items()}


def show(header: list[str], rows: Iterable[list[Any]]) -> None:
    """Print a table in Markdown, each row as soon as it is measured."""
    for row in itertools.chain((header, ["---"] * len(header)), rows):
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    print()


def few_shot(y: Any, groups: Any, number: int, seed: int) -> tuple[Any, Any]:
    """Return rows to train on, some of each class, and the rows of other groups to test on."""
    rng = np.random.default_rng(seed)
    train = np.concatenate([rng.choice(np.flatnonzero(y == label), number, replace=False) for label in np.unique(y)])
    return train, np.flatnonzero(~np.isin(groups, groups[train]))


_TTAS: list[Any] = [None, "flip", "five-crop", "rotations"]


def augmentation(collections: Collections) -> None:
    """Test-time augmentation and augmented copies."""
    header = ["", "plain", *map(str, _TTAS[1:]), "four augmented copies"]
    show(header, itertools.chain.from_iterable(_augmented_rows(name, *part) for name, part in collections.items()))


def _augmented_rows(name: str, paths: list[str], y: Any) -> Iterator[list[Any]]:
    views = [FeatureExtractor(tta=tta).fit_transform(paths) for tta in _TTAS]
    groups = find_duplicates(views[0]).groups
    augmented = augment_features(paths, y, groups=groups, n_copies=4, random_state=0)
    folds: list[Any] = [
        compare_baselines(X, y, estimators=["logreg"], groups=groups, cv=5).fold_scores["accuracy"] for X in views
    ]
    folds.append([_score(augmented.X, augmented.y, *fold) for fold in augmented.folds(5)])
    yield [
        f"{len(y):,} {name}, five folds",
        *(f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}" for scores in folds),
    ]
    for number in (10, 3):
        runs = []
        for seed in range(N_RUNS):
            train, test = few_shot(y, groups, number, seed)
            copies = np.flatnonzero(np.isin(augmented.source, train))
            runs.append(
                [
                    *(_score(X, y, train, test) for X in views),
                    _score(augmented.X, augmented.y, copies, test),
                ]
            )
        yield [f"{number} of each class", *_paired(np.array(runs))]


def _score(X: Any, y: Any, train: Any, test: Any, estimator: str = "logreg") -> float:
    with threadpool_limits(1):  # as in a comparison
        return float(make_baseline(estimator, len(train)).fit(X[train], y[train]).score(X[test], y[test]))


def _paired(runs: Any) -> list[str]:
    """Return means of the columns, with differences from the first that exceed twice their standard error."""
    cells = [f"{runs[:, 0].mean():.3f}"]
    for column in runs[:, 1:].T:
        change = column - runs[:, 0]
        is_clear = abs(change.mean()) > 2 * change.std(ddof=1) / np.sqrt(len(change))
        cells.append(f"{column.mean():.3f}" + (f" ({change.mean():+.3f})" if is_clear else ""))
    return cells


def ranking(collections: Collections) -> None:
    """Agreement of rankings with cross-validation, over layers and poolings of MobileNet."""
    header = ["images", "ridge", "LogME", "kNN", "H-score", "time to rank", "time to compare"]
    show(header, itertools.chain.from_iterable(_ranked_rows(name, *part) for name, part in collections.items()))


_CRITERIA = ["loo_ridge", "logme", "loo_knn", "h_score"]
_RANKED_AGAINST: list[Any] = ["logreg", "svm", "knn"]


def _ranked_rows(name: str, paths: list[str], y: Any) -> Iterator[list[Any]]:
    layers: list[Any] = [0.25, 0.5, 0.75, 0.9, 1.0, [0.75, 1.0]]
    candidates = [FeatureExtractor(layer=layer, pooling=pool) for layer in layers for pool in ("avg", "max")]
    features = {str(candidate): candidate.fit_transform(paths) for candidate in candidates}  # no time includes this
    start = time.perf_counter()
    table = rank_images(paths, y, backbones=candidates).table
    middle = time.perf_counter()
    result = compare_images(paths, y, backbones=candidates, estimators=_RANKED_AGAINST, diagnostics=False)
    end = time.perf_counter()
    best = {backbone.name: backbone.comparison.table["accuracy_mean"].max() for backbone in result.backbones}
    what = f"{len(y):,} {name}, {len(np.unique(y))} classes"
    cells = _agreement([_taus_and_losses(table, table["name"].map(best).to_numpy())])
    yield [what, *cells, f"{middle - start:.0f} s", f"{end - middle:.0f} s"]
    groups = find_duplicates(FeatureExtractor().fit_transform(paths)).groups
    yield [
        f"{_N_FEW} of each class of the {name}, tested on the others, {_N_DRAWS} times",
        *_agreement([_ranked_few(features, y, *few_shot(y, groups, _N_FEW, seed)) for seed in range(_N_DRAWS)]),
        *("", ""),
    ]


def _ranked_few(features: dict[str, Any], y: Any, train: Any, test: Any) -> Any:
    """Rank by the training rows alone, and compare with the accuracy of the best estimator on the test rows."""
    table = rank_features({name: X[train] for name, X in features.items()}, y[train]).table
    accuracy = {
        name: max(_score(X, y, train, test, estimator) for estimator in _RANKED_AGAINST) for name, X in features.items()
    }
    return _taus_and_losses(table, table["name"].map(accuracy).to_numpy())


def _taus_and_losses(table: Any, accuracy: Any) -> Any:
    """Return Kendall's tau of each criterion, and the accuracy that its first candidate loses."""
    from scipy.stats import kendalltau

    taus = [kendalltau(table[criterion], accuracy)[0] for criterion in _CRITERIA]
    return taus, [accuracy.max() - accuracy[table[criterion].argmax()] for criterion in _CRITERIA]


def _agreement(runs: list[Any]) -> list[str]:
    return [f"{tau:.2f}; {loss:.3f}" for tau, loss in np.mean(runs, axis=0).T]


def alterations(image: PIL.Image.Image) -> dict[str, Callable[[], PIL.Image.Image]]:
    """Return altered copies by name."""
    width, height = image.size

    def crop(fraction: float) -> PIL.Image.Image:
        left, top = round(fraction * width), round(fraction * height)
        return image.crop((left, top, width - left, height - top))

    def scale(factor: float) -> PIL.Image.Image:
        return image.resize((round(factor * width), round(factor * height)), PIL.Image.Resampling.LANCZOS)

    return {
        "JPEG, quality 75": lambda: _jpeg(image, 75),
        "JPEG, quality 50": lambda: _jpeg(image, 50),
        "scaled to 80 %": lambda: scale(0.8),
        "scaled to 50 %": lambda: scale(0.5),
        "cropped by 2.5 % on each side": lambda: crop(0.025),
        "cropped by 5 % on each side": lambda: crop(0.05),
        "mirrored": lambda: PIL.ImageOps.mirror(image),
        "brighter by 15 %": lambda: PIL.ImageEnhance.Brightness(image).enhance(1.15),
    }


def _jpeg(image: PIL.Image.Image, quality: int) -> PIL.Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return PIL.Image.open(buffer)


def duplicates(collections: Collections) -> None:
    """Share of altered copies of 120 images that are found as near-duplicates."""
    found: dict[str, list[str]] = {}
    for paths, y in collections.values():
        extractor = FeatureExtractor()
        rows = extractor.fit_transform(paths)
        chosen = np.random.default_rng(0).choice(len(y), 120, replace=False)
        images = [PIL.Image.open(paths[row]).convert("RGB") for row in chosen]
        grouped = int((np.bincount(find_duplicates(rows).groups)[find_duplicates(rows).groups] > 1).sum())
        only = int((_above(rows) >= 0.97).sum())
        for name in alterations(images[0]):
            copies = extractor.transform([alterations(image)[name]() for image in images])
            near = find_duplicates(np.vstack([rows, copies])).groups
            pairs = (_unit(rows[chosen]) * _unit(copies)).sum(axis=1) >= 0.97
            shares = [f"{pairs.mean():.0%}", f"{(near[chosen] == near[len(rows) :]).mean():.0%}"]
            found.setdefault(name, []).extend(shares)
        found.setdefault("originals that are grouped", []).extend([str(only), str(grouped)])
    header = [f"{name}: {rule}" for name in collections for rule in ("0.97 only", "with the second rule")]
    show(["altered copy", *header], [[name, *cells] for name, cells in found.items()])


def duplicate_groups(collections: Collections) -> None:
    """Groups of near-duplicates among the images themselves, by several layers and rules."""
    header = ["images", "grouped", "at 0.9 of the depth", "at half of it", "largest group", "groups of several classes"]
    rows = []
    for name, (paths, y) in collections.items():
        X = [FeatureExtractor(layer=layer).fit_transform(paths) for layer in (None, 0.9, 0.5)]
        found = [find_duplicates(x).clusters for x in X]
        n_grouped = [sum(map(len, clusters)) for clusters in found]
        largest = max(map(len, found[0]), default=1)
        n_mixed = sum(len(set(y[cluster])) > 1 for cluster in found[0])
        rows.append([f"{len(y):,} {name}", *n_grouped, largest, n_mixed, _largest_component(X[0], 0.95)])
    show([*header, "largest group of 0.95 alone"], rows)


def _largest_component(rows: Any, threshold: float) -> int:
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(_unit(rows) @ _unit(rows).T >= threshold)
    return int(np.bincount(labels).max())


def _unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _above(rows: Any) -> Any:
    """Return the cosine of each row to its nearest other row."""
    cosines = _unit(rows) @ _unit(rows).T
    np.fill_diagonal(cosines, -1)
    return cosines.max(axis=1)


def label_errors(collections: Collections) -> None:
    """Share of flipped labels of the photos that are listed, over twelve seeds."""
    paths, labels = collections["photos"]
    rows = FeatureExtractor().fit_transform(paths)
    shares = []
    for seed in range(12):
        y, rng = labels.copy(), np.random.default_rng(seed)
        flipped = rng.choice(len(y), round(0.05 * len(y)), replace=False)
        for row in flipped:
            y[row] = rng.choice(np.unique(labels)[np.unique(labels) != labels[row]])
        comparison = compare_baselines(rows, y, estimators=["logreg"])
        hits = np.isin(find_label_issues(comparison.y, comparison.probabilities["logreg"])["row"], flipped)
        shares.append((hits.sum() / len(flipped), hits.mean()))
    (recall, precision), (worst_recall, worst_precision) = np.mean(shares, axis=0), np.min(shares, axis=0)
    rows_ = [["listed of the flipped", f"{recall:.0%}", f"{worst_recall:.0%}"]]
    rows_ += [["flipped of the listed", f"{precision:.0%}", f"{worst_precision:.0%}"]]
    show(["5 % of the labels flipped, 12 times", "mean", "least"], rows_)


def layers(collections: Collections) -> None:
    """Logistic regression on layers of MobileNet, on the photos."""
    paths, y = collections["photos"]
    depths: list[Any] = [0.5, 0.75, 0.9, 1.0, [0.75, 1.0], [0.9, 1.0]]
    backbones = [FeatureExtractor(layer=depth) for depth in depths]
    result = compare_images(paths, y, backbones=backbones, estimators=["logreg"], diagnostics=False)
    show(
        ["layer", "logreg"], [[b.name, f"{b.comparison.table['accuracy_mean'].iloc[0]:.3f}"] for b in result.backbones]
    )


def estimators(collections: Collections) -> None:
    """The default estimators of featx, and those of scikit-learn with its parameters, on the photos."""
    paths, y = collections["photos"]
    names: list[Any] = ["logreg", "LogisticRegression", "svm", "SVC", "knn", "KNeighborsClassifier"]
    table = compare_images(paths, y, estimators=names, diagnostics=False).table
    show(["estimator", "accuracy"], [[row.estimator, f"{row.accuracy_mean:.3f}"] for row in table.itertuples()])


def novelty(collections: Collections) -> None:
    """Novelty scores of the digits and of new photos, for a model of every second photo."""
    from sklearn.metrics import roc_auc_score

    (photos, y), (digits, _) = collections["photos"], collections["digits"]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.skops"
        train_images(photos[::2], y[::2], estimator="logreg").save(model)
        scores = [predict_images(model, paths)["novelty_score"].to_numpy() for paths in (photos[1::2], digits)]
    auc = roc_auc_score(np.repeat([0, 1], [len(part) for part in scores]), np.concatenate(scores))
    show(["", "other photos", "digits", "AUC"], [["above 1", *(f"{(s > 1).mean():.1%}" for s in scores), f"{auc:.3f}"]])


def precision(collections: Collections) -> None:
    """Probabilities of new photos in float32, relative to those of a model in bfloat16, as its export computes them."""
    paths, y = collections["photos"]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.skops"
        backbone = FeatureExtractor(precision="bfloat16")
        train_images(paths[::2], y[::2], backbone=backbone, estimator="logreg").save(model)
        recorded = load_pipeline(model).predict_proba(paths[1::2])
        computed = load_pipeline(model, precision="float32").predict_proba(paths[1::2])
    of_label = np.abs(recorded - computed)[np.arange(len(recorded)), recorded.argmax(axis=1)]
    changed = (recorded.argmax(axis=1) != computed.argmax(axis=1)).sum()
    header = ["difference of the probability of the label", "median", "99 %", "largest", "labels changed"]
    cells = [f"{np.quantile(of_label, quantile):.4f}" for quantile in (0.5, 0.99, 1)]
    show(header, [[f"{len(recorded)} new photos", *cells, changed]])


def engines(collections: Collections) -> None:
    """Features of the photos by other engines and precisions, relative to OpenVINO in float32."""
    paths, _ = collections["photos"]
    rows = []
    for pooling in ("avg", "max"):
        X = FeatureExtractor(pooling=pooling, precision="float32").fit_transform(paths)
        by_keras = FeatureExtractor(pooling=pooling, precision="float32", engine="keras", cache=None)
        difference = np.abs(by_keras.fit_transform(paths) - X).max()
        others = [FeatureExtractor(pooling=pooling, precision=name) for name in ("bfloat16", "int8")]
        cosines = [(_unit(other.fit_transform(paths)) * _unit(X)).sum(axis=1).mean() for other in others]
        largest = np.abs(X).max()
        rows.append(
            [pooling, f"{largest:.1f}", f"{difference:.1e}", f"{difference / largest:.1e}"]
            + [f"{cosine:.4f}" for cosine in cosines]
        )
    differences = ["largest difference of Keras", "relative to the largest feature"]
    show(["pooling", "largest feature", *differences, "cosine of bfloat16", "cosine of int8"], rows)


def fine_tuning(collections: Collections) -> None:
    """Fine-tuning against frozen features on the photos, with a fifth of them as test images."""
    from scipy.stats import binomtest
    from sklearn.model_selection import train_test_split

    paths, y = collections["photos"]
    train, test, y_train, y_test = train_test_split(paths, y, test_size=0.2, stratify=y, random_state=0)
    extractor = FeatureExtractor(precision="float32")
    frozen = make_baseline("logreg").fit(extractor.fit_transform(train), y_train)
    was_right = frozen.predict(extractor.transform(test)) == y_test
    start = time.perf_counter()
    tuned = FineTunedClassifier().fit(train, y_train)
    seconds = time.perf_counter() - start
    is_right = tuned.predict(test) == y_test
    gained, lost = int((is_right & ~was_right).sum()), int((was_right & ~is_right).sum())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    p_value = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    header = ["frozen", "fine-tuned", "gained", "lost", "McNemar p", "training", "memory of the child process"]
    cells = [f"{was_right.mean():.3f}", f"{is_right.mean():.3f}", gained, lost, f"{p_value:.1g}", f"{seconds:.0f} s"]
    show(header, [[*cells, f"{peak:.1f} GB"]])


def clusters(collections: Collections) -> None:
    """Share of images in the majority class of their cluster, by k-means with as many clusters as classes."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize, scale

    rows = []
    for name, (paths, y) in collections.items():
        X, (classes, codes) = FeatureExtractor().fit_transform(paths), np.unique(y, return_inverse=True)
        cells = []
        for scaled in (normalize(X), X, scale(X.astype(float))):
            shares = []
            for seed in range(10):
                found = KMeans(len(classes), n_init=10, random_state=seed).fit_predict(scaled)
                counts = np.zeros((len(classes), len(classes)), dtype=int)
                np.add.at(counts, (found, codes), 1)
                shares.append(counts.max(axis=1).sum() / len(y))
            cells.append(f"{np.mean(shares):.3f}")
        rows.append([f"{len(y):,} {name}, {len(classes)} classes", *cells])
    show(["", "unit length", "as they are", "standardized columns"], rows)


TABLES = {
    "augmentation": augmentation,
    "ranking": ranking,
    "duplicates": duplicates,
    "duplicate-groups": duplicate_groups,
    "label-errors": label_errors,
    "layers": layers,
    "estimators": estimators,
    "novelty": novelty,
    "precision": precision,
    "engines": engines,
    "fine-tuning": fine_tuning,
    "clusters": clusters,
}


def main() -> None:
    """Print the tables that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("tables", nargs="+", choices=list(TABLES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        collections = read_collections(options.photos, Path(folder))
        for name in options.tables:
            TABLES[name](collections)


if __name__ == "__main__":
    main()
