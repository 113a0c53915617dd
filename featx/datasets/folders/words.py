"""The meaning of a folder name by its words: a part of a split, images, annotations, or anything else."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, TypeAlias

#: What a folder contains as part of a data set: images of a split, of a fold, or simply some of the images.
Kind: TypeAlias = Literal["train", "val", "test", "fold", "part"]

#: Words that mean a part of a data set, also in French, German, Italian, Portuguese and Spanish, without accents.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("train", "training", "trainings", "trn", "trainval"), "train"),
    **dict.fromkeys(("entrainement", "apprentissage", "addestramento", "allenamento"), "train"),
    **dict.fromkeys(("treino", "treinamento", "treinos", "entrenamiento", "entreno"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("validierung", "validierungs", "validazione", "validacao", "validacion"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
    **dict.fromkeys(
        ("tests", "teste", "testes", "prueba", "pruebas", "valutazione", "avaliacao", "evaluacion"), "test"
    ),
    **dict.fromkeys(("fold", "folds"), "fold"),
    **dict.fromkeys(("part", "batch", "chunk", "shard"), "part"),
}
_IMAGES = frozenset(
    ("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "jpegimages", "rgb", "inputs")
)
_ANNOTATIONS = frozenset(
    (
        *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "ann", "anno", "trimap", "trimaps"),
        *("segmentation", "segmentations", "gt", "groundtruth", "bbox", "bboxes", "boxes", "depth", "xmls", "json"),
    )
)
_LABELED = frozenset(("labeled", "labelled", "annotated", "supervised"))
#: Words of folders whose images have no label, as next to the splits of STL-10.
_UNLABELED = frozenset(("unlabeled", "unlabelled", "unsupervised", "unsup", "unannotated", "nolabel", "unknownlabel"))
#: Words of folders of images to predict. Next to parts of a split, these have no label either.
_PREDICTED = frozenset(
    ("pred", "preds", "predict", "prediction", "predictions", "submission", "submissions", "inference")
)
#: Words that do not distinguish a folder from others.
_FILLERS = _IMAGES | {
    *("data", "dataset", "datasets", "set", "sets", "folder", "split", "jpg", "jpeg", "png", "raw", "original", "full"),
    *("labeled", "labelled", "public", "private", "resized", "cropped", "final"),
}
#: Words of a folder of all images, unlike styles of images such as photos next to paintings.
_WHOLE = frozenset(("image", "images", "img", "imgs", "jpegimages"))
#: Words of folders of copies.
_COPIES = frozenset(("thumb", "thumbs", "thumbnail", "thumbnails", "previews", "backup", "backups", "tmp", "temp"))
#: Words of annotations that are also classes.
_OBJECTS = frozenset(("mask", "label", "depth"))
#: Training images, but also a class of vehicles.
_VEHICLES = frozenset(("train", "trains"))
#: Words of columns of flags, such as ``is_test``.
_FLAG_WORDS = frozenset(("is", "in", "for", "flag", "est", "ist", "es"))
#: Ends of words that are written together, as in ``trainset``.
_ENDS = ("sets", "set", "data", "daten", "images", "imgs", "bilder")
_WORD = re.compile(r"[^\W\d_]+")
#: Where CamelCase has a new word.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclasses.dataclass(frozen=True)
class FolderName:
    """A folder name and what its words mean.

    Attributes
    ----------
    name : str
    kind : {"train", "val", "test", "fold", "part"} or None
        Part of a data set that the name means. None: none, or several.
    rest : tuple of str
        Words that distinguish the folder from others of the same kind, in lower case.
    is_images, is_annotations : bool
        Whether the name means images or annotations, and nothing more specific.
    is_labeled : bool
        Whether the name means images with labels, and nothing more specific.
    is_unlabeled, is_only_unlabeled : bool
        Whether the name means images without labels, next to parts of a split and in any case.

    Examples
    --------
    >>> FolderName.parse("seg_train").kind, FolderName.parse("test 2").kind, FolderName.parse("contest").kind
    ('train', 'test', None)
    """

    name: str
    kind: Kind | None
    rest: tuple[str, ...]
    is_images: bool
    is_annotations: bool
    is_labeled: bool
    is_unlabeled: bool
    is_only_unlabeled: bool

    @classmethod
    def parse(cls, name: str) -> FolderName:
        """Return the meaning of a folder name. Anything that is not a letter separates its words."""
        words = [_without_end(word) for word in words_of(name)]
        kinds = {_KINDS[word] for word in words if word in _KINDS}
        others = [word for word in words if word not in _KINDS]
        return cls(
            name,
            kind=_one_kind(kinds, has_number=any(character.isdigit() for character in name)),
            rest=tuple(word for word in others if word not in _FILLERS),
            is_images=not kinds and not _IMAGES.isdisjoint(others) and _FILLERS.issuperset(others),
            is_annotations=not _ANNOTATIONS.isdisjoint(others),
            is_labeled=not kinds and not _LABELED.isdisjoint(others) and (_FILLERS | _LABELED).issuperset(others),
            is_unlabeled=not kinds and not (_UNLABELED | _PREDICTED).isdisjoint(others),
            is_only_unlabeled=not _UNLABELED.isdisjoint(others) and (_FILLERS | _UNLABELED).issuperset(words),
        )


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case, without accents.

    Examples
    --------
    >>> words_of("TrainSet_01"), words_of("hold-out"), words_of("entraînement")
    (['train', 'set'], ['holdout'], ['entrainement'])
    """
    letters = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    words = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", letters))]
    for first, second in (("hold", "out"), ("ground", "truth")):
        if first in words and words[words.index(first) + 1 :][:1] == [second]:
            index = words.index(first)
            words[index : index + 2] = [first + second]
    return words


