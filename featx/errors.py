"""Errors and warnings that featx raises on purpose.

::

    FeatxError
    ├── OptionError              (ValueError)         a parameter or option has an invalid value
    │   ├── InvalidOptionError                        raised by estimators; also scikit-learn's InvalidParameterError
    │   └── UnknownBackboneError
    ├── InputError               (TypeError)          the input is not a collection of images
    ├── SourceError              (ValueError)         a folder, archive or table of images cannot be used
    │   └── SourceNotFoundError  (FileNotFoundError)
    ├── UnreadableImageError     (OSError)            an image cannot be read
    │   ├── UnknownFormatError                        not an image, or an unsupported format
    │   ├── TruncatedImageError                       the file ends too early
    │   ├── ImageTooLargeError                        more pixels or bytes than the limit
    │   └── UnreachableImageError                     the file or URL cannot be opened
    ├── WeightsError             (ValueError)         weights are corrupt, or belong to another network
    │   └── WeightsNotFoundError (FileNotFoundError)
    ├── RecipeMismatchError      (ValueError)         fitted features cannot be reproduced
    ├── EngineError              (RuntimeError)       a network cannot be run
    ├── MissingDependencyError   (ImportError)        an optional package is not installed
    ├── StoreError               (OSError)            the feature cache cannot be read or written
    ├── ResourceError            (OSError)            the process is out of memory, file handles or threads
    ├── OutputError              (OSError)            a result cannot be written
    ├── JobError                 (ValueError)         a job is invalid, or cannot be run with these options
    ├── AuditError               (RuntimeError)       rows and images do not match
    ├── FeaturesError            (ValueError)         a feature file is invalid or corrupt
    │   └── FeaturesNotFoundError (FileNotFoundError)
    ├── ComparisonError          (ValueError)         baselines cannot be compared on this data
    ├── ModelFileError           (ValueError)         a model file is invalid, corrupt or not trusted
    ├── ExportError              (ValueError)         a fitted pipeline cannot be exported
    └── TrainingError            (ValueError)         a network cannot be trained on this data

    FeatxWarning (UserWarning)
    ├── UnreadableImagesWarning  some images were skipped or have NaN rows; issued once per run
    ├── StoreWarning             a corrupt cache file was quarantined; its rows are computed again
    ├── IncompleteJobWarning     an incomplete job was opened
    └── SmallSegmentsWarning     the cache consists of many small files and is slow to open

Every message states what failed, what was expected and what was found, and how to fix it. Each error is also a
builtin error, so that ``except ValueError`` and the like work.

This file is long because it has all errors, warnings and the removal of secrets from their texts.
"""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

#: ``https://user:password@host/``.
SECRET_USER = re.compile(r"([a-z][a-z0-9+.-]+://)[^/?#\s'\"]*@", re.IGNORECASE)
#: Parameter of a query whose value grants access: a signature of a signed URL, a token or a password.
SECRET_PARAMETER = re.compile(
    r"[?&;#]("
    r"(?:[\w.-]*(?:signature|token|secret|credential|password|passwd|api[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|subscription[_-]key|auth[_-]?key|session[_-]?id|sessid|authorization|hmac)"
    r"|sig|sas|pwd|pass|pw|key-pair-id|googleaccessid|jwt|auth|bearer|hdnea|hdnts)="
    # A key or code may also name a country or a file: short values, numbers and file names are not secrets.
    r"|(?:key|code|session|sid|ticket|hm)=(?![^&;#\s'\"]{0,4}(?:[&;#\s'\"]|$)|\d+(?:[&;#\s'\"]|$)|[^&;#\s'\"]*\.[a-z]\w{1,4}(?:[&;#\s'\"]|$))"
    r")[^&;#\s'\"]*",
    re.IGNORECASE,
)
#: Part of a text without spaces that contains a character which is encoded in a URL.
_ENCODED = re.compile(r"[^\s'\"]*%[^\s'\"]*")
#: Maximum number of characters of a path in a message.
_MAX_SHOWN = 300


#: Quoted values in a message, which may be as long as a file.
_QUOTED = re.compile(r"'[^'\n]{%d,}'|\"[^\"\n]{%d,}\"" % (_MAX_SHOWN, _MAX_SHOWN))  # noqa: UP031


