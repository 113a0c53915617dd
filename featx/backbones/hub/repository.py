"""Download files of the Hugging Face Hub, and read the license that a repository states.

The client of the hub obeys its environment variables: ``HF_TOKEN``, ``HF_HOME``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``,
and those of proxies.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from featx.backbones.files.display_name import network_cache_folder
from featx.backbones.hub.refused import model_being_read
from featx.errors import FeatxError, UnknownBackboneError, WeightsNotFoundError, missing_dependency
from featx.system.files.atomic import make_folder, write_text
from featx.system.terminal.progress import announce


def find_file(repository: str, names: Sequence[str], backbone: str, revision: str | None = None) -> Path:
    """Return the path of a file of a repository, after a download if necessary.

    A file that was downloaded before is used without a connection.

    Parameters
    ----------
    repository : str
        Name of the repository: ``"organization/model"``.
    names : sequence of str
        Paths in the repository; the first that exists is used.
    backbone : str
        Name of the backbone, for error messages.
    revision : str or None, default=None
        Branch, tag or commit. None: the main branch.

    Raises
    ------
    MissingDependencyError
        If huggingface_hub is not installed.
    UnknownBackboneError
        If the repository, the revision or the file does not exist.
    WeightsNotFoundError
        If the file cannot be downloaded.
    """
    path = _first_file(repository, names, backbone, revision)
    if path is None:
        listed = " or ".join(map(repr, names))
        where = f"revision {revision!r} of repository" if revision else "repository"
        raise UnknownBackboneError(
            f"Unknown backbone {backbone!r}: {where} {repository!r} has no file {listed}. Check the name on "
            f"{_address(repository)}."
        )
    return path


def find_optional_file(
    repository: str, names: Sequence[str], backbone: str, revision: str | None = None
) -> Path | None:
    """Return the path of the first of these files; None if the repository has none of them.

    Raises
    ------
    WeightsNotFoundError
        If that is not known: the hub cannot be reached.
    """
    return _first_file(repository, names, backbone, revision, is_optional=True)


def is_downloaded(repository: str, names: Sequence[str], backbone: str, revision: str | None = None) -> bool:
    """Return whether one of these files was downloaded before; no connection is made. None: of the main branch."""
    hub = _import_hub(backbone)
    return any(isinstance(hub.try_to_load_from_cache(repository, name, revision=revision), str) for name in names)


def _first_file(
    repository: str, names: Sequence[str], backbone: str, revision: str | None, *, is_optional: bool = False
) -> Path | None:
    hub = _import_hub(backbone)
    cached = {name: hub.try_to_load_from_cache(repository, name, revision=revision) for name in names}
    for path in cached.values():
        if isinstance(path, str):
            return Path(path)
    for name in [name for name in names if cached[name] is None]:  # other values: it is known not to exist
        if model := model_being_read():
            raise WeightsNotFoundError(
                f"Cannot use model {model!r}: {name} of {_address(repository)} is not on this machine, and reading a "
                f"model downloads nothing from the hub. If you trust the repository, run "
                f"load_backbone({backbone!r}).find_weights('imagenet') of featx first."
            )
        try:
            if not is_optional:
                announce(f"Downloading {name} of {_address(repository)}.")
            with _without_reports_of_retries():
                return Path(hub.hf_hub_download(repository, name, revision=revision))
        except hub.errors.LocalEntryNotFoundError as error:
            raise _unavailable(repository, backbone, error) from error
        except hub.errors.EntryNotFoundError:
            continue
        except Exception as error:  # the client and its HTTP library raise many kinds
            raise _as_error(hub, repository, backbone, revision, error) from error
    return None


@contextlib.contextmanager
def _without_reports_of_retries() -> Iterator[None]:
    """Silence warnings of the client, which reports each attempt; the error of the last one is raised."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def repository_license(repository: str, backbone: str) -> str:
    """Return the license that the card of a repository states; "" if it states none or cannot be read.

    It is read once, and cached in the user's cache folder.
    """
    path = _license_path(repository)
    with contextlib.suppress(OSError):  # not read yet
        return path.read_text(encoding="utf-8")
    if model_being_read():
        return ""
    with contextlib.suppress(Exception):  # offline, for example: the license is shown once it is known
        hub = _import_hub(backbone)
        card = hub.HfApi().model_info(repository).card_data or {}
        name = card.get("license_name") if card.get("license") == "other" else card.get("license")
        text = ", ".join(name) if isinstance(name, list) else name or ""
        make_folder(path.parent)
        write_text(path, text)
        return str(text)
    return ""


def known_license(repository: str) -> str:
    """Return the license of a repository if it was read before, or ""; no connection is made."""
    with contextlib.suppress(OSError):
        return _license_path(repository).read_text(encoding="utf-8") if repository else ""
    return ""


def _license_path(repository: str) -> Path:
    return network_cache_folder() / f"license-{hashlib.sha256(repository.encode()).hexdigest()[:32]}.txt"


def _as_error(hub: Any, repository: str, backbone: str, revision: str | None, error: Exception) -> FeatxError:
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return WeightsNotFoundError(
            f"Cannot download {backbone!r}: its authors ask for their conditions to be accepted. Accept them on "
            f"{_address(repository)}, and set the environment variable HF_TOKEN to a token of your account."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UnknownBackboneError(
            f"Unknown backbone {backbone!r}: repository {repository!r} has no revision {revision!r}. See "
            f"{_address(repository)}/tree/main."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UnknownBackboneError(
            f"Unknown backbone {backbone!r}: the hub has no repository {repository!r}, or it is private. Check the "
            "name; for a private one, set the environment variable HF_TOKEN."
        )
    if isinstance(error, errors.HFValidationError):
        return UnknownBackboneError(
            f"Unknown backbone {backbone!r}: {repository!r} is not the name of a repository. It must be "
            "'ORGANIZATION/MODEL'."
        )
    return _unavailable(repository, backbone, error)


def _unavailable(repository: str, backbone: str, error: Exception) -> WeightsNotFoundError:

    cause = error.__cause__ or error
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        reason, remedy = "HF_HUB_OFFLINE is set, and the file is not in the cache of the hub", "Unset it"
    else:
        lines = [line for line in str(cause).splitlines() if line.strip()]
        reason, remedy = lines[0].rstrip(".") if lines else type(cause).__name__, "Check the connection and the proxy"
    return WeightsNotFoundError(
        f"Cannot download {backbone!r} from {_address(repository)}: {reason}. {remedy}, or copy the hub's folder "
        "(HF_HOME) from another machine."
    )


def _address(repository: str) -> str:

    return f"{os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'}/{repository}"


def _import_hub(backbone: str) -> Any:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise missing_dependency(f"Backbone {backbone!r}", "huggingface_hub", "'featx[hub]'")
    import huggingface_hub
    import huggingface_hub.errors

    return huggingface_hub
