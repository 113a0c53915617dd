"""Search the networks that Keras and the installed libraries know."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from featx.backbones.hub.repository import known_license
from featx.backbones.records import read_records
from featx.backbones.torch.describe import catalog, sizes
from featx.backbones.torch.description import Configuration
from featx.backbones.torch.names import LIBRARIES, is_installed
from featx.errors import UnknownBackboneError

if TYPE_CHECKING:
    import pandas as pd

#: Largest number of architectures of a library whose size is computed: each takes about a twentieth of a second.
_MAX_SIZES = 200


@dataclasses.dataclass(frozen=True)
class _Row:
    backbone: str
    features: int | None
    image_size: int
    parameters: int | None
    megabytes: float | None
    license: str
    source: str


def search_backbones(text: str) -> pd.DataFrame:
    """Search the networks that featx and the installed libraries know.

    These are the networks of Keras, and those of timm, torchvision and open_clip if they are installed. Nothing is
    downloaded. The first search takes some seconds; its result is cached.

    Parameters
    ----------
    text : str
        Words that must all be part of the name, in any case.

    Returns
    -------
    pandas.DataFrame
        One row for each network with weights. Columns: ``backbone`` (the name), ``features``, ``image_size``,
        ``parameters``, ``megabytes``, ``license`` and ``source`` of the weights. Sizes are missing if more than 200
        architectures match.

    Raises
    ------
    UnknownBackboneError
        If no name matches.

    See Also
    --------
    available_backbones : Return the names of all backbones that need no extra.
    load_backbone : Return the backbone of a name.

    Examples
    --------
    >>> from featx import search_backbones
    >>> int(search_backbones("resnet50 v2")["features"].iloc[0])
    2048
    """
    import pandas as pd

    words = text.lower().split()
    rows = [row for row in _keras_rows() if _matches(row.backbone, words)]
    libraries = [library for library in LIBRARIES if is_installed(library)]
    for library in libraries:
        rows += _library_rows(library, words)
    if not rows:
        missing = [library for library in LIBRARIES if library not in libraries]
        extras = ",".join(dict.fromkeys(LIBRARIES[library][1] for library in missing))
        hint = f" Install others: pip install 'featx[{extras}]'." if missing else " Search for fewer words."
        raise UnknownBackboneError(f"No backbone of {', '.join(['Keras', *libraries])} has a name with {text!r}.{hint}")
    return pd.DataFrame(rows).astype({"features": "Int64", "parameters": "Int64"})


def _matches(name: str, words: Sequence[str]) -> bool:
    return all(word in name.lower() for word in words)


def _keras_rows() -> Iterator[_Row]:
    for record in read_records():
        n_bytes = 4 * record.n_parameters
        yield _Row(
            record.name,
            record.n_channels,
            record.image_size,
            record.n_parameters,
            round(n_bytes / 1e6, 1),
            record.license,
            record.origin_url,
        )


def _library_rows(library: str, words: Sequence[str]) -> list[_Row]:
    found = [
        (configuration, architecture)
        for configuration, architecture in catalog(library)
        if _matches(configuration.name, words)
    ]
    architectures = sorted({architecture for _, architecture in found})
    known = sizes(library, architectures) if 0 < len(architectures) <= _MAX_SIZES else {}
    return [_row(configuration, *known.get(architecture, (None, None))) for configuration, architecture in found]


def _row(configuration: Configuration, n_parameters: int | None, n_features: int | None) -> _Row:
    return _Row(
        configuration.name,
        n_features or None,
        configuration.image_size[0],
        n_parameters,
        round(4 * n_parameters / 1e6, 1) if n_parameters else None,
        configuration.license or known_license(configuration.repository),
        configuration.origin,
    )
