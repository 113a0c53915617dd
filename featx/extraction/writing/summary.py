"""Summary of an extraction into a file: :class:`featx.ExtractionSummary`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from featx.features.csv_table import failures_path
from featx.features.outputs import describe_output
from featx.system.formatting import format_count
from featx.system.notebook.html import TextResult
from featx.system.terminal.tables import wrap_text


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
        Number of images that were run through the network, that were in the cache or equal to another image, and
        that cannot be read.
    padded : int
        Number of truncated images whose missing part was filled.
    seconds, images_per_second : float
        Wall-clock time of the extraction, and number of images divided by it.
    backbone, precision, engine : str
        Network that was run.
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
    2 computed, 0 cached or equal to another image, 0 failed; 0.1 s, 20 images/s (mobilenet, float32, openvino)
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
            f"{self.computed:,} computed, {self.cached:,} cached or equal to another image, "
            f"{self.failed:,} failed; {self.seconds:.1f} s, {self.images_per_second:.0f} images/s "
            f"({self.backbone}, {self.precision}, {self.engine})",
        ]
        if self.padded:
            truncated = format_count(self.padded, "truncated image")
            lines.append(f"{truncated} padded: the missing part is gray or black")
        if self.failed:
            lines.append(f"Unreadable images and reasons: {failures_path(output)}")
        lines += map(wrap_text, self.notes)
        return "\n".join(lines)
