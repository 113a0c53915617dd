"""The encodings of file names in zip archives."""

from __future__ import annotations

import codecs
import contextlib
import locale
import zipfile

from featx.errors import OptionError

#: Encodings of names in zip archives that do not declare UTF-8: those of Windows and DOS in many languages.
ZIP_ENCODINGS = (
    *("cp932", "shift_jis", "euc_jp", "gb18030", "gbk", "big5", "cp949", "euc_kr", "cp1252", "iso8859-1", "cp850"),
    *("cp437", "cp1250", "cp1251", "cp866", "koi8-r", "cp1253", "cp1254", "cp1255", "cp1256", "cp874", "utf-8"),
)
_DECLARED_UTF8 = 0x800


def checked_zip_encoding(encoding: str) -> str:
    """Return the standard name of an encoding of names in zip archives.

    Raises
    ------
    OptionError
        It is unknown.

    Examples
    --------
    >>> checked_zip_encoding("Shift-JIS"), checked_zip_encoding("windows-1252")
    ('shift_jis', 'cp1252')
    """
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, TypeError):
        name = ""
    if name not in ZIP_ENCODINGS:
        raise OptionError(
            f"zip_encoding (--zip-encoding) must be one of {', '.join(map(repr, ZIP_ENCODINGS))}, got {encoding!r}."
        )
    return name


def decode_zip_name(info: zipfile.ZipInfo) -> tuple[str, bytes]:
    """Return the name of a file in a zip archive, and its bytes if their encoding is unknown.

    Programs of macOS write UTF-8 without declaring it. Python decodes undeclared names as code page 437.
    """
    if info.flag_bits & _DECLARED_UTF8 or info.filename.isascii():
        return info.filename, b""
    raw = info.orig_filename.encode("cp437")
    with contextlib.suppress(UnicodeDecodeError):
        return raw.decode("utf-8"), b""
    system = locale.getpreferredencoding(do_setlocale=False)
    for encoding in (system, "cp437"):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return raw.decode(encoding), raw
    raise AssertionError("code page 437 has a character for each byte")
