"""Passwords, signatures and tokens in URLs: refused where URLs are stored, and redacted where they are shown."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable

from featx.errors import SECRET_PARAMETER, SECRET_USER, SourceError, redact_secrets

__all__ = ["check_no_secrets", "check_not_redacted", "is_redacted", "redact_secrets"]


def check_no_secrets(url: str) -> None:
    """Raise an error if a URL contains a user name, a password, a signature or a token.

    Raises
    ------
    SourceError
        The message does not contain the secret.
    """
    if "://" not in url:
        return
    if SECRET_USER.search(url):
        content = "a user name or a password"
    elif match := SECRET_PARAMETER.search(urllib.parse.unquote(url) if "%" in url else url):
        content = f"a signature or token ({match[1].rstrip('=')[-40:]})"
    else:
        return
    scheme = url.partition("://")[0][-20:]
    raise SourceError(
        f"A URL with the scheme {scheme}:// contains {content}, which would be written to files and messages. Set "
        "credentials in the environment as for the storage's own tools, and remove them from the URL (for example "
        "s3://bucket/key)."
    )


def is_redacted(path: str) -> bool:
    """Return whether a path is a URL of which featx has removed a secret."""
    return "…" in path and "://" in path and redact_secrets(path) == path


def check_not_redacted(paths: Iterable[str], source: str) -> None:
    """Raise an error if URLs to be read are those that featx wrote without their secrets.

    Raises
    ------
    SourceError
    """
    first = next(filter(is_redacted, paths), None)
    if first is not None:
        raise SourceError(
            f"{source!r} has URLs without their signatures or passwords, such as {first!r}: featx does not write these "
            "to files. Pass the table that has the complete URLs."
        )
