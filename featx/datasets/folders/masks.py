"""Filter of images that annotate other images: in folders of masks, or with names such as ``img_0_mask.png``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from featx.datasets.folders.layout import Layout
from featx.system.formatting import format_count

#: End of the name of a mask without its suffix, after the stem of its image.
_END = re.compile(
    r"[ ._-](?:masks?|segm?|segmentations?|gt|ground_?truth|annotations?|trimaps?)(?:[ _-]?\d+)?\.[^./]+$",
    re.IGNORECASE,
)


class AnnotationFilter:
    """Ignores the annotations among the images of a source, and counts them.

    Parameters
    ----------
    layout : Layout
        Its folders of annotations are ignored.
    ignored : Counter
        Receives the number of ignored files by kind.
    has_image : callable
        Whether the source has an image of this stem: a path without its suffix.
    """

    def __init__(self, layout: Layout, ignored: Counter[str], has_image: Callable[[str], bool]) -> None:
        self._layout, self._ignored, self._has_image = layout, ignored, has_image
        self._n_masks, self._example = 0, ""

    def images(self, names: Iterator[str]) -> Iterator[str]:
        """Yield names of images that annotate no other image."""
        has_excluded = bool(self._layout.excluded)
        for name in names:
            if has_excluded and self._layout.is_excluded(name):
                self._ignored["masks or annotations"] += 1
                continue
            lower = name.lower()  # faster than a pattern
            if (
                ("mask" in lower or "seg" in lower or "gt" in lower or "trimap" in lower)
                or ("truth" in lower or "annot" in lower)
            ) and self._is_mask(name):
                self._ignored["masks or annotations"] += 1
                self._n_masks += 1
                self._example = self._example or name
            else:
                yield name

    def _is_mask(self, name: str) -> bool:
        start = name.rfind("/") + 1
        end = _END.search(name, start + 1)
        if end is None or "mask" in name[:start].lower():  # the class of a face with a mask
            return False
        return self._has_image(name[: end.start()])

    def note(self) -> str:
        """Return a note on names that mean masks, when all names were read. Empty: there are none."""
        if not self._n_masks:
            return ""
        return (
            f"{format_count(self._n_masks, 'image')} ignored: masks of the images next to them by their names, such as "
            f"{self._example!r}. If they are not, rename them, or pass a table of paths and labels."
        )


def stem_of(name: str) -> str:
    """Return the path of an image without its suffix."""
    return name[: name.rfind(".")]


def remembering_stems(names: Iterator[str], stems: list[str]) -> Iterator[str]:
    """Yield sorted names. Before each, `stems` has those of names before it with which it begins, and few others.

    Examples
    --------
    >>> stems = []
    >>> [list(stems) for name in remembering_stems(iter(["a.jpg", "a_1.jpg", "a_mask.png"]), stems)]
    [['a'], ['a', 'a_1'], ['a', 'a_mask']]
    """
    for name in names:
        stem = stem_of(name)
        while stems and not stem.startswith(stems[-1]):
            stems.pop()
        stems.append(stem)
        yield name
