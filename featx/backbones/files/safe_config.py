"""Check that the JSON configuration of a Keras network contains no code but Keras's own."""

from __future__ import annotations

from typing import Any

#: Modules of Keras whose classes compute and do nothing else.
_SAFE_MODULES = (
    *("keras.layers.", "keras.models.", "keras.initializers.", "keras.regularizers.", "keras.constraints."),
    *("keras.activations.", "keras.ops.", "keras.dtype_policies.", "keras.quantizers.", "keras.random."),
    *("keras.src.layers.", "keras.src.models.", "keras.src.ops.", "builtins."),
    # For the compilation of nested networks: Keras builds these objects, but they are not used.
    *("keras.optimizers.", "keras.losses.", "keras.metrics."),
)
#: A layer of ConvNeXt that only multiplies, although it lies outside of these modules.
_SAFE_LAYER = ("keras.src.applications.convnext", "LayerScale")
#: Layers that run code of the user, or read files that the configuration names.
_UNSAFE_LAYERS = (
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("StringLookup", "IntegerLookup", "TextVectorization"),
)


def find_unsafe_part(config: Any) -> str:
    """Return what in a configuration could run code or read files; an empty string if nothing could.

    Parameters
    ----------
    config : object
        Configuration of a network as parsed from JSON.
    """
    if isinstance(config, dict):
        return _unsafe_object(config) or find_unsafe_part(list(config.values()))
    return next(filter(None, map(find_unsafe_part, config)), "") if isinstance(config, list) else ""


def _unsafe_object(config: dict[str, Any]) -> str:
    """Return why the object that a configuration describes is unsafe; an empty string if it is safe."""
    kind, module, registered = (config.get(name) for name in ("class_name", "module", "registered_name"))
    if kind in _UNSAFE_LAYERS:
        return f"a layer of the class {kind}"
    if kind in ("__lambda__", "function"):
        return "a lambda function" if kind == "__lambda__" else f"the function {config.get('config')!r}"
    if isinstance(kind, str) and ">" in kind and not kind.startswith("keras>"):  # the notation of .h5 files
        registered = kind
    is_keras = isinstance(registered, str) and registered.startswith("keras>")
    is_safe = module == "keras" or f"{module}.".startswith(_SAFE_MODULES) or (module, kind) == _SAFE_LAYER
    if isinstance(module, str) and not is_safe:
        return f"{kind!r} of the module {module!r}"
    if isinstance(registered, str) and ">" in registered and not is_keras:
        return f"{kind!r} of the package {registered.split('>')[0]!r}"
    if kind and registered and module is None and not is_keras:  # a class that is not registered
        return f"{kind!r}, which is not part of Keras"
    return ""
