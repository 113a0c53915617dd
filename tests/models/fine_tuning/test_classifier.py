"""Fine-tuning of a tiny network in its child process, and of MobileNet on photographs."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from featx import FeatureExtractor, FineTunedClassifier, compare_baselines, compare_images
from featx.backbones.workers.fine_tune import learning_rate_schedule
from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import make_baseline
from featx.baselines.folds.validation_split import validation_split
from featx.datasets.image_table import ImageTable
from featx.errors import OptionError, OutputError, TrainingError, UnreadableImageError
from featx.extraction.options import ExtractionOptions
from featx.models.fine_tuning.client import first_trained_layer, write_pixels
from featx.models.fine_tuning.training_data import fit_output_layer
from featx.workflows.config import ComparisonConfig
from featx.workflows.image_estimators import bind_images, validate_image_estimators

Array = np.ndarray[Any, Any]
SIZE = 32
#: Strong regularization of the output layer leaves room for improvement by training.
QUICK = {
    "preprocessing": "tf",
    "epochs": 3,
    "learning_rate": 3e-3,
    "precision": "float32",
    "unfreeze": "norm",
    "C": 0.1,
}


@pytest.fixture(scope="module", autouse=True)
def _one_xdg(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One cache of network descriptions for all tests of this file: each takes a child process."""
    return str(tmp_path_factory.mktemp("xdg"))


