"""What usual layouts of folders mean, as a folder, a zip archive and a tar archive."""

from __future__ import annotations

import dataclasses
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from featx.datasets.find import find_images


@dataclasses.dataclass
class Layout:
    """A layout of folders, and what it means.

    `rows` has the number of images by label and split. `reason` is a part of the reason why there are no labels, and
    `levels` has the labels that each class level gives instead.
    """

    folders: str
    rows: dict[tuple[str | None, str | None], int] = dataclasses.field(default_factory=dict)
    note: str = ""
    reason: str = ""
    levels: dict[int, set[str]] = dataclasses.field(default_factory=dict)
    n_groups: int = 0


def split(train: str, test: str) -> dict[tuple[str | None, str | None], int]:
    return {(name, part): 2 for part, names in (("train", train), ("test", test)) for name in names.split()}


CLASSES = {("cat", None): 2, ("dog", None): 2}
BOTH = split("cat dog", "cat dog")
#: The layouts by the data sets that are known for them. Each folder has two images; others are files.
LAYOUTS = {
    "class folders": Layout("cat dog", CLASSES),
    "train and test": Layout("train/cat train/dog test/cat test/dog", BOTH),
    "train, val and test": Layout(
        "train/cat train/dog val/cat val/dog test/cat test/dog",
        {("cat", "train"): 4, ("dog", "train"): 4, ("cat", "test"): 2, ("dog", "test"): 2},
    ),
    "val without test": Layout("train/cat train/dog val/cat val/dog", BOTH),
    "Intel scenes": Layout(
        "seg_train/seg_train/cat seg_train/seg_train/dog seg_test/seg_test/cat seg_test/seg_test/dog",
        BOTH,
        note="parts of a split by their names: 'seg_test/seg_test' (test), 'seg_train/seg_train' (train)",
    ),
    "Intel scenes with images to predict": Layout(
        "seg_train/seg_train/cat seg_train/seg_train/dog seg_test/seg_test/cat seg_test/seg_test/dog seg_pred/seg_pred",
        {**BOTH, (None, None): 2},
        note="Images in 'seg_pred' have no label, by the name of the folder.",
    ),
    "images to predict": Layout(
        "train/cat train/dog Submission", {**CLASSES, (None, None): 2}, note="Folder 'train' is a part of the data set"
    ),
    "parts with a common word next to others": Layout(
        "x_train/cat x_train/dog x_test/cat x_test/dog thumbs", reason="('x_test', 'x_train') and other folders"
    ),
    "parts of classes next to others": Layout(
        "car_train/cat car_train/dog test/cat test/dog extra",
        reason="--test 'photos",
        levels={1: {"car_train", "test", "extra"}},
    ),
    "training images next to others": Layout(
        "train/cat train/dog thumbs",
        reason="'train' is a part of a data set by its name",
        levels={1: {"train", "thumbs"}},
    ),
    "labeled and unlabeled": Layout(
        "labeled/cat labeled/dog unlabeled", {**CLASSES, (None, None): 2}, note="Images in 'unlabeled' have no label"
    ),
    "labeled and unlabeled without classes": Layout(
        "labeled unlabeled", reason="are parts of a data set by their names"
    ),
    "unlabeled next to classes": Layout("cat dog unlabeled", {**CLASSES, (None, None): 2}, note="have no label"),
    "a class of unlabeled things": Layout("cat unlabeled_bottles", {("cat", None): 2, ("unlabeled_bottles", None): 2}),
    "brain scans with a copy": Layout(
        "yes no brain_tumor_dataset/yes brain_tumor_dataset/no",
        reason="it may be a copy of them. If so, pass 'photos",
        levels={1: {"yes", "no", "brain_tumor_dataset"}},
    ),
    "chest scans with a copy": Layout(
        "train/cat test/cat chest_xray/train/cat chest_xray/test/cat",
        reason="'chest_xray' has subfolders with the names",
    ),
    "the class of a folder in itself": Layout("cat/cat dog/dog", CLASSES),
    "images next to one class": Layout(". cat", {("cat", None): 2, (None, None): 2}, note="Images directly in "),
    "images next to classes": Layout(". cat dog", {**CLASSES, (None, None): 2}, note="they are next to class folders"),
    "images next to splits": Layout(
        ". train/cat train/dog test/cat test/dog", {**BOTH, (None, None): 2}, note="they are next to class folders"
    ),
    "images next to the classes of splits": Layout(
        "train train/cat train/dog test/cat test/dog", {**BOTH, (None, "train"): 2}, note="Images directly in 'train'"
    ),
    "German": Layout(
        "Trainingsdaten/cat Trainingsdaten/dog Testdaten/cat Testdaten/dog", BOTH, note="parts of a split"
    ),
    "French": Layout("entraînement/cat entraînement/dog validation/cat validation/dog", BOTH, note="parts of a split"),
    "Spanish": Layout(
        "datos_entrenamiento/cat datos_entrenamiento/dog datos_prueba/cat datos_prueba/dog", BOTH, note="of a split"
    ),
    "Italian": Layout(
        "addestramento/cat addestramento/dog validazione/cat validazione/dog", BOTH, note="parts of a split"
    ),
    "Portuguese": Layout("treino/cat treino/dog teste/cat teste/dog", BOTH, note="parts of a split"),
    "classes below images": Layout(
        "amazon/images/cat amazon/images/dog dslr/images/cat dslr/images/dog",
        reason="the folders 'amazon', 'dslr' have the same subfolders ('cat', 'dog')",
        levels={1: {"amazon", "dslr"}, 3: {"cat", "dog"}},
    ),
    "training_set": Layout(
        "training_set/cat training_set/dog test_set/cat test_set/dog", BOTH, note="parts of a split"
    ),
    "Kaggle with labels": Layout("train/cat train/dog test1/cat test1/dog", BOTH, note="parts of a split"),
    "Kaggle without labels": Layout(
        "train/cat train/dog test1", {**CLASSES, (None, None): 2}, note="Images in 'test1' have no label"
    ),
    "unlabeled test, labeled val": Layout(
        "train/cat train/dog val/cat val/dog test", {**BOTH, (None, None): 2}, note="Images in 'test' have no label"
    ),
    "unlabeled next to splits": Layout(
        "train/cat train/dog test/cat test/dog unlabeled",
        {**BOTH, (None, None): 2},
        note="Images in 'unlabeled' have no",
    ),
    "unlabeled below a single folder": Layout(
        "data/train/cat data/train/dog data/test/cat data/test/dog data/unlabelled_images",
        {**BOTH, (None, None): 2},
        note="Images in 'data/unlabelled_images' have no label",
    ),
    "flat parts": Layout(
        "train_images test_images",
        reason="'test_images', 'train_images' are parts of a data set by their names, without class folders",
        levels={1: {"train_images", "test_images"}},
    ),
    "COCO": Layout(
        "train2017 val2017 annotations/a.json", reason="parts of a data set", levels={1: {"train2017", "val2017"}}
    ),
    "holdout": Layout("train/cat train/dog holdout/cat holdout/dog", BOTH, note="'holdout' (test)"),
    "hold-out": Layout("Train/cat Train/dog hold-out/cat hold-out/dog", BOTH, note="'hold-out' (test)"),
    "eval": Layout("train/cat train/dog eval/cat eval/dog", BOTH, note="'eval' (test)"),
    "trailing blanks": Layout("train\u00a0/cat train\u00a0/dog test/cat test/dog", BOTH, note="parts of a split"),
    "folds": Layout(
        "fold1/cat fold1/dog fold2/cat fold2/dog fold_3/cat fold_3/dog",
        {("cat", None): 6, ("dog", None): 6},
        note="images of one fold are never split",
        n_groups=3,
    ),
    "flat folds": Layout("fold0 fold1", reason="parts of a data set", levels={1: {"fold0", "fold1"}}),
    "folds of splits": Layout(
        "fold1/train/cat fold1/test/cat fold2/train/cat fold2/test/cat", reason="each contain parts of a split"
    ),
    "batches": Layout(
        "batch1/cat batch1/dog batch2/cat batch2/dog",
        {("cat", None): 4, ("dog", None): 4},
        note="'batch1', 'batch2' are parts of one data set",
    ),
    "flat batches": Layout(
        "HAM_images_part_1 HAM_images_part_2",
        reason="parts of a data set",
        levels={1: {"HAM_images_part_1", "HAM_images_part_2"}},
    ),
    "pets with masks": Layout(
        "images annotations/trimaps", reason="all images are in 'images'", levels={1: {"images", "annotations"}}
    ),
    "classes with masks": Layout(
        "images/cat images/dog masks/cat masks/dog", CLASSES, note="Images in 'masks' are ignored: they are masks"
    ),
    "VOC": Layout(
        "JPEGImages SegmentationClass SegmentationObject Annotations/1.xml", reason="all images are in 'JPEGImages'"
    ),
    "YOLO": Layout(
        "images/train images/val labels/train/1.txt labels/val/2.txt data.yaml", reason="object detection (YOLO)"
    ),
    "YOLO of Roboflow": Layout(
        "train/images valid/images train/labels/1.txt valid/labels/2.txt", reason="object detection (YOLO)"
    ),
    "masks in parts": Layout("train/images train/masks test/images test/masks", reason="parts of a data set"),
    "masks in parts of classes": Layout(
        "train/images/cat train/images/dog train/masks/cat test/images/cat test/images/dog", BOTH, note="are ignored"
    ),
    "masks in classes": Layout("cat/images cat/masks dog/images dog/masks", CLASSES, note="are ignored"),
    "one folder around all": Layout("data/cat data/dog", CLASSES, note="'data' contains all images and is not a class"),
    "two folders around all": Layout("data/raw-img/cat data/raw-img/dog", CLASSES, note="is not a class"),
    "one folder around a split": Layout("data/train/cat data/train/dog data/test/cat data/test/dog", BOTH),
    "splits of classes": Layout(
        "cat/train cat/test dog/train dog/test", BOTH, note="Each class folder has subfolders of the parts of a split"
    ),
    "MVTec": Layout(
        "bottle/train/good bottle/test/good bottle/test/bad cable/train/good cable/test/good cable/test/bad",
        reason="either may be the classes",
        levels={1: {"bottle", "cable"}, 3: {"good", "bad"}},
    ),
    "sites": Layout(
        "north/cat north/dog south/cat south/dog",
        reason=r"have the same subfolders ('cat', 'dog'), and either may be the classes",
        levels={1: {"north", "south"}, 2: {"cat", "dog"}},
    ),
    "Tiny ImageNet": Layout(
        "train/cat/images train/dog/images val/images",
        {**CLASSES, (None, None): 2},
        note="Images in 'val/images' have no label",
    ),
    "CycleGAN": Layout(
        "trainA trainB testA testB", reason="parts of a data set", levels={1: {"trainA", "trainB", "testA", "testB"}}
    ),
    "no training images": Layout(
        "val/cat val/dog test/cat test/dog",
        reason="either may be the classes",
        levels={1: {"val", "test"}, 2: {"cat", "dog"}},
    ),
    "parts next to a class": Layout(
        "train/cat test/cat extra", reason="('extra')", levels={1: {"train", "test", "extra"}}
    ),
    "trains among classes": Layout(
        "train car bus",
        {(name, None): 2 for name in ("train", "car", "bus")},
        note="'train' is read as a class. If these are training or test images, move them elsewhere.",
    ),
    "test images next to classes": Layout(
        "cat dog test", reason="'test' is no class by its name, next to", levels={1: {"cat", "dog", "test"}}
    ),
    "test images in a folder next to classes": Layout("data/cat data/dog data/val/val", reason="'val' is no class"),
    "several parts next to classes": Layout(
        "cat dog holdout eval images", reason="'eval', 'holdout', 'images' are no classes by their names"
    ),
    "ground truth next to classes": Layout("cat dog ground_truth", reason="'ground_truth' is no class by its name"),
    "copies next to classes": Layout("cat dog thumbnails", reason="move 'thumbnails' elsewhere"),
    "years above classes": Layout(
        "2020/cat 2020/dog 2021/cat",
        reason="'2020', '2021' have subfolders, and either may be the classes",
        levels={1: {"2020", "2021"}, 2: {"cat", "dog"}},
    ),
    "sites without a class": Layout(
        "north/cat north/dog south/cat",
        {("north", None): 4, ("south", None): 2},
        note="their subfolders ('cat', 'dog') are not. If they are, pass class_level=2",
    ),
    "masks next to classes": Layout("cat dog masks", reason="move 'masks' elsewhere"),
    "unlabeled and test images next to classes": Layout(
        "cat dog test unlabeled", reason="'test' is no class", note="Images in 'unlabeled' have no label"
    ),
    "faces with masks": Layout("mask no_mask other", {(name, None): 2 for name in ("mask", "no_mask", "other")}),
    "test images next to one class": Layout(
        "cat test", {("cat", None): 2, ("test", None): 2}, note="'test' is read as a class. If these are"
    ),
    "photos next to other styles": Layout("art photo sketch", {(name, None): 2 for name in ("art", "photo", "sketch")}),
    "valid and invalid": Layout("valid invalid", {("valid", None): 2, ("invalid", None): 2}),
    "tests among classes": Layout(
        "test_positive test_negative", {("test_positive", None): 2, ("test_negative", None): 2}
    ),
    "words that only contain parts": Layout(
        "contest training-shoes", {("contest", None): 2, ("training-shoes", None): 2}
    ),
    "one part": Layout("train/cat train/dog", CLASSES, note="'train' contains all images"),
    "one flat part": Layout("train", reason="all images are in 'train'", levels={1: {"train"}}),
    "dates in some classes": Layout("cat/2019 cat/2020 dog/2020", {("cat", None): 4, ("dog", None): 2}),
    "other subfolders in each folder": Layout(
        "pet/cat pet/dog tree/oak tree/fir",
        {("pet", None): 4, ("tree", None): 4},
        note="their subfolders ('cat', 'dog', 'fir' and 1 more) are not. If they are, pass class_level=2",
    ),
    "empty class": Layout("cat dog fish/notes.txt", CLASSES, note="Folders without images are no classes: 'fish'."),
    "folders of systems": Layout("cat dog lost+found #recycle cat/@eaDir/1.jpg", CLASSES),
    "flat": Layout(".", {(None, None): 2}),
}


