"""Options held to the recipe of an earlier fit: the same features, or an error that says why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from featx.errors import RecipeMismatchError
from featx.extraction.options import ExtractionOptions, Resolved


def resolve_with_recipe(
    options: ExtractionOptions, recipe: Mapping[str, Any], *, ignore: Collection[str] = ()
) -> Resolved:
    """Return what will run, if it gives the features of a recipe.

    Parameters
    ----------
    options : ExtractionOptions
    recipe : mapping
        As :meth:`featx.Recipe.as_dict` gave it.
    ignore : collection of str, default=()
        Parts of it that may differ.

    Raises
    ------
    RecipeMismatchError
        Here the options mean something else: other weights, another arithmetic of the CPU, another featx.
    """
    if "precision" not in ignore and recipe.get("precision") == "float32":
        # Any machine can do that, also one that would choose another by itself.
        options = dataclasses.replace(options, precision="float32")
    resolved = options.resolve()
    found = resolved.recipe.as_dict()
    differing = {
        name: (recipe.get(name), found.get(name))
        for name in {**recipe, **found}
        if name not in ignore and recipe.get(name) != found.get(name)
    }
    if differing:
        raise RecipeMismatchError(options.backbone, differing)
    return resolved