@pytest.fixture(autouse=True)
def _kept(_one_xdg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", _one_xdg)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    import keras

    keras.utils.set_random_seed(0)
    layers, pixels = keras.layers, keras.Input((SIZE, SIZE, 3))
    first = layers.Conv2D(8, 3, strides=2, activation="relu", name="first")
    maps = layers.BatchNormalization(name="norm")(first(pixels))
    maps = layers.Conv2D(16, 3, strides=2, activation="relu", name="second")(maps)
    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    keras.Model(pixels, maps, name="tiny").save(path)
    return str(path)


@pytest.fixture(scope="module")
def images() -> Array:
    """Noisy patterns of three classes: horizontal and vertical stripes, and a checkerboard."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE] // 2 % 2
    patterns = np.stack([rows, columns, (rows + columns) % 2])[np.arange(45) % 3]
    noise = random.normal(0, 60, (45, SIZE, SIZE, 3))
    return np.asarray((80 + 90 * patterns[..., None] + noise).clip(0, 255).astype(np.uint8))


LABELS = np.array(["horizontal", "vertical", "checkerboard"])[np.arange(45) % 3]


@pytest.fixture(scope="module")
def tuned(network: str, images: Array, _one_xdg: str) -> FineTunedClassifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", _one_xdg)
        return FineTunedClassifier(network, cache=None, **QUICK).fit(images, LABELS)


# Without tensorflow ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_output_layer_equals_baseline(n_classes: int, class_weight: Any) -> None:
    X = np.random.default_rng(0).normal(3, 2, (30, 7)).astype(np.float32)
    X[:, 3] = 1  # never varies
    codes = np.arange(30) % n_classes
    kernel, bias = fit_output_layer(X, codes, C=30, class_weight=class_weight)
    baseline = make_baseline("logreg").set_params(logisticregression__class_weight=class_weight).fit(X, codes)
    values = X @ kernel + bias
    if n_classes == 2:
        values = values[:, 1] - values[:, 0]
    np.testing.assert_allclose(values, baseline.decision_function(X), atol=1e-4)


def test_validation_split() -> None:
    codes = np.repeat([0, 1, 2], [20, 10, 2])
    train, validation = validation_split(codes, None, 0.15, 0)
    assert np.bincount(codes[validation]).tolist() == [3, 2, 1]
    assert sorted([*train, *validation]) == list(range(32))
    groups = np.arange(32) // 2
    train, validation = validation_split(codes, groups, 0.15, 0)
    assert not set(groups[train]) & set(groups[validation])
    assert set(codes[train]) == {0, 1, 2}
    assert validation_split(codes, groups, 0.15, 0)[1].tolist() == validation.tolist()
    with pytest.raises(TrainingError, match="Cannot create a validation split.*Use smaller groups"):
        validation_split(codes, codes, 0.15, 0)


def test_first_trained_layer() -> None:
    resolved = ExtractionOptions("mobilenet").resolve()
    assert first_trained_layer(resolved, 0) == first_trained_layer(resolved, 0.0) == 86
    assert first_trained_layer(resolved, 1.0) == 0
    assert first_trained_layer(resolved, 6) == first_trained_layer(resolved, np.int64(6)) == 80  # type: ignore[arg-type]
    assert first_trained_layer(resolved, 200) == 0
    for invalid in (1.5, -0.1, -2):
        with pytest.raises(OptionError, match=f"unfreeze must be a float between 0 and 1 .*, got {invalid}"):
            first_trained_layer(resolved, invalid)
    assert first_trained_layer(resolved, "conv_dw_13") == 80
    assert first_trained_layer(ExtractionOptions("mobilenet", layer="conv_pw_12_relu").resolve(), 6) == 74
    with pytest.raises(OptionError, match="got 'conv_dw13'.*Did you mean 'conv_dw_13'.*--layers"):
        first_trained_layer(resolved, "conv_dw13")
    shallow = ExtractionOptions("mobilenet", layer="conv_pw_6_relu").resolve()
    with pytest.raises(OptionError, match="must be a layer of .* on the way to its features"):
        first_trained_layer(shallow, "conv_dw_13")


def test_pixels_equal_those_of_extraction(tmp_path: Path, paths: list[str]) -> None:
    resolved = ExtractionOptions("mobilenet", image_size=48).resolve()
    write_pixels([paths[0], *paths], resolved, tmp_path / "pixels.npy")
    from featx.images.decode import decode_image
    from featx.images.image import read_image

    pixels = np.load(tmp_path / "pixels.npy")
    assert pixels.shape == (25, 48, 48, 3)
    np.testing.assert_array_equal(pixels[0], pixels[1])
    content, _ = read_image(paths[5])
    np.testing.assert_array_equal(pixels[6], decode_image(content, (48, 48), "squash", 10**8))


@pytest.mark.parametrize(
    ("parameters", "labels", "message"),
    [
        ({}, ["a", "a", "a", "a"], "at least two classes, got only 'a'"),
        ({}, ["a", "a", "a", "b"], "at least two images of each class, got one of 'b'. Add images"),
        ({}, ["a", "a", "b"], r"one label for each of 4 images, got shape \(3,\)"),
        ({}, ["a", None, "b", "b"], "missing labels, got 1, the first at index 1"),
        (
            {"backbone": "color_histogram"},
            ["a", "a", "b", "b"],
            "Keras network to be fine-tuned, got 'color_histogram'.*pass a .keras",
        ),
        ({"backbone": "mobilnet"}, ["a", "a", "b", "b"], "Did you mean 'mobilenet'"),
        ({"unfreeze": 1.5}, ["a", "a", "b", "b"], "'unfreeze' parameter of FineTunedClassifier"),
        ({"unfreeze": "conv_pw13"}, ["a", "a", "b", "b"], "Did you mean 'conv_pw_13'"),
        ({"augment": ["flop"]}, ["a", "a", "b", "b"], "augment must be a bool or a sequence of 'flip'"),
        (
            {"class_weight": {"cat": 2, "dgo": 9}},
            ["cat", "cat", "dog", "dog"],
            "class_weight must have classes of y as keys, got 'dgo', and no weight for 'dog'. Check the spelling",
        ),
        ({"epochs": 0}, ["a", "a", "b", "b"], "'epochs' parameter"),
    ],
)
def test_invalid_parameters_and_labels(
    parameters: dict[str, Any], labels: list[Any], message: str, images: Array
) -> None:
    with pytest.raises((TrainingError, OptionError), match=message):
        FineTunedClassifier(**parameters).fit(images[:4], labels)


def test_onnx_file_is_refused(tmp_path: Path, images: Array) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = ["n", 3, SIZE, SIZE]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="Keras network to be fine-tuned.*pass a .keras file"):
        FineTunedClassifier(tmp_path / "a.onnx", preprocessing="tf").fit(images[:4], [0, 0, 1, 1])


def test_unreadable_image_is_named(tmp_path: Path, paths: list[str]) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"bad.jpg' \(index 3\)"):
        FineTunedClassifier(cache=None).fit([*paths[:3], str(bad)], [0, 0, 1, 1])


def test_scikit_learn_api() -> None:
    classifier = FineTunedClassifier(unfreeze=4, random_state=3)
    assert clone(classifier).get_params() == classifier.get_params()
    assert classifier.set_params(C=1).C == 1
    assert classifier.__sklearn_tags__().estimator_type == "classifier"
    with pytest.raises(NotFittedError):
        classifier.predict(["a.jpg"])
    with pytest.raises(NotFittedError):
        classifier.save_network("a.keras")


def test_features_are_refused() -> None:
    with pytest.raises(OptionError, match="Cannot fit 'fine-tune' on features: it needs images.*compare_images"):
        compare_baselines(np.eye(20), np.arange(20) % 2, estimators=["knn", "fine-tune"])


@pytest.mark.usefixtures("counting")
def test_estimator_of_images_gets_images_of_its_fold(paths: list[str], labels: list[str]) -> None:
    on_images = make_pipeline(FeatureExtractor("counting"), make_baseline("knn"))
    X = FeatureExtractor("counting").fit_transform(paths)
    given = [Baseline("on images", lambda n_train: clone(on_images), images=paths), "knn"]
    table = compare_baselines(X, labels, estimators=given, cv=3).table.set_index("estimator")
    assert table.loc["on images", "accuracy_mean"] == table.loc["knn", "accuracy_mean"]


class Recording(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Records the arguments of each fit."""

    given: ClassVar[list[tuple[list[str], Any]]] = []

    def fit(self, X: Any, y: Any, groups: Any = None) -> Recording:
        self.given.append((X, groups))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.repeat(self.classes_[:1], len(X))


def test_estimator_of_images_gets_groups_of_its_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recording, "given", [])
    y, groups = np.arange(24) % 2, np.arange(24) // 4
    images = [f"{index}.jpg" for index in range(24)]
    given = [Baseline("recording", lambda n_train: Recording(), images=images)]
    compare_baselines(np.eye(24), y, estimators=given, groups=groups, cv=3)
    assert len(Recording.given) == 3
    for shown, passed_groups in Recording.given:
        assert passed_groups.tolist() == [groups[images.index(path)] for path in shown]
    # With one group in the training split there is no validation split of groups: near-duplicates are used.
    compare_baselines(np.eye(24), y, estimators=given, groups=groups // 3, cv=2)
    assert [passed_groups for _, passed_groups in Recording.given[3:]] == [None, None]


@pytest.mark.parametrize(
    ("parameters", "network", "captured"),
    [
        (
            {"backbone": "resnet50"},
            {},
            "backbone of FineTunedClassifier must be .*'mobilenet', got 'resnet50'. Remove backbone",
        ),
        ({"image_size": 160}, {}, "image_size of FineTunedClassifier must be .* None, got 160"),
        (
            {"pooling": "max"},
            {"pooling": "avgmax"},
            "pooling of FineTunedClassifier must be .*'avgmax', got 'max'.* or compare FeatureExtractor",
        ),
        ({}, {"tta": "flip"}, "'fine-tune' does not support test-time augmentation.*Remove tta"),
    ],
)
def test_classifier_of_other_backbone_is_refused(
    parameters: dict[str, Any], network: dict[str, Any], captured: str, paths: list[str], labels: list[str]
) -> None:
    with pytest.raises(OptionError, match=captured):
        compare_images(
            paths,
            labels,
            backbones=[FeatureExtractor("mobilenet", cache=None, **network)],
            estimators=["dummy", FineTunedClassifier(**parameters)],
        )


def test_classifier_inherits_options_of_backbone(tmp_path: Path) -> None:
    given = FineTunedClassifier(image_size=(96, 96), layer=["conv_pw_6_relu"], epochs=3, cache=tmp_path)
    options = ExtractionOptions("mobilenet", image_size=96, layer="conv_pw_6_relu", pooling="max")
    config = ComparisonConfig(estimators={"mine": given, "knn": "knn"}, tune=True)
    assert validate_image_estimators(config, [options]) == [
        "fine-tune is not tuned by tune=True (--tune): it uses its default parameters."
    ]
    assert validate_image_estimators(ComparisonConfig(estimators=["knn"], tune=True), [options]) == []
    wanted = bind_images(config, ImageTable(["a.jpg"], ["a"]), options, None)
    assert isinstance(wanted, dict)
    made = wanted["mine"].make(9)
    assert (made.pooling, made.epochs, made.cache) == ("max", 3, tmp_path)


# With training ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_best_epoch_is_selected(tuned: FineTunedClassifier) -> None:
    first, losses = tuned.history_[0], [epoch["val_loss"] for epoch in tuned.history_]
    assert first["epoch"] == 0
    assert losses[tuned.n_iter_] == min(losses)
    assert tuned.n_iter_ > 0
    assert losses[tuned.n_iter_] < losses[0]


@pytest.mark.slow  # imports tensorflow
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (8, 1), (8, 2), (3, 20)])
def test_learning_rate_schedule(epochs: int, steps: int) -> None:
    import keras

    found = learning_rate_schedule(keras, 3e-5, epochs, steps)
    values = [float(found(step)) for step in range(epochs * steps)]
    assert min(values) > 0
    assert max(values) <= 3e-5 * 1.0001
    assert values[: steps + 1] == sorted(values[: steps + 1]) or steps == 1
    assert values[steps:] == sorted(values[steps:], reverse=True)