def _names(layout: Layout) -> list[str]:
    """Return the names of the files of a layout."""
    names: list[str] = []
    for written in layout.folders.split(" "):
        folder = written.replace("\u00a0", " ")
        if "." in folder and folder != ".":
            names.append(folder)
        else:
            names += [f"{folder}/{number}.jpg".removeprefix("./") for number in (1, 2)]
    return names


def _as_folder(names: list[str], target: Path) -> Path:
    for name in names:
        path = target / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return target / "photos"


def _as_zip(names: list[str], target: Path) -> Path:
    with zipfile.ZipFile(target / "photos.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return target / "photos.zip"


def _as_tar(names: list[str], target: Path) -> Path:
    with tarfile.open(target / "photos.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return target / "photos.tar"


@pytest.mark.parametrize("make", [_as_folder, _as_zip, _as_tar])
@pytest.mark.parametrize("name", LAYOUTS)
def test_usual_layouts(name: str, make: Callable[[list[str], Path], Path], tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    source = make(_names(layout), tmp_path)
    table = find_images(source)
    if layout.reason:
        assert layout.reason in table.no_labels_reason.replace(f"'{source}", "'photos")
        assert set(table.labels) == {None}
        assert table.splits is None
    else:
        assert table.no_labels_reason == ""
        assert Counter((label, split) for _, label, split in table) == layout.rows
    assert layout.note in " ".join(table.notes)
    assert bool(layout.note) == bool(table.notes) or layout.reason
    assert len(set(table.groups or [])) == layout.n_groups
    for level, labels in layout.levels.items():
        assert f"--class-level {level})" in table.no_labels_reason
        assert set(find_images(source, class_level=level).labels) == labels


@pytest.mark.parametrize("make", [_as_folder, _as_zip, _as_tar])
def test_folders_that_reasons_name_are_sources(make: Callable[[list[str], Path], Path], tmp_path: Path) -> None:
    source = make(_names(Layout("x_train/cat x_train/dog x_test/cat thumbs yes data/yes data/no")), tmp_path)
    reason = find_images(source).no_labels_reason
    assert f"pass '{source}/x_train', and the images of '{source}/x_test' as test (--test '{source}/x_test')" in reason
    assert Counter(find_images(f"{source}/x_train").labels) == {"cat": 2, "dog": 2}
    assert find_images(f"{source}/x_test/").paths == [f"{source}/x_test/cat/{number}.jpg" for number in (1, 2)]
    assert find_images(f"{source}/data/yes/1.jpg").paths == [f"{source}/data/yes/1.jpg"]


@pytest.mark.parametrize("make", [_as_folder, _as_zip, _as_tar])
def test_classes_next_to_test_images_are_sources(make: Callable[[list[str], Path], Path], tmp_path: Path) -> None:
    source = make(_names(Layout("data/cat data/dog data/test")), tmp_path)
    reason = find_images(source).no_labels_reason
    assert f"pass them, '{source}/data/cat' '{source}/data/dog', or move 'test' elsewhere" in reason
    table = find_images([f"{source}/data/{name}" for name in ("cat", "dog")])
    assert (Counter(table.labels), table.notes) == ({"cat": 2, "dog": 2}, ())


def test_several_sources_with_a_folder_of_test_images_are_noted(tmp_path: Path) -> None:
    source = _as_folder(_names(Layout("cat dog test")), tmp_path)
    assert "'test' is read as a class" in find_images(sorted(source.iterdir())).notes[0]


@pytest.mark.parametrize("make", [_as_folder, _as_zip, _as_tar])
@pytest.mark.parametrize("folders", ["yes no brain/yes brain/no", "data/yes data/no data/brain/yes data/brain/no"])
def test_the_folder_that_is_a_copy_is_a_source(
    folders: str, make: Callable[[list[str], Path], Path], tmp_path: Path
) -> None:
    reason = find_images(make(_names(Layout(folders)), tmp_path)).no_labels_reason
    suggested = re.search(r"If so, pass '(.*?)'", reason)
    assert suggested is not None
    assert Counter(find_images(suggested[1]).labels) == {"yes": 2, "no": 2}


def test_several_sources_that_are_parts_of_a_split(tmp_path: Path) -> None:
    folder = _as_folder(["train_images/1.jpg", "test_images/2.jpg", "a/train/cat/1.jpg", "a/test/cat/2.jpg"], tmp_path)
    flat = find_images([folder / "train_images", folder / "test_images"])
    assert flat.labels == [None, None]
    assert "are parts of a split by their names, not classes" in flat.no_labels_reason
    deep = find_images([folder / "a/train", folder / "a/test"])
    assert (deep.labels, deep.splits, deep.no_labels_reason) == (["cat", "cat"], None, "")
    assert "pass test=find_images(" in deep.notes[0]
    classes = find_images([folder / "train_images", folder / "a/test/cat"])
    assert classes.labels == ["train_images", "cat"]


@pytest.mark.parametrize(
    ("folders", "level", "rows", "note", "n_groups"),
    [
        ("north/train/cat north/test/cat south/train/dog south/test/dog", 3, BOTH, "'test' (test), 'train' (train)", 0),
        ("data/train/cat data/train/dog data/test/cat data/test/dog", 3, BOTH, "'test' (test), 'train' (train)", 0),
        ("cat/train cat/test dog/train dog/test", 1, BOTH, "'test' (test), 'train' (train)", 0),
        ("fold1/cat fold2/dog", 2, CLASSES, "'fold1', 'fold2' are folds", 2),
        ("data/fold1/cat data/fold2/dog", 3, CLASSES, "are folds: images of one fold are never split", 2),
        ("train/cat test/dog extra/dog", 2, {("cat", None): 2, ("dog", None): 4}, "are one data set, not a split", 0),
        ("a/cat b/dog .", 2, {**CLASSES, (None, None): 2}, "they are above the class folders", 0),
        ("a/cat b/dog", 2, CLASSES, "", 0),
        ("fold1/train/cat fold1/test/cat", 3, {("cat", "train"): 2, ("cat", "test"): 2}, "parts of a split", 0),
    ],
)
def test_class_level_keeps_splits_and_folds(
    folders: str, level: int, rows: dict[tuple[str | None, str | None], int], note: str, n_groups: int, tmp_path: Path
) -> None:
    table = find_images(_as_folder(_names(Layout(folders)), tmp_path), class_level=level)
    assert Counter((label, split) for _, label, split in table) == rows
    assert note in " ".join(table.notes)
    assert bool(note) == bool(table.notes)
    assert len(set(table.groups or [])) == n_groups


def test_class_level_asks_for_one_fold_of_splits(tmp_path: Path) -> None:
    source = _as_folder(_names(Layout("fold1/train/cat fold1/test/cat fold2/train/cat fold2/test/cat")), tmp_path)
    table = find_images(source, class_level=3)
    assert f"Pass one of them as source, for example '{source}/fold1'" in table.no_labels_reason
    assert table.splits is None
    assert find_images(source / "fold1").splits == ["test"] * 2 + ["train"] * 2


def test_class_level_must_be_a_depth(tmp_path: Path) -> None:
    from featx.errors import OptionError

    source = _as_folder(["cat/1.jpg"], tmp_path)
    with pytest.raises(OptionError, match=r"class_level \(--class-level\) must be an integer of at least 1, got 0"):
        find_images(source, class_level=0)