def redact_secrets(text: str) -> str:
    """Return a text with "…" in place of secrets in URLs.

    Examples
    --------
    >>> redact_secrets("https://me:pass@host/a.jpg?size=2&sig=abc")
    'https://…@host/a.jpg?size=2&sig=…'
    """
    if "://" not in text:
        return text
    if "%" in text:
        text = _ENCODED.sub(lambda match: _without_encoded_secret(match[0]), text)
    return SECRET_PARAMETER.sub(lambda match: f"{match[0][0]}{match[1]}…", SECRET_USER.sub(r"\1…@", text))


def _without_encoded_secret(text: str) -> str:
    if SECRET_PARAMETER.search(text) or not SECRET_PARAMETER.search(urllib.parse.unquote(text)):
        return text
    return f"{re.split('[?%]', text, maxsplit=1)[0]}?…"


def shorten_quoted(message: str) -> str:
    """Return a message with quoted values of a limited length."""
    return _QUOTED.sub(lambda match: f"{match[0][: _MAX_SHOWN // 2]}…{match[0][-_MAX_SHOWN // 2 :]}", message)


class FeatxError(Exception):
    """Base class of all errors that featx raises on purpose. Its message is short, and has no secrets of URLs."""

    def __str__(self) -> str:
        return shorten_quoted(redact_secrets(super().__str__()))


@contextlib.contextmanager
def notes_on_errors(notes: Sequence[str]) -> Iterator[None]:
    """Add notes on the data to an error of the block, which they often explain.

    An invalid option is independent of the data, and its error has no notes.
    """
    try:
        yield
    except FeatxError as error:
        for note in dict.fromkeys(notes):
            if not isinstance(error, OptionError) and note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        raise


class OptionError(FeatxError, ValueError):
    """A parameter or command-line option has an invalid value."""


if TYPE_CHECKING:

    class InvalidOptionError(OptionError, TypeError):
        """A parameter of an estimator has an invalid value. It is also scikit-learn's InvalidParameterError."""


def __getattr__(name: str) -> Any:
    """Define InvalidOptionError when it is first used: its base class would import scikit-learn with featx."""
    if name != "InvalidOptionError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sklearn.utils._param_validation import InvalidParameterError

    attributes = {
        "__module__": __name__,
        "__doc__": "A parameter of an estimator has an invalid value. It is also scikit-learn's InvalidParameterError.",
    }
    globals()[name] = type(name, (OptionError, InvalidParameterError), attributes)
    return globals()[name]


class UnknownBackboneError(OptionError):
    """No backbone has the given name."""


class InputError(FeatxError, TypeError):
    """The input is not a collection of images."""