@pytest.mark.thorough
def test_negligible_training_equals_baseline(network: str, images: Array) -> None:
    barely = {**QUICK, "epochs": 1, "learning_rate": 1e-12, "C": 30}
    classifier = FineTunedClassifier(network, cache=None, **barely).fit(images, LABELS)
    features = FeatureExtractor(network, preprocessing="tf", precision="float32", cache=None).fit_transform(images)
    baseline = make_baseline("logreg").fit(features, LABELS)
    np.testing.assert_allclose(classifier.decision_function(images), baseline.decision_function(features), atol=1e-3)


@pytest.mark.thorough
def test_fitted_classifier_is_portable(tuned: FineTunedClassifier, images: Array, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    probabilities = tuned.predict_proba(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (tuned.classes_[probabilities.argmax(axis=1)] == tuned.predict(images)).all()
    assert tuned.score(images, LABELS) > 0.5
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])  # as on another machine
    dumped = skops.dumps(tuned)
    assert skops.get_untrusted_types(data=dumped) == ["featx.FineTunedClassifier"]
    for other in (
        pickle.loads(pickle.dumps(tuned)),
        skops.loads(dumped, trusted=["featx.FineTunedClassifier"]),
    ):
        np.testing.assert_array_equal(other.predict_proba(images), probabilities)
    path = tuned.save_network(tmp_path / "tuned.keras")
    features = FeatureExtractor(path, preprocessing="none", precision="float32", cache=None).fit_transform(images)
    np.testing.assert_allclose(features @ tuned.coef_.T + tuned.intercept_, tuned.decision_function(images), atol=1e-5)
    pipeline = tuned.as_pipeline(path)
    np.testing.assert_allclose(pipeline.predict_proba(images), probabilities, atol=1e-5)
    for wrong, kind in (("a.h5", OptionError), (str(tmp_path / "none" / "a.keras"), OutputError)):
        with pytest.raises(kind):
            tuned.save_network(wrong)


