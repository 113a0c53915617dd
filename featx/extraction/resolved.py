"""Resolve options so that they have a recorded recipe, of a fitted extractor, a job or a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from featx.errors import RecipeMismatchError
from featx.extraction.options import ExtractionOptions, Resolved


def resolve_with_recipe(
    options: ExtractionOptions, recipe: Mapping[str, Any], *, ignore: Collection[str] = ()
) -> Resolved:
    """Return what to run, with a recipe that equals the recorded one.

    Parameters
    ----------
    options : ExtractionOptions
    recipe : mapping
        Recorded recipe, see :meth:`featx.Recipe.as_dict`.
    ignore : collection of str, default=()
        Fields of the recipe that may differ.

    Raises
    ------
    RecipeMismatchError
        The options have another recipe on this machine: other weights, another CPU or another version of featx.
    """
    if "precision" in ignore:
        ignore = {*ignore, "calibration"}  # a part of precision "int8"
    elif (recorded := recipe.get("precision")) in ("float32", "int8"):
        # Every machine supports them, also one whose default is another precision.
        options = dataclasses.replace(options, precision=recorded)
    resolved = options.resolve()
    current = resolved.recipe.as_dict()
    differences = {
        name: (recipe.get(name), current.get(name))
        for name in {**recipe, **current}
        if name not in ignore and recipe.get(name) != current.get(name)
    }
    if differences:
        raise RecipeMismatchError(options.backbone, differences)
    return resolved
