"""Extract images into a feature matrix with a table of its rows and a table of failures: `featx extract`.

Most of this file is the documentation and signature of its public function.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from featx.backbones.layers import Layer
from featx.datasets.find import find_images
from featx.datasets.image_table import ImagesLike
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.streams import read_stream
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.extraction.writing.stream_to_file import extract_stream
from featx.extraction.writing.summary import ExtractionSummary
from featx.extraction.writing.table_to_file import extract_to_file
from featx.features.outputs import check_output
from featx.images.decode import MAX_PIXELS
from featx.images.image_lists import is_stream
from featx.system.option_checks import as_path
from featx.system.terminal.progress import ProgressFunction, reporting


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
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
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
    batch_size: int | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ExtractionSummary:
    """Extract features of image files into a ``.npy`` or Parquet file: what ``featx extract`` does.

    Next to a ``.npy`` file, a table with the same name and the suffix ``.csv`` lists row, path, label and digest of
    each image. A Parquet file has the columns ``path``, ``label``, ``digest`` and ``features`` (a list of floats of
    fixed size), and records the recipe. Both have columns ``split`` and ``group`` if the source defines them.
    ``.failures.csv`` lists the images that cannot be read, if any. Files with these names are replaced only if featx
    wrote them. The files are checked against each other and against the cache before they get their names.
    :func:`open_features` opens the result.

    Parameters
    ----------
    source : str, Path, DataFrame, ImageTable, or sequence of str or Path
        Folders, archives, tables, URLs and image files, see :func:`find_images`. Also a data set of Hugging Face that
        is streamed: it is read once, and a part of its images is in memory at a time.
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
    path_column : str or None, default=None
        Column of paths of a table, see :func:`find_images`.
    label_column : str, sequence of str or None, default=None
        Column of labels; several columns of 0 and 1 are tags.
    label_separator : str or None, default=None
        Separator of tags in the label column, such as ";".
    split_column, group_column : str or None, default=None
        Columns of splits and groups, which are written for each image: :func:`compare_features` uses them.
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
        Number of bits of pixels that are stored in 16 bits.
    window : (float, float) or None, default=None
        Lowest and highest value of pixels with more than 8 bits.
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
    batch_size : int or None, default=None
        Number of images per batch. None: 32 on the CPU, more on other devices.
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
    columns: dict[str, Any] = {
        "path_column": path_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "split_column": split_column,
        "group_column": group_column,
        "path_template": path_template,
        "root": root,
        "encoding": encoding,
        "class_level": class_level,
        "zip_encoding": zip_encoding,
    }
    with reporting(verbose, progress):
        if is_stream(source):
            parts = read_stream(source, SourceOptions.of(**columns))
            return extract_stream(parts, options.resolve(), path, cache=folder, on_error=on_error, options=options)
        table = find_images(source, **columns)
        return extract_to_file(table, options.resolve(), path, cache=folder, on_error=on_error, options=options)
