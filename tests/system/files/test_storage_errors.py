"""Errors of storage as users read them: one line with a remedy, without text of libraries."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from featx import find_images, read_model
from featx.cli import main as cli
from featx.errors import ModelFileError, SourceError
from featx.system.files.storage_errors import error_reason, error_remedy


class BotocoreError(Exception):
    """An error with a response, as botocore raises."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code}) when calling the ListObjectsV2 operation:\nlong text")
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        ("NoSuchBucket", "there is no such bucket", "Correct the name of the bucket"),
        ("AccessDenied", "access is denied", "Check the permissions"),
        ("InvalidAccessKeyId", "the access key is unknown", "Correct AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "the secret key is wrong", "Correct AWS_SECRET_ACCESS_KEY"),
        ("ExpiredToken", "the credentials have expired", "Renew"),
    ],
)
def test_codes_of_s3(code: str, reason: str, remedy: str) -> None:
    error = FileNotFoundError("replaced by fsspec")
    error.__cause__ = BotocoreError(code)
    assert error_reason(error) == reason
    assert error_remedy(reason, "Check the URL").startswith(remedy)


def test_unknown_errors_are_one_line() -> None:
    assert error_reason(BotocoreError("SlowDown")).endswith("when calling the ListObjectsV2 operation")
    assert error_reason(ValueError()) == "ValueError"
    assert error_remedy("another", "Check the URL") == "Check the URL"


def test_s3_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(
        SourceError, match="Cannot list 's3://bucket/photos': no credentials are set. Set AWS_ACCESS_KEY"
    ):
        find_images("s3://bucket/photos")
    assert cli.main(["job", "status", "s3://bucket/job"]) == 1
    message = capsys.readouterr().err
    assert "no credentials are set. Set AWS_ACCESS_KEY_ID and" in message
    assert message.count("\n") == 1
    fsspec.filesystem("s3").clear_instance_cache()


def test_model_at_a_url() -> None:
    with pytest.raises(ModelFileError, match="a model must be a local file. Download it"):
        read_model("s3://bucket/model.skops")


def test_connections_over_http_do_not_mention_tls() -> None:
    error = OSError("Cannot connect to host localhost:9 ssl:default [Connect call failed ('127.0.0.1', 9)]")
    assert error_reason(error) == "Cannot connect to host localhost:9 [Connect call failed ('127.0.0.1', 9)]"
