"""Checkpoints of torch, loaded without running code that they contain. Runs in child processes only."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, WeightsError

#: Keys under which training scripts save the weights, in the order of timm.
_WEIGHTS_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
#: How files of ``torch.save`` begin: a zip archive, or a pickle of older versions.
_PICKLES = (b"PK", b"\x80")
_PREFIXES = ("module.", "_orig_mod.")


def load_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """Return the tensors of a checkpoint by name: safetensors, or a file of ``torch.save``.

    Parameters
    ----------
    path : Path
        Path of the file.
    name : str
        Name of the backbone, for error messages.

    Raises
    ------
    WeightsError
        If the file has another format, or contains code.
    """
    import torch

    with reading_checkpoint(path, name):
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return dict(load_file(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        for key in _WEIGHTS_KEYS:
            if isinstance(checkpoint.get(key), dict):
                checkpoint = checkpoint[key]
                break
        return {_without_prefix(key): tensor for key, tensor in checkpoint.items()}


@contextlib.contextmanager
def reading_checkpoint(path: Path, name: str) -> Iterator[None]:
    """Raise a WeightsError for any error that reading a checkpoint raises in the block."""
    try:
        yield
    except FeatxError:
        raise
    except (pickle.UnpicklingError, RuntimeError) as error:
        is_refused = "weights_only" in str(error) or "Weights only" in str(error)
        if is_refused and _first_bytes(path).startswith(_PICKLES):
            raise WeightsError(
                f"Cannot load weights {str(path)!r} into {name!r}: the file contains code, which is not run. Save its "
                "tensors alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
            ) from error
        raise _other_network(path, name, error) from error
    except Exception as error:  # torch, safetensors and the libraries raise many kinds
        raise _other_network(path, name, error) from error


def _other_network(path: Path, name: str, error: Exception) -> WeightsError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (" ".join(lines[:2]) if lines else type(error).__name__)[:200].rstrip(".,: ")
    return WeightsError(
        f"Cannot load weights {str(path)!r} into {name!r}: {reason}. Pass a file that was saved from this network: "
        ".safetensors, or torch.save(model.state_dict(), ...)."
    )


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins like one of safetensors: the size of a JSON header, and the header."""
    return _first_bytes(path)[8:] == b"{"


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(9)


def _without_prefix(key: str) -> str:
    for prefix in (*_PREFIXES, *_PREFIXES):
        key = key.removeprefix(prefix)
    return key
