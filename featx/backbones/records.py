"""Records of the built-in Keras networks, read from ``data/networks`` without importing Keras."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"
#: One JSON file for each module of ``keras.applications``; ``workers/survey`` writes them.
RECORDS_FOLDER = _DATA / "networks"
#: Folder of the weights that are distributed with featx.
BUNDLED_WEIGHTS_FOLDER = _DATA / "weights"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasRecord:
    """Facts about one network of ``keras.applications``; see :class:`featx.KerasBackbone` for the fields."""

    name: str
    application: str
    layer: str
    n_channels: int
    weights_url: str
    image_size: int = 224
    min_image_size: int = 32
    weights_hash: str = ""
    bundled_file: str = ""
    bundled_sha256: str = ""
    alpha: float = 1.0
    pools_before_norm: bool = False
    n_parameters: int = 0
    family: str = ""
    license: str = ""
    origin_url: str = ""
    paper: str = ""
    pretraining_data: str = ""
    preprocessing: str = ""

    @property
    def module_name(self) -> str:
        """Name of the module below ``keras.applications``."""
        return self.application.split(".")[0]

    @property
    def function_name(self) -> str:
        """Name of the function of that module which builds the network."""
        return self.application.split(".")[1]

    @property
    def identity(self) -> tuple[str, str, float, bool]:
        """The fields that decide a row, besides the weights and what a recipe states."""
        return self.name, self.application, self.alpha, self.pools_before_norm


@functools.cache
def read_records() -> tuple[KerasRecord, ...]:
    """Return the records of all built-in networks, sorted by file and name."""
    return tuple(
        KerasRecord(**{**family, **fields})
        for path in sorted(RECORDS_FOLDER.glob("*.json"))
        for family, fields in _read_family(path)
    )


def _read_family(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the fields that the networks of a file share, and the fields of each network."""
    family = json.loads(path.read_text(encoding="utf-8"))
    networks = family.pop("networks")
    return [(family, fields) for fields in networks]


@functools.cache
def _top1_accuracies() -> dict[str, float]:
    with open(_DATA / "imagenet_top1.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: round(float(row["top1_percent"]) / 100, 4) for row in csv.DictReader(file)}


def imagenet_top1(name: str) -> float | None:
    """Return the published ImageNet top-1 accuracy of a built-in network, from 0 to 1; None if it is unknown."""
    return _top1_accuracies().get(name)
