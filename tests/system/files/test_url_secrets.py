from __future__ import annotations

import pytest

from featx.errors import SourceError, WeightsNotFoundError
from featx.system.files.url_secrets import check_no_secrets, redact_secrets

SECRET = "c2VjcmV0LXZhbHVl0123456789"


@pytest.mark.parametrize(
    "address",
    [
        *(
            f"https://example.org/a.jpg?size=2&{key}={SECRET}"
            for key in (
                "key",
                "code",
                "token",
                "sig",
                "api_key",
                "apikey",
                "api-key",
                "subscription-key",
                "auth_key",
                "pwd",
                "pass",
                "password",
                "session",
                "sessionid",
                "sid",
                "PHPSESSID",
                "hm",
                "hmac",
                "hdnts",
                "private_token",
                "X-Amz-Signature",
                "X-Amz-Credential",
                "X-Amz-Security-Token",
                "X-Goog-Signature",
                "OSSAccessKeyId",
                "AWSAccessKeyId",
                "GoogleAccessId",
                "x-oss-signature",
                "Authorization",
                "jwt",
                "client_secret",
            )
        ),
        f"https://example.org/a.jpg;jsessionid={SECRET}",
        f"https://example.org/a.jpg#access_token={SECRET}",
        f"https://example.org/a.jpg?%6Bey={SECRET}",
        f"https://me:{SECRET}@example.org/a.jpg",
        f"https://{SECRET}@example.org/a.jpg",
        f"https://example.org/proxy?url=https://me:{SECRET}@example.com/a.jpg",
        f"simplecache::https://me:{SECRET}@example.org/a.jpg",
        f"simplecache::https://example.org/a.jpg?token={SECRET}",
    ],
)
def test_secrets_are_refused_and_redacted(address: str) -> None:
    with pytest.raises(SourceError, match="Set credentials in the environment") as raised:
        check_no_secrets(address)
    assert SECRET not in str(raised.value)
    assert SECRET not in redact_secrets(address)


@pytest.mark.parametrize(
    "text",
    [
        *("photos/a?sig=1.jpg", "a://b/c?signal=1", "none", "me@example.org", "s3://bucket/a@2x.jpg"),
        *(
            f"https://example.org/a.jpg?{query}"
            for query in (
                "id=7",
                "size=2&page=3",
                "key=7",
                "key=photos/7.jpg",
                "code=US",
                "code=0123456789",
                "sid=7",
                "session=3",
                "keyword=butterflies-of-the-north",
                "monkey=abcdefghijkl",
                "x=me@example.org",
                "keys=abcdef",
            )
        ),
    ],
)
def test_other_urls_are_unchanged(text: str) -> None:
    check_no_secrets(text)
    assert redact_secrets(text) == text


def test_escaped_secrets() -> None:
    assert redact_secrets("https://h/a.jpg?acc%65ss_token=1") == "https://h/a.jpg?…"


def test_messages_of_errors_have_no_secrets() -> None:
    error = WeightsNotFoundError(
        f"Cannot download 'hf://a/b' from http://me:{SECRET}@example.org/a/b: no route. Copy it."
    )
    assert str(error) == "Cannot download 'hf://a/b' from http://…@example.org/a/b: no route. Copy it."
    encoded = WeightsNotFoundError(f"Cannot read 'https://example.org/a?x=%2Fb%3Ftoken%3D{SECRET}'. Check the URL.")
    assert str(encoded) == "Cannot read 'https://example.org/a?…'. Check the URL."
