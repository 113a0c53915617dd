"""Messages of libtiff, which prints them on standard error: here they become reasons of the image."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_local = threading.local()
_MAX_MESSAGES, _MAX_LENGTH = 20, 500


@contextlib.contextmanager
def collected_messages() -> Iterator[list[str]]:
    """Yield a list that receives the messages of libtiff in this thread. Where its library is not found, it prints."""
    _install()
    outer = getattr(_local, "messages", None)
    messages: list[str] = []
    _local.messages = messages
    try:
        yield messages
    finally:
        _local.messages = outer


@functools.cache
def _install() -> Any:
    """Set the handlers of the libtiff that Pillow uses, once a process, and return them: libtiff keeps no reference."""
    library = _loaded_library()
    if library is None:
        return None
    handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(_receive)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        function = getattr(library, name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
        function(ctypes.cast(handler, ctypes.c_void_p))
    return handler


def _receive(module: bytes | None, format_: bytes | None, arguments: int | None) -> None:
    buffer = ctypes.create_string_buffer(_MAX_LENGTH)
    _printf()(buffer, _MAX_LENGTH, format_ or b"", ctypes.c_void_p(arguments))
    text = buffer.value.decode("utf-8", "replace").strip().rstrip(".")
    message = f"{module.decode('utf-8', 'replace')}: {text}" if module and module != b"tempfile.tif" else text
    messages = getattr(_local, "messages", None)
    if messages is None:  # an image that another library reads with Pillow
        if sys.stderr is not None:  # None: closed by the parent process
            sys.stderr.write(f"{message}\n")
    elif len(messages) < _MAX_MESSAGES:
        messages.append(message)


@functools.cache
def _printf() -> Any:
    function = ctypes.CDLL(None).vsnprintf
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    return function


def _loaded_library() -> Any:
    """Return the libtiff of Pillow's wheel or of the system, if this process has loaded it. None: not found."""
    import PIL

    if os.name == "nt":  # part of Pillow's own module there
        return None
    package = Path(PIL.__file__).parent
    wheels = [*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")]
    for path in [*map(str, wheels), "libtiff.so.6", "libtiff.so.5", "libtiff.6.dylib"]:
        with contextlib.suppress(OSError, AttributeError):
            # RTLD_NOLOAD: another copy than the one in use would not help.
            return ctypes.CDLL(path, mode=getattr(os, "RTLD_NOLOAD", 0) | getattr(os, "RTLD_LAZY", 1))
    return None
