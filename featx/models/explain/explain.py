"""Images → where a model saw what decided it, as pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import PIL.PngImagePlugin

from featx.errors import UnreadableImageError
from featx.extraction.options import resolve_cache
from featx.images.image import describe_image
from featx.models.explain.activation_maps import Attribution, decode_pixels
from featx.models.explain.explainer import Explainer
from featx.models.explain.overlay import beside
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.system.files.atomic import atomic_write, make_folder
from featx.system.files.output_paths import as_output_error, check_output_file, output_error

#: By which a name is taken for that of a picture, and not of a folder of them.
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".svg", ".pdf")
FLAT = "no covered square changed the score"
#: Near the beginning of every picture: such a one may be replaced.
_MARK = b"Software\0featx"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What was seen in one image.

    Attributes
    ----------
    path : str
    attribution : Attribution or None
        None if the image cannot be read.
    error : str
        Why it cannot be read, or "".
    file : str
        The picture that was written, or "".
    """

    path: str
    attribution: Attribution | None
    error: str = ""
    file: str = ""

    @property
    def note(self) -> str:
        """What to know of the picture, in words."""
        return FLAT if self.attribution is not None and not self.attribution.map.any() else ""


def explain_images(
    model: Model | str | os.PathLike[str],
    images: Sequence[Any],
    *,
    label: Any = None,
    method: str = "auto",
    folder: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    **options: Any,
) -> list[Explanation]:
    """Return where in images the attribution lies for what a model decides; one that cannot be read costs no other.

    Parameters
    ----------
    model : str, Path or Model
        A file that ``featx train`` or :func:`featx.save_pipeline` wrote.
    images : sequence of images
        As for :class:`featx.FeatureExtractor`.
    label : class, default=None
        The class whose attribution to show; None is the one that the model decides for.
    method : {"auto", "activation", "occlusion"}, default="auto"
        See :class:`featx.models.explain.explainer.Explainer`.
    folder : str, Path or None, default=None
        Write a picture of each there.
    cache : str, Path or None, default="auto"
        Where compiled networks are kept.
    **options
        ``max_pixels`` and ``on_truncated``, where they are to be others than in training.

    Raises
    ------
    ModelFileError, OptionError, RecipeMismatchError, WeightsError
        The model or an option cannot be used.
    OutputError
        A picture cannot be written.
    """
    if folder is not None:
        check_output_folder(Path(folder))
    found = model if isinstance(model, Model) else read_model(model)
    kept = resolve_cache(cache)
    explainer = Explainer(found, method=method, compiled=kept / "compiled" if kept else None, **options)
    return list(explain_each(explainer, images, label=label, folder=None if folder is None else Path(folder)))


def check_output_folder(folder: Path) -> None:
    """Raise if this is no name for a folder of pictures, before any is drawn.

    Raises
    ------
    OutputError
    """
    if folder.is_dir():
        return
    if folder.exists():
        problem = "a file with this name exists"
    elif folder.suffix.lower() in _IMAGE_SUFFIXES:
        problem = "expected a folder, got the name of an image file"
    else:
        return
    raise output_error(folder, problem, "Pass the name of a folder, such as -o maps/.")


def explain_each(
    explainer: Explainer, sources: Sequence[Any], *, label: Any, folder: Path | None
) -> Iterator[Explanation]:
    """Yield the explanation of each image, its picture written."""
    used: set[str] = set()
    for source in sources:
        path = describe_image(source)
        try:
            seen = decode_pixels(source, explainer.resolved)
        except UnreadableImageError as error:
            yield Explanation(path, None, error.reason)
            continue
        attribution = explainer.explain(seen, label)
        file = ""
        if folder is not None:
            of = hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=8).hexdigest()
            file = _written(attribution, folder, _file_name(path, attribution, used, folder, of), of)
        yield Explanation(path, attribution, file=file)


def _file_name(path: str, attribution: Attribution, used: set[str], folder: Path, of: str) -> str:
    """Return a name that tells the image and the class, and that no picture of another image has."""
    parts = [Path(path).stem, *([] if attribution.label is None else [str(attribution.label)])]
    stem = ".".join(re.sub(r"[^\w.-]+", "_", part)[:80] or "image" for part in parts)
    name, number = f"{stem}.attribution.png", 1
    while name.casefold() in used or _is_of_another(folder / name, of):
        number += 1
        name = f"{stem}-{number}.attribution.png"
    used.add(name.casefold())
    return name


def _beginning(path: Path) -> bytes:
    """Return where a picture says what it is; nothing if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read(200)
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _is_of_another(path: Path, of: str) -> bool:
    beginning = _beginning(path)
    return _MARK in beginning and of.encode() not in beginning


def _written(attribution: Attribution, folder: Path, name: str, of: str) -> str:
    path = folder / name
    remedy = "Choose another folder, or free some disk space."
    with as_output_error(path, remedy):
        make_folder(folder)
        check_output_file(path, lambda existing: _MARK in _beginning(existing), remedy=remedy)
        information = PIL.PngImagePlugin.PngInfo()
        information.add_text("Software", "featx")
        information.add_text("Source", of)  # a digest of the path: the path itself is private
        with atomic_write(path) as temporary:
            beside(attribution).save(temporary, format="PNG", pnginfo=information)
    return str(path)
