"""Which licenses of weights restrict their use."""

from __future__ import annotations

import contextlib
import hashlib
import re

from featx.backbones.files.display_name import network_cache_folder
from featx.system.files.atomic import make_folder, write_text
from featx.system.terminal.progress import announce

#: Licenses that allow any use, as the hub writes them.
_OPEN = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "openrail", "wtfpl"),
}
_NON_COMMERCIAL = re.compile(r"(^|[-_ ])(nc|non-?commercial|research|amlr)([-_ ]|$)", re.IGNORECASE)


def license_note(name: str, license_name: str, origin: str) -> str:
    """Return one line about a license that restricts the use of weights, or "" for one that does not.

    Parameters
    ----------
    name : str
        Name of the backbone.
    license_name : str
        License as the hub writes it; "" if it is unknown.
    origin : str
        Address at which to read it, or "".

    Examples
    --------
    >>> license_note("timm/a.b", "cc-by-nc-4.0", "https://huggingface.co/timm/a.b")
    "The weights of 'timm/a.b' are for non-commercial use only (cc-by-nc-4.0): https://huggingface.co/timm/a.b"
    >>> license_note("timm/a.b", "apache-2.0", "")
    ''
    """
    where = f": {origin}" if origin else ""
    if not license_name or license_name.lower() in _OPEN:
        return ""
    if _NON_COMMERCIAL.search(license_name):
        return f"The weights of {name!r} are for non-commercial use only ({license_name}){where}"
    return f"The weights of {name!r} have a license with conditions of its own ({license_name}){where}"


def show_license_once(name: str, license_name: str, origin: str) -> None:
    """Print the note of :func:`license_note` when weights are first used on this machine, whoever downloaded them."""
    note = license_note(name, license_name, origin)
    path = network_cache_folder() / f"shown-{hashlib.sha256(note.encode()).hexdigest()[:32]}.txt"
    if not note or path.is_file():
        return
    announce(note)
    with contextlib.suppress(OSError):  # shown again the next time
        make_folder(path.parent)
        write_text(path, note)
