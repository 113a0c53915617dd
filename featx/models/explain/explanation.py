"""The explanation of one image: its attribution map, or why it has none."""

from __future__ import annotations

import dataclasses
import io

from featx.models.explain.attribution import Attribution
from featx.models.explain.overlay import side_by_side
from featx.system.formatting import shorten
from featx.system.notebook.cards import card_to_html

#: Note on an occlusion map that is zero everywhere.
NO_EFFECT = "no occluded square changed the score"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The attribution of one image, or the reason why it has none.

    Attributes
    ----------
    path : str
        Path of the image, or a description of the object.
    attribution : Attribution or None
        None if the image is unreadable.
    error : str
        Reason why the image is unreadable, or "".
    file : str
        Path of the image file with the drawn map, or "".

    See Also
    --------
    explain_images : Compute explanations of images.

    Examples
    --------
    >>> Explanation("bad.jpg", None, "the file is empty").error
    'the file is empty'
    """

    path: str
    attribution: Attribution | None
    error: str = ""
    file: str = ""

    def _repr_png_(self) -> bytes | None:
        """Return the image and its map, for notebooks."""
        if self.attribution is None:
            return None
        buffer = io.BytesIO()
        side_by_side(self.attribution).save(buffer, format="PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str | None:
        """Return why there is no picture, for notebooks."""
        if self.attribution is not None:
            return None  # the picture is shown instead
        return card_to_html(self.path, {"no explanation": self.error})

    def __repr__(self) -> str:
        result = self.error if self.attribution is None else f"label {self.attribution.label!r}"
        return f"<Explanation: {shorten(self.path)}: {result}>"

    @property
    def note(self) -> str:
        """Note on an empty map, or ""."""
        return NO_EFFECT if self.attribution is not None and not self.attribution.map.any() else ""