@pytest.mark.thorough
def test_random_state_makes_training_reproducible(network: str, images: Array, tuned: FineTunedClassifier) -> None:
    paths_again = FineTunedClassifier(network, cache=None, **QUICK).fit(list(images), LABELS.tolist())
    np.testing.assert_array_equal(paths_again.coef_, tuned.coef_)
    assert paths_again.network_.tobytes() == tuned.network_.tobytes()
    assert [epoch["val_loss"] for epoch in paths_again.history_] == [epoch["val_loss"] for epoch in tuned.history_]


@pytest.mark.thorough
def test_only_last_layers_change_without_batch_normalization(
    network: str, tuned: FineTunedClassifier, tmp_path: Path
) -> None:
    import keras

    before, after = (
        {
            variable.path: np.asarray(variable)
            for layer in keras.models.load_model(path).layers
            for variable in layer.variables
        }
        for path in (network, tuned.save_network(tmp_path / "after.keras"))
    )
    changed = {path for path, value in before.items() if not np.array_equal(value, after[path])}
    assert changed == {"second/kernel", "second/bias"}


@pytest.mark.thorough
def test_two_classes_with_int_labels_weights_and_groups(
    network: str, images: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_two = np.flatnonzero(np.arange(45) % 3 < 2)[:24]
    classifier = FineTunedClassifier(
        network, **{**QUICK, "epochs": 1}, refit=False, class_weight={7: 3, 9: 1}, augment=["crop"], verbose=True
    )
    labels = np.array([7, 9])[of_two % 3]
    classifier.fit(list(images[of_two]), labels, groups=[f"g{index // 2}" for index in range(24)])
    assert classifier.decision_function(images[:5]).shape == (5,)
    assert classifier.coef_.shape == (1, 16)
    pipeline = classifier.as_pipeline(tmp_path / "of_two.keras")
    np.testing.assert_allclose(classifier.predict_proba(images), pipeline.predict_proba(images), atol=1e-5)
    assert set(classifier.predict(images).tolist()) <= {7, 9}
    assert re.search(r"fine-tune .*, epoch 1/1: validation loss .*100%", capsys.readouterr().err)


@pytest.mark.thorough
def test_fine_tuning_in_comparison(network: str, images: Array, tmp_path: Path) -> None:
    paths = [tmp_path / f"{index:02}.png" for index in range(24)]
    for path, image in zip(paths, images, strict=False):
        PIL.Image.fromarray(image).save(path)
    extractor = FeatureExtractor(network, preprocessing="tf", precision="float32")
    result = compare_images(
        paths,
        LABELS[:24],
        backbones=[extractor],
        estimators=["dummy", "fine-tune"],
        test_mask=np.arange(24) >= 15,
        diagnostics=False,
        duplicate_groups=False,
    )
    table = result.table.set_index("estimator")
    assert list(table.index) == ["dummy", "fine-tune"]
    assert table.loc["fine-tune", "fit_seconds"] > 1
    assert table.loc["fine-tune", "accuracy_mean"] > table.loc["dummy", "accuracy_mean"]


@pytest.mark.thorough
def test_aerial_photos_are_classified_as_well_as_with_frozen_features(ucmerced: list[str]) -> None:
    code = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from scipy.stats import binomtest
from sklearn.model_selection import train_test_split
from featx import FeatureExtractor, FineTunedClassifier
from featx.baselines.estimators import make_baseline
paths = json.load(sys.stdin)
y = np.array([Path(path).parent.name for path in paths])
a, b, y_a, y_b = train_test_split(paths, y, test_size=0.2, stratify=y, random_state=0)
extractor = FeatureExtractor(precision="float32")
frozen = make_baseline("logreg").fit(extractor.fit_transform(a), y_a).predict(extractor.transform(b)) == y_b
started = time.perf_counter()
tuned = FineTunedClassifier().fit(a, y_a).predict(b) == y_b
seconds = time.perf_counter() - started
lost, won = int((frozen & ~tuned).sum()), int((~frozen & tuned).sum())
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
p_value = binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1
print(json.dumps([seconds, peak, p_value]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(ucmerced), capture_output=True, text=True, check=True
    )
    seconds, peak, p_value = json.loads(done.stdout)
    assert seconds < 600
    assert peak < 4 * 2**20  # KiB
    assert p_value > 0.05


@pytest.mark.filterwarnings("ignore:The weights of .* are random")
@pytest.mark.thorough  # half a minute: three child processes build a network of 133 layers
def test_convnext(images: Array, tmp_path: Path) -> None:
    classifier = FineTunedClassifier(
        "convnext_tiny",
        weights=None,
        image_size=SIZE,
        unfreeze=4,
        epochs=1,
        refit=False,
        precision="float32",
        cache=None,
    )
    probabilities = classifier.fit(images[:12], LABELS[:12]).predict_proba(images[:12])
    kept = classifier.save_network(tmp_path / "tuned.keras")
    pipeline = classifier.as_pipeline(kept)
    np.testing.assert_allclose(pipeline.predict_proba(images[:12]), probabilities, atol=1e-5)
    assert classifier.coef_.shape == (3, 768)


@pytest.mark.parametrize(
    "name",
    [
        *("check_do_not_raise_errors_in_init_or_set_params", "check_estimator_cloneable", "check_estimator_repr"),
        *("check_estimator_tags_renamed", "check_estimators_unfitted", "check_get_params_invariance"),
        *("check_mixin_order", "check_n_features_in_after_fitting", "check_no_attributes_set_in_init"),
        *("check_param_validation", "check_parameters_default_constructible", "check_set_params"),
        "check_valid_tag_types",
    ],
)
def test_scikit_learn_check(name: str) -> None:
    """The common checks that fit no network; the others fit on numbers instead of images."""
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip("this version of scikit-learn has no such check")
    check("FineTunedClassifier", FineTunedClassifier(cache=None))