def split_kind(name: str) -> Kind | None:
    """Return the part of a split that a value of a split column means, or None if it is unknown."""
    kind = FolderName.parse(name).kind
    return kind if kind in ("train", "val", "test") else None


def parts_next_to_classes(names: Sequence[FolderName]) -> list[FolderName]:
    """Return the folders that are no classes by their names: test images, all images, copies, or masks.

    Examples
    --------
    >>> names = map(FolderName.parse, ("cat", "dog", "test_images", "masks", "train", "photo"))
    >>> [name.name for name in parts_next_to_classes(list(names))]
    ['test_images', 'masks']
    """
    masks = [name for name in names if name.is_annotations]
    has_opposite = any("invalid" in name.rest for name in names)
    return [
        name
        for name in names
        if (name.kind in ("val", "test") and not name.rest and not has_opposite)
        or (name.kind == "train" and not name.rest and name.name.lower() not in _VEHICLES)
        or (name.is_images and not _WHOLE.isdisjoint(words_of(name.name)))
        or _COPIES.issuperset(words_of(name.name) or [""])
        or (masks == [name] and (_ANNOTATIONS - _OBJECTS | _FILLERS).issuperset(words_of(name.name)))
    ]


def flag_kind(name: str) -> Kind | None:
    """Return the split that a column of 0 and 1 means by its name, or None.

    Examples
    --------
    >>> flag_kind("is_test"), flag_kind("Valid"), flag_kind("test_result")
    ('test', 'val', None)
    """
    return split_kind(name) if set(FolderName.parse(name).rest) <= _FLAG_WORDS else None


def _without_end(word: str) -> str:
    """Return the first word of two that are written together, if it is the name of a part."""
    for end in _ENDS:
        if word.endswith(end) and word[: -len(end)] in _KINDS:
            return word[: -len(end)]
    return word


def _one_kind(kinds: set[Kind], *, has_number: bool) -> Kind | None:
    if kinds >= {"train", "val"}:  # trainval
        kinds = kinds - {"val"}
    if kinds & {"train", "val", "test"}:
        kinds = kinds - {"part", "fold"}  # a part of the training images, or the training images of a fold
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    return None if kind in ("fold", "part") and not has_number else kind
