"""Collections of images: what callers may pass for several images, as a sequence; and names of images in memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from featx.errors import InputError, UnreadableImageError
from featx.images.arrays import as_batch
from featx.images.formats import IMAGE_SUFFIXES
from featx.system.formatting import first_line

_KINDS_OF_NUMBERS = "fuib"
#: Methods that read a table into memory.
LAZY_METHODS = ("toPandas", "collect", "compute", "to_table", "to_arrow_table", "read_all")


class NamedImage(str):
    """Name of an image in memory. It is a str, so that it can be used like a path, and is read from its collection.

    Parameters
    ----------
    name : str
    images : sequence
        Collection that contains the image. It may decode images when they are taken from it.
    index : int

    Examples
    --------
    >>> image = NamedImage("images[0]", [b"..."], 0)
    >>> image, image.load()
    ('images[0]', b'...')
    """

    _images: Sequence[Any]
    _index: int

    def __new__(cls, name: str, images: Sequence[Any], index: int) -> NamedImage:
        """Return a name."""
        image = super().__new__(cls, name)
        image._images, image._index = images, index
        return image

    def __eq__(self, other: object) -> bool:
        """Return whether another name means the same image, or a str is this name."""
        if isinstance(other, NamedImage):
            return self._images is other._images and self._index == other._index
        return str.__eq__(self, other) is True

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy is made. Copies of several names share the collection."""
        return type(self), (str(self), self._images, self._index)

    def renamed(self, name: str) -> NamedImage:
        """Return another name of the same image."""
        return NamedImage(name, self._images, self._index)

    def load(self) -> Any:
        """Return the image.

        Raises
        ------
        UnreadableImageError
            The collection cannot return it.
        """
        try:
            return self._images[self._index]
        except MemoryError:
            raise
        except Exception as error:  # collections of other libraries decode images here
            raise UnreadableImageError(first_line(error)) from error


def name_images(images: Sequence[Any], name: str) -> list[str]:
    """Return the path of each image, and a name for each one that is in memory.

    Parameters
    ----------
    images : sequence of images
    name : str
        Name of the collection.

    Examples
    --------
    >>> name_images(["a.jpg", b"..."], "images")
    ['a.jpg', 'images[1]']
    """
    return [
        os.fspath(image) if isinstance(image, str | os.PathLike) else NamedImage(f"{name}[{index}]", images, index)
        for index, image in enumerate(images)
    ]


def name_rows(images: Sequence[Any], name: str, first: int = 0) -> list[str]:
    """Return a name for each image of a collection, which is not read before an image is. Numbers begin at `first`.

    Examples
    --------
    >>> name_rows([b"..."], "images")
    ['images[0]']
    """
    return [NamedImage(f"{name}[{first + index}]", images, index) for index in range(len(images))]


def listed_images(names: Iterable[Any]) -> Iterator[Any]:
    """Yield the images of all lists that names belong to. Other collections would decode an image when it is taken.

    Examples
    --------
    >>> list(listed_images(["a.jpg", *name_images([b"..."], "images")]))
    [b'...']
    """
    lists = {id(name._images): name._images for name in names if isinstance(name, NamedImage)}
    for images in lists.values():
        if isinstance(images, list | tuple):
            yield from images


def is_stream(source: Any) -> bool:
    """Return whether an object is a data set that is read once, in order, or maps the names of splits to such."""
    if isinstance(source, Mapping):
        return bool(source) and all(map(is_stream, source.values()))
    return hasattr(source, "column_names") and hasattr(source, "with_format") and not hasattr(source, "__len__")


def is_lazy_table(source: Any) -> bool:
    """Return whether an object is a table that is not in memory: of polars, dask, DuckDB, Spark or pyarrow."""
    is_table = any(hasattr(type(source), name) for name in ("columns", "schema"))  # without resolving them
    return is_table and any(hasattr(type(source), name) for name in LAZY_METHODS)


