"""Passwords, signatures and tokens in addresses: refused where they would be kept, left out where they are shown."""

from __future__ import annotations

import re
import urllib.parse

from featx.errors import SourceError

#: ``https://user:password@host/``.
_USER = re.compile(r"([a-z][a-z0-9+.-]+://)[^/?#\s'\"]*@", re.IGNORECASE)
#: A key of a query whose value lets anybody in: of addresses that storage has signed, and of tokens and passwords.
_SECRET = re.compile(
    r"[?&;#]("
    r"(?:[\w.-]*(?:signature|token|secret|credential|password|passwd|api[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|subscription[_-]key|auth[_-]?key|session[_-]?id|sessid|authorization|hmac)"
    r"|sig|sas|pwd|pass|pw|key-pair-id|googleaccessid|jwt|auth|bearer|hdnea|hdnts)="
    # A key or a code may be that of a country or a file: what is short, a number or called like a file is no secret.
    r"|(?:key|code|session|sid|ticket|hm)=(?![^&;#\s'\"]{0,4}(?:[&;#\s'\"]|$)|\d+(?:[&;#\s'\"]|$)|[^&;#\s'\"]*\.[a-z]\w{1,4}(?:[&;#\s'\"]|$))"
    r")[^&;#\s'\"]*",
    re.IGNORECASE,
)


def check_no_secrets(address: str) -> None:
    """Raise if an address lets in whoever has it: by a user's name or password, a signature or a token.

    Raises
    ------
    SourceError
        It does; the message does not repeat it.
    """
    if "://" not in address:
        return
    if _USER.search(address):
        what = "a user name or a password"
    elif found := _SECRET.search(urllib.parse.unquote(address) if "%" in address else address):
        what = f"a signature or token ({found[1].rstrip('=')[-40:]})"
    else:
        return
    raise SourceError(
        f"An address of {address.partition('://')[0][-20:]}:// holds {what}, which would be written into files and "
        "messages. Give credentials in the environment, as the storage's own tools take them, and leave them out of "
        "the address (s3://bucket/key, for example)."
    )


def redact_secrets(text: str) -> str:
    """Return a text without what addresses in it should not hold, as :func:`check_no_secrets` has it.

    Examples
    --------
    >>> redact_secrets("https://me:pass@host/a.jpg?size=2&sig=abc")
    'https://…@host/a.jpg?size=2&sig=…'
    """
    if "://" not in text:
        return text
    if "%" in text and not _SECRET.search(text) and _SECRET.search(urllib.parse.unquote(text)):
        text = f"{text.partition('?')[0]}?…"
    return _SECRET.sub(lambda found: f"{found[0][0]}{found[1]}…", _USER.sub(r"\1…@", text))