class SourceError(FeatxError, ValueError):
    """A folder, archive or table of images cannot be used."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """A folder or file of images does not exist."""


class UnreadableImageError(FeatxError, OSError):
    """An image cannot be read.

    Parameters
    ----------
    reason : str
        Reason, without the name of the image.
    image : str, default=""
        Path of the image, or a description of the object.
    position : int or None, default=None
        Index of the image in the input.
    """

    def __init__(self, reason: str, image: str = "", position: int | None = None) -> None:
        self.reason = reason
        self.image = image
        self.position = position
        super().__init__(reason, image, position)

    _remedy = "Fix or remove the image"

    @property
    def remedy(self) -> str:
        """Remedy for the file, without a period."""
        return self._remedy

    def __str__(self) -> str:
        index = f" (index {self.position})" if self.position is not None else ""
        image = self.image if len(self.image) <= _MAX_SHOWN else f"{self.image[:_MAX_SHOWN]}…"
        return (
            f"Cannot read image {image!r}{index}: {shorten_quoted(redact_secrets(self.reason))}. "
            f'{self.remedy}, or continue without it: on_error="skip" (--on-error skip; "nan" in FeatureExtractor).'
        )


class UnknownFormatError(UnreadableImageError):
    """The file is not an image, or has an unsupported format."""

    @property
    def remedy(self) -> str:
        """Remedy for the file, without a period."""
        if "Git LFS" in self.reason:
            return "Fetch the images"
        is_lost = "is empty" in self.reason or "a web page" in self.reason
        return "Download or restore the file" if is_lost else "Convert the file to JPEG or PNG, or remove it"


class TruncatedImageError(UnreadableImageError):
    """The file ends too early. With ``on_truncated="pad"`` the missing part is filled."""

    _remedy = 'Copy or download the file again, pad it with on_truncated="pad" (--on-truncated pad)'


class ImageTooLargeError(UnreadableImageError):
    """The image has more pixels or bytes than the limit."""

    _remedy = "Reduce the image"


class UnreachableImageError(UnreadableImageError):
    """The file or URL cannot be opened: it does not exist, is locked, is not a file, or the server is not reachable."""

    @property
    def remedy(self) -> str:
        """Remedy for the file, without a period."""
        if "No such file" in self.reason and not os.path.isabs(self.image):
            return f"Relative paths start at the working directory, {os.getcwd()!r}. Correct the path"
        if "no credentials" in self.reason:
            return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket"
        if "responds 429" in self.reason or "responds 5" in self.reason:
            return "Try again later"
        return "Correct the path or URL"


class WeightsError(FeatxError, ValueError):
    """Weights are corrupt, modified, or belong to another network."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """Weights are not on this machine and cannot be downloaded."""


class RecipeMismatchError(FeatxError, ValueError):
    """A fitted extractor cannot reproduce its features.

    Parameters
    ----------
    backbone : str
        Name of the backbone.
    differences : mapping of str to (object, object)
        Fitted and current value of each recipe field that differs.
    file : str, default=""
        Path of the model file that holds the fitted recipe.
    versions : tuple of (str, str) or None, default=None
        Versions of featx that wrote the model file and that reads it.
    """

    def __init__(
        self,
        backbone: str,
        differences: Mapping[str, tuple[object, object]],
        file: str = "",
        versions: tuple[str, str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.differences = dict(differences)
        self.file = file
        self.versions = versions
        super().__init__(backbone, self.differences, file, versions)

    def described_differences(self) -> str:
        """Return the differences as a sentence, and what they mean where the version of featx is the reason."""
        differences = "; ".join(
            f"expected {name} {str(fitted)[:16]!r}, got {str(current)[:16]!r}"
            for name, (fitted, current) in self.differences.items()
        )
        versions = self.versions and "It was written by featx {}, this is featx {}.".format(*self.versions)
        return " ".join(filter(None, [f"{differences}.", versions, *recipe_change_notes(self.differences)]))

    def __str__(self) -> str:
        subject = f"Model {self.file!r}" if self.file else f"FeatureExtractor({self.backbone!r})"
        refit = "train the model again (featx train)" if self.file else "refit the pipeline"
        if self.versions and len(set(self.versions)) == 2:
            refit += f", or install featx {self.versions[0]}"
        known = _MODEL_REMEDIES if self.file else _MISMATCH_REMEDIES
        remedies = [known[name] for name in self.differences if name in known]
        last = f"Or {refit}." if remedies else f"{refit[0].upper()}{refit[1:]}."
        parts = [self.described_differences(), *remedies, last]
        return f"{subject} cannot reproduce its fitted features: {' '.join(parts)}"


_MISMATCH_REMEDIES = {
    "weights": (
        "Pass the weights that it was fitted with (weights=); for a custom backbone, use the version that it was "
        "fitted with."
    ),
    "precision": (
        "If this CPU does not support the fitted precision, fit with precision='float32' for features that are the "
        "same on every machine, or accept slightly different features with set_params(precision='float32')."
    ),
}
#: The same for a model file, whose weights are no parameter of the functions that read it.
_MODEL_REMEDIES = {
    "weights": "Restore the weights that it was trained with; for a custom backbone, use the version of the training.",
    "precision": 'Pass precision="float32" (--precision float32), which changes the features slightly.',
}
#: What a field means whose value depends on the version of featx alone.
_VERSION_FIELDS = {
    "pixels": "This version of featx decodes or resizes images in another way; pixels is its number.",
    "calibration": "This version of featx quantizes networks in another way; calibration is its name.",
}


def recipe_change_notes(names: Iterable[str]) -> list[str]:
    """Return a sentence for each recipe field that another version of featx has changed, whatever the options.

    Examples
    --------
    >>> recipe_change_notes(["layer", "pixels"])
    ['This version of featx decodes or resizes images in another way; pixels is its number.']
    """
    return [_VERSION_FIELDS[name] for name in names if name in _VERSION_FIELDS]


class EngineError(FeatxError, RuntimeError):
    """A network cannot be run with these options on this machine."""


class MissingDependencyError(FeatxError, ImportError):
    """An optional package is not installed."""


class StoreError(FeatxError, OSError):
    """The feature cache cannot be read or written."""


class ResourceError(FeatxError, OSError):
    """The operating system refuses memory, file handles or threads."""


class OutputError(FeatxError, OSError):
    """A result cannot be written."""


class JobError(FeatxError, ValueError):
    """A job is invalid, or cannot be run with these options."""


class AuditError(FeatxError, RuntimeError):
    """Rows and images do not match."""


class FeaturesError(FeatxError, ValueError):
    """A feature file is invalid, corrupt, or of another type."""


class FeaturesNotFoundError(FeaturesError, FileNotFoundError):
    """A feature file does not exist."""


class ComparisonError(FeatxError, ValueError):
    """Baselines cannot be compared on this data."""


class ModelFileError(FeatxError, ValueError):
    """A model file is invalid, corrupt, or not trusted."""


class ExportError(FeatxError, ValueError):
    """A fitted pipeline cannot be exported."""


class TrainingError(FeatxError, ValueError):
    """A network cannot be trained on these images and labels."""


class FeatxWarning(UserWarning):
    """Base class of all warnings that featx issues on purpose."""


class UnreadableImagesWarning(FeatxWarning):
    """Some images could not be read. Issued once per run."""


class StoreWarning(FeatxWarning):
    """A corrupt file of the feature cache was quarantined."""


class IncompleteJobWarning(FeatxWarning):
    """An incomplete job was opened: only the features of shards that are done are available."""


class SmallSegmentsWarning(FeatxWarning):
    """The feature cache consists of many small files and is slow to open. ``featx cache compact`` merges them."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or "" if no name is similar.

    Capital letters, leading dashes and the ends of scikit-learn's names do not count. The beginning of a single known
    name is similar to it, too.

    Examples
    --------
    >>> did_you_mean("mobilnet", ["mobilenet", "resnet50"])
    " Did you mean 'mobilenet'?"
    >>> did_you_mean("--estimater", ["--estimator", "--exact"])
    " Did you mean '--estimator'?"
    >>> did_you_mean("XGBClassifier", ["RidgeClassifier"])
    ''
    """
    import difflib

    by_key = {name.lower().lstrip("-"): name for name in known}
    key = name.lower().lstrip("-")
    end = next((end for end in ("classifier", "regressor") if key.endswith(end)), "")
    by_stem = {other.removesuffix(end): other for other in by_key if other.endswith(end)}
    stem = key.removesuffix(end)
    cutoff = 0.6 if len(stem) <= 5 else 0.75  # a typo changes more of a short name
    matches = [by_stem[near] for near in difflib.get_close_matches(stem, by_stem, n=1, cutoff=cutoff)]
    longer = [other for other in by_key if other.startswith(key)] if len(key) >= 3 else []
    if not matches and len(longer) == 1:
        matches = longer
    return f" Did you mean {by_key[matches[0]]!r}?" if matches else ""


def missing_dependency(feature: str, package: str, install: str = "", instead: str = "") -> MissingDependencyError:
    """Return the error for a feature whose package is not installed.

    Parameters
    ----------
    feature : str
        Feature that needs the package: the subject of the message.
    package : str
        Name of the package that cannot be imported.
    install : str, default=""
        Argument of ``pip install``, such as ``'featx[dask]'``. Empty means `package`.
    instead : str, default=""
        Alternative to the installation, as an imperative without a period.

    Examples
    --------
    >>> print(missing_dependency("backend='ray'", "ray", "'featx[ray]'"))
    backend='ray' requires the package ray, which is not installed. Install it: pip install 'featx[ray]'.
    """
    alternative = f", or {instead}" if instead else ""
    return MissingDependencyError(
        f"{feature} requires the package {package}, which is not installed. "
        f"Install it: pip install {install or package}{alternative}."
    )
