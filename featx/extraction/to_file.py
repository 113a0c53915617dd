"""Extract images into a feature matrix with a table of its rows and a table of failures: `featx extract`.

A third of this file is the documentation and signature of its public function.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featx.backbones.layers import Layer
from featx.datasets.failures import readable_positions
from featx.datasets.find import find_images
from featx.datasets.image_table import ImagesLike, ImageTable
from featx.datasets.pixel_range import pixel_range_note
from featx.errors import FeatxError, ResourceError
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions, Resolved, check_on_error, resolve_cache
from featx.extraction.recorded import portable_options
from featx.extraction.row_cache import RowCache, open_row_cache
from featx.features.csv_table import failures_path, write_failures
from featx.features.npy_writer import NpyWriter
from featx.features.outputs import OutputFiles, audit_error, check_output, describe_output, replacing_outputs
from featx.images.decode import MAX_PIXELS
from featx.system.array_types import DigestArray, FloatArray
from featx.system.formatting import format_count
from featx.system.notebook.html import TextResult
from featx.system.option_checks import as_path
from featx.system.terminal.progress import ProgressFunction, reporting, stage
from featx.system.terminal.tables import wrap_text

#: Number of rows that are checked at a time.
AUDIT_BLOCK_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class ExtractionSummary(TextResult):
    """Result of :func:`extract_images`; also the JSON of ``featx extract --json``.

    Attributes
    ----------
    rows : int
        Number of rows of the matrix.
    features : int
        Number of features.
    computed, cached, failed : int
        Number of images that were run through the network, that were in the cache, and that cannot be read.
    padded : int
        Number of truncated images whose missing part was filled.
    seconds, images_per_second : float
        Wall-clock time of the extraction, and number of images divided by it.
    backbone, precision, engine : str
        What was run.
    fingerprint : str
        Fingerprint of the recipe. It names the folder in the cache, unless views are averaged: then each view has a
        folder of its own.
    output : str
        Path of the matrix.
    notes : list of str
        Remarks on how the source was interpreted.

    See Also
    --------
    extract_images : Extract features of image files into a file.

    Examples
    --------
    >>> from featx import ExtractionSummary
    >>> counts = {"rows": 2, "features": 1024, "computed": 2, "cached": 0, "failed": 0, "padded": 0}
    >>> speed = {"seconds": 0.1, "images_per_second": 20.0}
    >>> recipe = {"backbone": "mobilenet", "precision": "float32", "engine": "openvino", "fingerprint": "53e3b296efc8"}
    >>> print(ExtractionSummary(**counts, **speed, **recipe, output="features.npy").as_text())
    2 rows of 1,024 features in features.npy; paths and labels in features.csv
    2 computed, 0 from the cache, 0 failed; 0.1 s, 20 images/s (mobilenet, float32, openvino)
    """

    rows: int
    features: int
    computed: int
    cached: int
    failed: int
    padded: int
    seconds: float
    images_per_second: float
    backbone: str
    precision: str
    engine: str
    fingerprint: str
    output: str
    notes: list[str] = dataclasses.field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return a human-readable summary."""
        output = Path(self.output)
        size = f"{format_count(self.rows, 'row')} of {format_count(self.features, 'feature')}"
        lines = [
            f"{size} in {describe_output(output)}",
            f"{self.computed} computed, {self.cached} from the cache, {self.failed} failed; "
            f"{self.seconds:.1f} s, {self.images_per_second:.0f} images/s "
            f"({self.backbone}, {self.precision}, {self.engine})",
        ]
        if self.padded:
            truncated = format_count(self.padded, "truncated image")
            lines.append(f"{truncated} padded: the missing part is gray or black")
        if self.failed:
            lines.append(f"Unreadable images and reasons: {failures_path(output)}")
        lines += map(wrap_text, self.notes)
        return "\n".join(lines)


