"""Fetch one file with Keras's own means: run as a child process, which spares ours importing tensorflow."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from featx.backbones.keras_applications import first_line, import_keras, keras_home
from featx.children import serve_task
from featx.errors import WeightsNotFoundError


def download(task: dict[str, Any]) -> None:
    """Fetch the task's ``url`` to its ``path``, under another name until it is whole.

    Raises
    ------
    WeightsNotFoundError
        With the reason only: the caller knows what to do about it.
    """
    path = Path(task["path"])
    partial = f"{path.name}.{os.getpid()}.part"
    keras = import_keras()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched = keras.utils.get_file(
            partial, task["url"], file_hash=task["md5"] or None, cache_dir=keras_home(), cache_subdir="models"
        )
        os.replace(fetched, path)
    except Exception as error:  # Keras raises a bare Exception when a server cannot be reached
        raise WeightsNotFoundError(first_line(error)) from error
    finally:
        (path.parent / partial).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(serve_task(download))
