"""A progress bar on standard error: images done, images/s, time left."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(n_images: int, label: str, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Yield the function to call with the number of images done since the last call."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # A log file gets a line now and then; a person watching gets a bar that moves.
    interval = 0.1 if sys.stderr.isatty() else 10.0
    with (
        logging_redirect_tqdm(),  # messages go above the bar instead of into it
        tqdm(
            total=n_images, desc=label, unit=" images", mininterval=interval, disable=not shown, file=sys.stderr
        ) as bar,
    ):
        yield bar.update
