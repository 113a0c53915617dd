"""A cache in terms of its backbones: which recipes use one, and what there is in words."""

from __future__ import annotations

from featx.backbones.files.network_file import MODEL_FILE, is_model_path, open_network_file
from featx.backbones.preprocessing import format_preprocessing
from featx.backbones.registry import available_backbones
from featx.errors import OptionError, did_you_mean
from featx.store.info import CacheInfo, RecipeInfo
from featx.store.layout import DAMAGED
from featx.system.formatting import format_bytes, format_count

#: How to say which network in a file is meant.
_OF_OWN = f" For one {MODEL_FILE!r}, pass the path of its file, or the fingerprint that `featx cache info` shows."


def find_recipes(cache: CacheInfo, backbone: str) -> list[RecipeInfo]:
    """Return the recipes that use a backbone, by its name or its file, or the one whose fingerprint this is.

    Raises
    ------
    OptionError
        None does.
    """
    if is_model_path(backbone) and backbone not in available_backbones():
        recorded = (MODEL_FILE, open_network_file(backbone).digest)
        found = [one for one in cache.recipes if (one.recipe.get("backbone"), one.recipe.get("weights")) == recorded]
    else:
        found = [one for one in cache.recipes if backbone in (one.recipe.get("backbone"), one.fingerprint)]
    if not found:
        known = sorted({str(recipe.recipe.get("backbone", recipe.fingerprint)) for recipe in cache.recipes})
        raise OptionError(
            f"The cache {cache.folder!r} has no rows of backbone {backbone!r}.{did_you_mean(backbone, known)} "
            f"It has: {', '.join(known) or 'none'}.{_OF_OWN if MODEL_FILE in known else ''}"
        )
    return found


def describe_recipe(info: RecipeInfo) -> str:
    """Return the recipe as people say it."""
    if not info.recipe:
        return f"{info.fingerprint} (its recipe.json is absent or damaged)"
    said = {name: _printable(value) for name, value in info.recipe.items()}
    said["image_size"] = said.get("image_size", "?").strip("[]").replace(", ", " × ")
    said["weights"] = f"weights {said.get('weights', '')[:8]}"
    order = ("backbone", "precision", "image_size", "resize", "layer", "pooling", "weights")
    steps = [f"preprocessing {format_preprocessing(said['preprocessing'])}"] if said.get("preprocessing") else []
    views = [f"view {said['tta']}"] if said.get("tta") else []
    return ", ".join([*(said.get(name, "?") for name in order), *steps, *views])


def format_cache_info(cache: CacheInfo) -> str:
    """Return a summary for people."""
    lines = [f"{cache.folder}: {format_bytes(cache.bytes)}", ""]
    shown = [info for info in cache.recipes if not info.is_empty]
    for info in shown:
        lines.append(describe_recipe(info))
        lines.append(
            f"  {format_count(info.rows, 'row')} of {info.features} features, {format_bytes(info.bytes)} in "
            f"{format_count(info.segments, 'segment')}   {info.fingerprint}"
        )
        if info.small_segments > 1:
            lines.append(f"  {info.small_segments} of the segments are small: featx cache compact merges them")
        if info.unreadable_segments:
            unreadable = format_count(info.unreadable_segments, "unreadable segment")
            lines.append(f"  {unreadable}: featx cache verify tells why")
        if info.set_aside_bytes:
            lines.append(f"  {format_bytes(info.set_aside_bytes)} of damaged files are set aside as *{DAMAGED}")
    if not shown:
        lines.append("no rows")
    lines += ["", f"{format_count(cache.graphs, 'compiled network')}, {format_bytes(cache.graph_bytes)}"]
    lines.append(f"{format_count(cache.known_files, 'file')} known by name, {format_bytes(cache.index_bytes)}")
    return "\n".join(lines)


def _printable(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))