def stream_error(name: str, reason: str) -> InputError:
    """Return the error for a data set that is read once, in order, where its images must be in memory."""
    return InputError(
        f"{name} must {reason}, got a streamed data set. Extract it once with extract_images(dataset, 'features.npy') "
        "and use the features, or write it to a file, and find its images there: "
        "dataset.to_parquet('images.parquet')."
    )


def as_image_list(images: Any, name: str = "images") -> Sequence[Any]:
    """Return the images of any accepted collection as a sequence.

    Parameters
    ----------
    images : list, tuple, array, Series, one-column table, ImageTable, Dataset or iterable
        Paths, bytes, Pillow images, arrays, files, or dicts of ``bytes`` and ``path``; or one array of shape (n, h, w),
        (n, h, w, channels) or (n, channels, h, w). An iterator is read to its end.
    name : str, default="images"
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        `images` is a single image, a table of several columns, a set, or an array without pixels or paths.

    Examples
    --------
    >>> as_image_list(np.array(["a.jpg", "b.jpg"]))
    ['a.jpg', 'b.jpg']
    >>> len(as_image_list(np.zeros((5, 8, 8, 3), dtype=np.uint8)))
    5
    """
    _check_collection(images, name)
    if hasattr(images, "paths") and hasattr(images, "labels"):  # an ImageTable, which this room does not know
        images = images.paths
    if hasattr(images, "column_names") or (hasattr(images, "columns") and len(getattr(images, "shape", ())) == 2):
        images = _only_column(images, name)
    if hasattr(images, "to_pylist"):  # pyarrow
        return list(images.to_pylist())
    if not isinstance(images, np.ndarray) and hasattr(images, "to_numpy"):
        images = images.to_numpy()
    elif not isinstance(images, list | tuple) and hasattr(images, "__array__"):
        images = as_numpy(images, name)
    if isinstance(images, np.ndarray):
        return _images_in_array(images, name)
    if type(images).__module__.partition(".")[0] == "datasets":  # a column that decodes an image when it is taken
        return name_rows(images, name)
    if isinstance(images, list | tuple):
        _check_items(images, images, name)
        return images
    try:
        iterator = iter(images)
    except TypeError:
        raise InputError(
            f"{name} must be a list, tuple, array, Series or one-column DataFrame of paths, bytes, Pillow images or "
            f"arrays, got {type(images).__name__}. Pass for example a list of paths."
        ) from None
    first = list(itertools.islice(iterator, 1))
    _check_items(first, images, name)  # before the others are read
    return [*first, *iterator]


def _check_items(items: Sequence[Any], images: Any, name: str) -> None:
    """Raise an error for pairs of images and labels, and for rows, as data sets of other libraries yield them."""
    first = items[0] if items else None
    if isinstance(first, list | tuple) and first and _is_image(first[0]):
        if hasattr(images, "samples"):  # of torchvision
            remedy = "[path for path, _ in dataset.samples] and y=dataset.targets"
        elif getattr(first[0], "ndim", 0) == 4:
            remedy = "numpy.concatenate([batch[0] for batch in batches]) and y=numpy.concatenate([batch[1] for ...])"
        else:
            remedy = "[pair[0] for pair in pairs] and y=[pair[1] for pair in pairs]"
        raise InputError(
            f"{name} must be images, got a {type(first).__name__} of {len(first)} at index 0. Pass images and labels "
            f"separately: {remedy}."
        )
    if isinstance(first, Mapping) and first and not {"bytes", "path"} & set(first):
        key = next((key for key, value in first.items() if not str(key).startswith("__") and _is_image(value)), None)
        archives = " For WebDataset, pass the archives: featx.find_images('train-{000..099}.tar')."
        raise InputError(
            f"{name} must be images, got a dict with the keys {', '.join(map(repr, list(first)[:8]))} at index 0. "
            f"Pass the images alone: [row[{'image' if key is None else key!r}] for row in rows]."
            f"{archives if '__key__' in first else ''}"
        )


def _is_image(value: Any) -> bool:
    """Return whether an object may be an image: a path, bytes, a Pillow image, or an array of pixels."""
    is_array = hasattr(value, "__array__") and len(getattr(value, "shape", ())) > 1
    return isinstance(value, str | bytes | os.PathLike) or hasattr(value, "getexif") or is_array


