"""Passwords, signatures and tokens in URLs: refused where URLs are stored, and redacted where they are shown."""

from __future__ import annotations

import re
import urllib.parse

from featx.errors import SourceError

#: ``https://user:password@host/``.
_USER = re.compile(r"([a-z][a-z0-9+.-]+://)[^/?#\s'\"]*@", re.IGNORECASE)
#: Parameter of a query whose value grants access: a signature of a signed URL, a token or a password.
_SECRET = re.compile(
    r"[?&;#]("
    r"(?:[\w.-]*(?:signature|token|secret|credential|password|passwd|api[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|subscription[_-]key|auth[_-]?key|session[_-]?id|sessid|authorization|hmac)"
    r"|sig|sas|pwd|pass|pw|key-pair-id|googleaccessid|jwt|auth|bearer|hdnea|hdnts)="
    # A key or code may also name a country or a file: short values, numbers and file names are not secrets.
    r"|(?:key|code|session|sid|ticket|hm)=(?![^&;#\s'\"]{0,4}(?:[&;#\s'\"]|$)|\d+(?:[&;#\s'\"]|$)|[^&;#\s'\"]*\.[a-z]\w{1,4}(?:[&;#\s'\"]|$))"
    r")[^&;#\s'\"]*",
    re.IGNORECASE,
)


def check_no_secrets(url: str) -> None:
    """Raise if a URL contains a user name, a password, a signature or a token.

    Raises
    ------
    SourceError
        The message does not contain the secret.
    """
    if "://" not in url:
        return
    if _USER.search(url):
        content = "a user name or a password"
    elif match := _SECRET.search(urllib.parse.unquote(url) if "%" in url else url):
        content = f"a signature or token ({match[1].rstrip('=')[-40:]})"
    else:
        return
    scheme = url.partition("://")[0][-20:]
    raise SourceError(
        f"A URL with the scheme {scheme}:// contains {content}, which would be written to files and messages. Set "
        "credentials in the environment as for the storage's own tools, and remove them from the URL (for example "
        "s3://bucket/key)."
    )


def redact_secrets(text: str) -> str:
    """Return a text with "…" in place of secrets in URLs.

    Examples
    --------
    >>> redact_secrets("https://me:pass@host/a.jpg?size=2&sig=abc")
    'https://…@host/a.jpg?size=2&sig=…'
    """
    if "://" not in text:
        return text
    if "%" in text and not _SECRET.search(text) and _SECRET.search(urllib.parse.unquote(text)):
        text = f"{text.partition('?')[0]}?…"
    return _SECRET.sub(lambda match: f"{match[0][0]}{match[1]}…", _USER.sub(r"\1…@", text))
