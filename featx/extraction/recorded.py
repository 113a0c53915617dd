"""Options and recipes that were recorded earlier: in a job, a model file or next to features."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np

from featx.backbones.described import using_description
from featx.backbones.layers import Layer, Pooling
from featx.backbones.weights import check_local_weights
from featx.errors import RecipeMismatchError, did_you_mean
from featx.extraction.engines.archived_graph import ArchivedGraph
from featx.extraction.engines.engine import PRECISIONS, EngineName, PrecisionName
from featx.extraction.options import ExtractionOptions, Resolved
from featx.recipe import recipe_differences
from featx.system.files import remote

#: Options that concern one machine only.
_MACHINE_OPTIONS = ("engine", "device", "batch_size")


def portable_options(options: Any) -> dict[str, Any]:
    """Return options that are not at their default, in JSON types, without those that concern one machine only.

    Parameters
    ----------
    options : ExtractionOptions or FeatureExtractor
    """
    portable: dict[str, Any] = {}
    for field in dataclasses.fields(ExtractionOptions):
        value = getattr(options, field.name)
        if field.name in _MACHINE_OPTIONS or value is field.default:
            continue
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if value != field.default:
            portable[field.name] = list(value) if isinstance(value, tuple) else value
    return portable


def resolve_with_recipe(
    options: ExtractionOptions,
    recipe: Mapping[str, Any],
    *,
    ignore: Collection[str] = (),
    archived: ArchivedGraph | None = None,
) -> Resolved:
    """Return what to run, with a recipe that equals the recorded one.

    A precision that this CPU does not support is no difference: cached rows need no network, and the engine refuses to
    start.

    Parameters
    ----------
    options : ExtractionOptions
    recipe : mapping
        Recorded recipe, see :meth:`featx.Recipe.as_dict`.
    ignore : collection of str, default=()
        Fields of the recipe that may differ.
    archived : ArchivedGraph or None, default=None
        Graph in a model file. If it is that of the recipe, no weights are needed.

    Raises
    ------
    RecipeMismatchError
        The options have another recipe on this machine: other weights or another version of featx.
    """
    precision = options.precision
    if "precision" in ignore:
        ignore = {*ignore, "calibration"}  # a part of precision "int8"
    elif (recorded := recipe.get("precision")) in PRECISIONS:
        precision = recorded
    resolved = _resolve_archived(options, precision, recipe, archived)
    if resolved is None:
        with using_description(""):  # the network itself is needed
            resolved = dataclasses.replace(options, precision=precision).resolve()
    if differences := recipe_differences(recipe, resolved.recipe.as_dict(), ignore=ignore):
        raise RecipeMismatchError(options.backbone, differences)
    return resolved


def _resolve_archived(
    options: ExtractionOptions, precision: PrecisionName, recipe: Mapping[str, Any], archived: ArchivedGraph | None
) -> Resolved | None:
    """Return what to run with the graph in a model file; None if it is not that of the options."""
    if archived is None or not isinstance(recipe.get("weights"), str):
        return None
    with using_description(archived.network):
        options = dataclasses.replace(options, precision=precision)
    resolved = options.resolve(weights_digest=recipe["weights"])
    if resolved.engine in ("openvino", "onnxruntime") and archived.fits(resolved.backbone, resolved.recipe):
        return dataclasses.replace(resolved, archived=archived, options=options)
    check_local_weights(options.weights, archived.path)
    return None


class ExtractionParameters(TypedDict, total=False):
    """Keyword arguments of functions that accept every option of an extraction, as types for checkers and editors.

    A dictionary of some of them. :class:`FeatureExtractor` describes each.

    See Also
    --------
    plan_job : Plan a job with these options.

    Examples
    --------
    >>> from featx import ExtractionParameters
    >>> options: ExtractionParameters = {"backbone": "color_histogram", "image_size": 64}
    >>> sorted(options)
    ['backbone', 'image_size']
    """

    backbone: Any
    weights: str | os.PathLike[str] | None
    image_size: int | tuple[int, int] | None
    layer: Layer | Sequence[Layer] | None
    pooling: Pooling
    resize: str
    precision: PrecisionName
    engine: EngineName
    device: str
    batch_size: int | None
    max_pixels: int
    on_truncated: Literal["raise", "pad"]
    preprocessing: str | Sequence[Any] | None
    tta: Literal["flip", "five-crop", "rotations"] | None
    bit_depth: int | None
    window: tuple[float, float] | None
    bands: Sequence[int] | None


def options_of_call(function: str, keywords: Mapping[str, Any]) -> ExtractionOptions:
    """Return the options among the keyword arguments of a function.

    Raises
    ------
    TypeError
        An argument has another name.
    """
    names = [field.name for field in dataclasses.fields(ExtractionOptions)]
    for name in keywords:
        if name not in names:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}.{did_you_mean(name, names)}")
    return ExtractionOptions(**keywords)


def with_absolute_paths(options: ExtractionOptions) -> ExtractionOptions:
    """Return options with absolute paths of weights and model files, which hold in any working folder."""
    paths = {}
    weights = os.fspath(options.weights) if options.weights is not None else ""
    if weights and not remote.is_url(weights) and os.path.isfile(weights):
        paths["weights"] = os.path.abspath(weights)
    if os.path.exists(options.backbone) and (os.sep in options.backbone or "." in options.backbone):
        paths["backbone"] = os.path.abspath(options.backbone)
    return dataclasses.replace(options, **paths) if paths else options  # type: ignore[arg-type]