def as_numpy(array: Any, name: str = "images") -> np.ndarray[Any, Any]:
    """Return an array of another library, such as a tensor, as a NumPy array.

    Raises
    ------
    InputError
        It is on another device, or takes part in gradients.
    """
    try:
        return np.asarray(array)
    except MemoryError:
        raise
    except Exception as error:  # of another library
        raise InputError(
            f"{name} must be arrays that NumPy can read, got {type(array).__name__}: {first_line(error)}. Pass "
            "tensors of torch with .detach().cpu()."
        ) from error


def _check_collection(images: Any, name: str) -> None:
    if is_stream(images):
        raise stream_error(name, "have a length")
    if is_lazy_table(images):
        raise InputError(
            f"{name} must be in memory, got {type(images).__name__}. Find its images: featx.find_images(table)."
        )
    kind = type(images).__name__
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
        raise InputError(f"{name} must be a list of images, got a single {kind}. {_single_remedy(images)}")
    if isinstance(images, Mapping):
        first = next(iter(images.values()), None)
        remedy = "list(...) of it"
        if hasattr(first, "column_names") or hasattr(first, "columns"):
            remedy = "featx.find_images(images)"
        elif isinstance(first, list | tuple) or getattr(first, "ndim", 0) > 0:
            remedy = "featx.find_images(pandas.DataFrame(images))"
        raise InputError(f"{name} must be a list of images, got {kind}. Pass {remedy}.")
    if isinstance(images, Set):
        raise InputError(f"{name} must have an order, got {kind}. Pass list(...) of it.")
    if hasattr(images, "mode") and hasattr(images, "getexif"):
        raise InputError(f"{name} must be a list of images, got a single Pillow image. Put it in a list: [image].")
    if hasattr(images, "read"):
        raise InputError(f"{name} must be a list of images, got a single file. Put it in a list: [file].")


def _single_remedy(image: Any) -> str:
    """Return what to pass instead of a single path: a list, or the images of a folder, an archive or a table."""
    if not isinstance(image, str | os.PathLike):
        return "Put it in a list: [image]."
    path = os.fspath(image)
    if path.endswith(".npy") or os.path.exists(os.path.join(path, "job.json")):
        return f"Open the features: featx.open_features({path!r})."
    is_image = os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES
    return "Put it in a list: [image]." if is_image else f"Find its images: featx.find_images({path!r})."


def _only_column(table: Any, name: str) -> Any:
    """Return the column of a one-column table of pandas, polars, pyarrow or datasets."""
    names = list(table.column_names if hasattr(table, "column_names") else table.columns)
    if len(names) == 1:
        return table.iloc[:, 0] if hasattr(table, "iloc") else table[names[0]]
    if hasattr(table, "shape") and (values := np.asarray(table)).dtype.kind in _KINDS_OF_NUMBERS:
        return as_batch(values, name)  # flat rows: an error that names their reshape
    raise InputError(
        f"{name} must be one column, got {len(names)} columns ({', '.join(map(str, names[:5]))}). "
        f"Select one: X[[{names[0]!r}]], use a ColumnTransformer, or find the images of the table: "
        "featx.find_images(table)."
    )


def _images_in_array(array: np.ndarray[Any, Any], name: str) -> Sequence[Any]:
    if array.dtype.kind in "OUST":
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1:
            return list(array.tolist())
        raise InputError(f"{name} must be one column, got an array of shape {array.shape}. Select one: X[:, [0]].")
    is_column = array.ndim == 1 or array.shape[1:] == (1,)
    if is_column and array.size == 0:
        return []
    if is_column and array.dtype.kind == "f" and np.isnan(array).all():
        return list(array.ravel().tolist())  # a column in which all images are missing
    if array.dtype.kind in _KINDS_OF_NUMBERS and array.ndim > 1:
        return as_batch(array, name)
    raise InputError(f"{name} must be paths or pixels of shape (n, h, w, 3), got {array.dtype} of shape {array.shape}.")
