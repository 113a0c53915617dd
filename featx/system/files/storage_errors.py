"""Errors of remote storage as the reason and the remedy of a message, in one line without internals of libraries."""

from __future__ import annotations

import email.utils
import time

from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import first_line

_NO_CREDENTIALS = "no credentials are set"
#: Remedies by the reason.
_REMEDIES = {
    _NO_CREDENTIALS: (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket, set FSSPEC_S3_ANON=true"
    ),
    "there is no such bucket": "Correct the name of the bucket, or create it",
    "access is denied": "Check the permissions of the credentials in the environment",
    "the access key is unknown": "Correct AWS_ACCESS_KEY_ID in the environment",
    "the secret key is wrong": "Correct AWS_SECRET_ACCESS_KEY in the environment",
    "the credentials have expired": "Renew the credentials in the environment",
}
_CODES = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "access is denied",
    "403": "access is denied",
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "the credentials have expired",
}


def retry_after(error: BaseException) -> float | None:
    """Return the number of seconds that a server asks to wait, in its header ``Retry-After``. None: it does not.

    Examples
    --------
    >>> error = OSError()
    >>> error.headers = {"Retry-After": "6"}
    >>> retry_after(error)
    6.0
    """
    value = (getattr(error, "headers", None) or {}).get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


def error_reason(error: Exception, *, timeouts: tuple[float, float] = (0.0, 0.0)) -> str:
    """Return a storage error as the reason of a message.

    Parameters
    ----------
    error : Exception
        Error of fsspec, or of the library of a storage.
    timeouts : (float, float), default=(0.0, 0.0)
        Maximum seconds of silence, and in all.
    """
    kind = type(error).__name__
    status = getattr(error, "status", None)
    if known := _known_reason(error):
        reason = known
    elif "Redirect" in kind or kind == "InvalidUrlClientError":
        reason = f"the server redirects to a URL that is not supported: {redact_secrets(str(error))}"
    elif status:
        text = " ".join(str(getattr(error, "message", "")).split()).rstrip(" :")
        wait = retry_after(error)
        asks = "" if wait is None else f", and asks to wait {wait:,.0f} s"
        reason = f"the server responds {status} {text}".rstrip() + asks
    elif isinstance(error, TimeoutError) or "Timeout" in kind:
        reason = "the server did not answer in time ({:g} s of silence, {:g} s in all)".format(*timeouts)
    elif isinstance(error, FileNotFoundError):
        reason = "there is no file at this URL"
    else:
        text = getattr(error, "strerror", None) or first_line(error)
        reason = redact_secrets(text.replace(" ssl:default", "")).rstrip(" .")  # aiohttp writes it for http, too
    return reason


def _known_reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError"):
        return _NO_CREDENTIALS
    return "too many redirects" if kind == "TooManyRedirects" else _CODES.get(_s3_code(error), "")


def error_remedy(reason: str, default: str) -> str:
    """Return what to do about a reason, without a period; `default` if nothing special is known.

    Examples
    --------
    >>> error_remedy("there is no such bucket", "Check the URL")
    'Correct the name of the bucket, or create it'
    """
    return _REMEDIES.get(reason, default)


def _s3_code(error: BaseException | None) -> str:
    """Return the code of an error of S3, which fsspec replaces by an error of Python; "" for other errors."""
    while error is not None:
        if isinstance(response := getattr(error, "response", None), dict):  # botocore's
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__ or error.__context__
    return ""