def extract_images(
    source: ImagesLike | str | os.PathLike[str],
    output: str | os.PathLike[str] = "features.npy",
    *,
    backbone: Any = "mobilenet",
    weights: str | os.PathLike[str] | None = "imagenet",
    image_size: int | tuple[int, int] | None = None,
    layer: Layer | Sequence[Layer] | None = None,
    pooling: Literal["native", "avg", "max", "avgmax", "cls", "none"] = "native",
    tta: Literal["flip", "five-crop", "rotations"] | None = None,
    precision: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto",
    preprocessing: str | Sequence[Any] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    path_template: str | None = None,
    root: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    class_level: int | None = None,
    zip_encoding: str | None = None,
    resize: str = "native",
    bit_depth: int | None = None,
    window: tuple[float, float] | None = None,
    bands: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
    on_truncated: Literal["raise", "pad"] = "raise",
    on_error: Literal["skip", "raise"] = "skip",
    engine: Literal["auto", "openvino", "keras", "onnxruntime"] = "auto",
    device: str = "auto",
    batch_size: int = 32,
    cache: str | os.PathLike[str] | None = "auto",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ExtractionSummary:
    """Extract features of image files into a ``.npy`` or Parquet file: what ``featx extract`` does.

    Next to a ``.npy`` file, a table with the same name and the suffix ``.csv`` lists row, path, label and digest of
    each image. A Parquet file has the columns ``path``, ``label``, ``digest`` and ``features`` (a list of floats of
    fixed size), and records the recipe. ``.failures.csv`` lists the images that cannot be read, if any. Files with
    these names are replaced only if featx wrote them. The files are checked against each other and against the cache
    before they get their names. :func:`open_features` opens the result.

    Parameters
    ----------
    source : str, Path, DataFrame, ImageTable, or sequence of str or Path
        Folders, archives, tables, URLs and image files, see :func:`find_images`.
    output : str or Path, default="features.npy"
        Path of the feature matrix. It ends in ``.npy`` or ``.parquet``.
    backbone : str, Path or keras.Model, default="mobilenet"
        See :class:`FeatureExtractor`, also for the next seven parameters.
    weights : str, Path or None, default="imagenet"
        Weights of the network.
    image_size : int, (int, int) or None, default=None
        Height and width in pixels of the network input.
    layer : str, int, float, sequence of these or None, default=None
        Layer(s) to extract features from.
    pooling : {"native", "avg", "max", "avgmax", "cls", "none"}, default="native"
        How to pool the positions of a layer.
    tta : {"flip", "five-crop", "rotations"} or None, default=None
        Test-time augmentation.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"}, default="auto"
        Precision of the network.
    preprocessing : {"tf", "torch", "caffe", "none"}, (mean, scale) or None, default=None
        Pixel scaling of a custom model file.
    path_column, label_column, split_column : str or None, default=None
        Columns of a table, see :func:`find_images`.
    path_template : str or None, default=None
        Paths made of columns of a table.
    root : str, Path or None, default=None
        Where relative paths of a table start.
    encoding : str or None, default=None
        Encoding of a CSV, TSV, JSON Lines or text file, such as "cp1251". None: UTF-8 or UTF-16, else Latin-1.
    class_level : int or None, default=None
        Depth of the class folders.
    zip_encoding : str or None, default=None
        Encoding of undeclared names in a zip archive.
    resize : str, default="native"
        How to fit an image to `image_size`: "native", "squash", "crop" or "pad".
    bit_depth : int or None, default=None
        Number of bits of gray pixels that are stored in 16 bits.
    window : (float, float) or None, default=None
        Lowest and highest value of gray pixels with more than 8 bits.
    bands : (int, int, int) or None, default=None
        Bands of TIFF files that are red, green and blue. See :class:`FeatureExtractor`.
    max_pixels : int, default=178_956_970
        Maximum number of pixels of an image. Larger images are unreadable.
    on_truncated : {"raise", "pad"}, default="raise"
        How to handle JPEG and PNG files that end too early: treat them as unreadable, or fill the missing part.
    on_error : {"skip", "raise"}, default="skip"
        How to handle unreadable images. "skip": list them in the table of failures. "raise": raise an error for the
        first one.
    engine : {"auto", "openvino", "keras", "onnxruntime"}, default="auto"
        Library that runs the network.
    device : str, default="auto"
        Device that runs the network: "cpu", "cuda", "cuda:1" and so on; see :class:`FeatureExtractor`.
    batch_size : int, default=32
        Number of images per batch.
    cache : str, Path or None, default="auto"
        Path of the feature cache. "auto": ``FEATX_CACHE`` if set, else ``./cache``. None: no caching.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    ExtractionSummary
        Counts, speed and recipe.

    Raises
    ------
    OutputError
        The output cannot be written, or would replace a file that featx did not write.
    SourceError
        The source contains no images, or none of them can be read.
    UnreadableImageError
        An image cannot be read, with ``on_error="raise"``.
    OptionError, WeightsError, EngineError, StoreError
        See :meth:`FeatureExtractor.fit` and :meth:`FeatureExtractor.transform`.

    See Also
    --------
    open_features : Open the features.
    plan_job : Extract many images in shards, on several machines.
    FeatureExtractor : Extract features in memory, as a scikit-learn transformer.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import PIL.Image
    >>> from featx import extract_images, open_features
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     photos = Path(folder, "photos", "red")
    ...     photos.mkdir(parents=True)
    ...     PIL.Image.new("RGB", (32, 32), "red").save(photos / "1.png")
    ...     summary = extract_images(photos, f"{folder}/features.npy", backbone="color_histogram", cache=None)
    ...     open_features(summary.output).shape
    (1, 512)
    """
    path = Path(as_path("output", output))
    check_output(path, alternative="For a folder of shards, use plan_job and run_job.")
    options = ExtractionOptions(
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        layer=layer,
        pooling=pooling,
        resize=resize,
        bit_depth=bit_depth,
        window=window,
        bands=bands,
        precision=precision,
        engine=engine,
        device=device,
        batch_size=batch_size,
        max_pixels=max_pixels,
        on_truncated=on_truncated,
        preprocessing=preprocessing,
        tta=tta,
    )
    folder = resolve_cache(cache)
    table = find_images(
        source,
        path_column=path_column,
        label_column=label_column,
        split_column=split_column,
        path_template=path_template,
        root=root,
        encoding=encoding,
        class_level=class_level,
        zip_encoding=zip_encoding,
    )
    with reporting(verbose, progress):
        return extract_to_file(table, options.resolve(), path, cache=folder, on_error=on_error, options=options)


def extract_to_file(
    table: ImageTable,
    resolved: Resolved,
    output: Path,
    *,
    cache: Path | None,
    on_error: Literal["skip", "raise"] = "skip",
    options: ExtractionOptions | None = None,
    audit_block_rows: int = AUDIT_BLOCK_ROWS,
) -> ExtractionSummary:
    """Extract the images of a table into a ``.npy`` file. See :func:`extract_images`.

    Parameters
    ----------
    table : ImageTable
    resolved : Resolved
    output : Path
    cache : Path or None
        Cache folder. None: no caching.
    on_error : {"skip", "raise"}, default="skip"
    options : ExtractionOptions or None, default=None
        What `resolved` was resolved from: a Parquet file records it with the recipe. None: it records neither.
    audit_block_rows : int, default=4096
        Number of rows that are checked at a time at the end.
    """
    check_output(output)
    check_on_error(on_error)
    started = time.perf_counter()
    with replacing_outputs(output) as files:
        rows = NpyWriter(files.matrix, len(table), resolved.n_features)
        with _as_resource_error(), stage("extract", len(table), message=resolved.backbone.name) as progress:
            ledger = extract_into(
                rows, table.paths, resolved, cache=cache, raise_on_error=on_error == "raise", progress=progress
            )
        failures = ledger.failures
        kept = readable_positions(len(table), failures)
        rows.keep(kept)
        shape = len(kept), resolved.n_features
        files.write_table(lambda: _table_rows(table, ledger.digests, kept), shape, _record(resolved, options))
        row_cache = open_row_cache(cache, resolved.recipe, resolved.n_features)
        _audit(files, ledger.digests[kept], row_cache, audit_block_rows)
        write_failures(output, failures)
    seconds = time.perf_counter() - started
    return ExtractionSummary(
        rows=len(kept),
        features=resolved.n_features,
        computed=ledger.n_computed,
        cached=ledger.n_cached,
        failed=len(failures),
        padded=len(ledger.padded),
        seconds=round(seconds, 3),
        images_per_second=round(len(table) / seconds, 1),
        backbone=resolved.recipe.backbone,
        precision=resolved.recipe.precision,
        engine=resolved.engine_and_device,
        fingerprint=resolved.recipe.fingerprint,
        output=str(output),
        notes=[*table.all_notes(), *filter(None, [pixel_range_note(table.paths, resolved.recipe.window)])],
    )


def _record(resolved: Resolved, options: ExtractionOptions | None) -> dict[str, Any]:
    """Return recipe and options in JSON types; nothing if an option has none, such as a network in memory."""
    if options is None:
        return {}
    portable = portable_options(dataclasses.replace(options, precision=resolved.recipe.precision))
    try:
        json.dumps(portable)
    except TypeError:
        return {}
    return {"recipe": resolved.recipe.as_dict(), "options": portable}


@contextlib.contextmanager
def _as_resource_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise ResourceError(f"The operating system reported an error: {error}. Repeat the command.") from error


def _table_rows(table: ImageTable, digests: DigestArray, kept: Iterable[int]) -> Iterator[tuple[str, Any, str]]:
    for index in kept:
        yield table.paths[index], table.labels[index], digests[index].tobytes().hex()


def _audit(files: OutputFiles, digests: DigestArray, cache: RowCache, block_rows: int) -> None:
    """Read the files back: one finite row per line, in order, equal to the cached row of its digest."""
    checked = 0
    for rows, digests_of_block in files.read_back(block_rows):
        end = checked + len(rows)
        joined = np.frombuffer(bytes.fromhex("".join(digests_of_block)), dtype=np.uint8)
        listed = joined.reshape(len(digests_of_block), -1)
        is_valid = np.array_equal(listed, digests[checked:end]) and np.isfinite(rows).all()
        if not is_valid or not _agrees_with_cache(listed, rows, cache):
            raise audit_error(f"a row from {checked} to {end - 1} does not belong to its image")
        checked = end
    if checked != len(digests):
        raise audit_error(f"{len(digests)} rows, {checked} lines")


def _agrees_with_cache(digests: DigestArray, rows: FloatArray, cache: RowCache) -> bool:
    """Return whether these are the cached rows, up to the differences between engines and CPUs.

    Two processes may have computed the same image at the same time; the cache then has the row of either.
    """
    is_cached, expected = cache.read_rows(digests)
    rows = rows[is_cached]  # the others were cleared, or found corrupt, since they were read
    largest = np.abs(expected).max(axis=1, initial=0)
    return bool((np.abs(expected - rows).max(axis=1, initial=0) <= 0.05 * largest + 1e-6).all())
