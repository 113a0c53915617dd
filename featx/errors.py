"""Every error and warning that featx raises on purpose.

::

    FeatxError
    ├── OptionError              (ValueError)         an option has a value that cannot be used
    │   ├── InvalidOptionError                        the same, in scikit-learn's words and as its own error too
    │   └── UnknownBackboneError
    ├── InputError               (TypeError)          what was passed is not a list of images
    ├── SourceError              (ValueError)         a folder or file to read images from is no use
    │   └── SourceNotFoundError  (FileNotFoundError)
    ├── UnreadableImageError     (OSError)            one image cannot be read: it is damaged, or one of these
    │   ├── UnknownFormatError                        no image, or of a format that is not read
    │   ├── TruncatedImageError                       it ends too early
    │   ├── ImageTooLargeError                        more pixels or bytes than the limit
    │   └── UnreachableImageError                     its file cannot be opened
    ├── WeightsError             (ValueError)         weights that are altered or of another network
    │   └── WeightsNotFoundError (FileNotFoundError)
    ├── RecipeMismatchError      (ValueError)         a fitted extractor cannot give the features it was fitted with
    ├── EngineError              (RuntimeError)       a network cannot be run
    ├── MissingDependencyError   (ImportError)        an optional package is not installed
    ├── StoreError               (OSError)            the store cannot be read, written or understood
    ├── ResourceError            (OSError)            the system gives this process no more of something
    ├── OutputError              (OSError)            a result cannot be written
    ├── JobError                 (ValueError)         a job folder is none, or cannot be run as asked
    ├── AuditError               (RuntimeError)       rows and images do not match: nothing was kept
    ├── FeaturesError            (ValueError)         what should hold features is none, damaged, or of another kind
    │   └── FeaturesNotFoundError (FileNotFoundError)
    ├── ComparisonError          (ValueError)         baselines cannot be compared on this data
    ├── ModelFileError           (ValueError)         a file of a trained model is none, or not to be trusted
    ├── ExportError              (ValueError)         a fitted pipeline cannot be written for other programs
    └── TrainingError            (ValueError)         a network cannot be trained on these images and labels

    FeatxWarning (UserWarning)
    ├── UnreadableImagesWarning  images left out or given NaN rows: one warning for a run
    ├── StoreWarning             a damaged file of the store was passed over; its rows are extracted anew
    ├── UnfinishedWarning        a job that is opened is not finished
    └── SmallSegmentsWarning     a store is in so many small files that opening it is slow; how to merge them

A message says what failed (its name and value), what was expected against what was found, and what
to do. Each error also inherits the builtin that it is a case of, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class FeatxError(Exception):
    """Any error that featx raises on purpose."""


class OptionError(FeatxError, ValueError):
    """An option has a value that cannot be used."""


class UnknownBackboneError(OptionError):
    """No backbone has this name."""


class InputError(FeatxError, TypeError):
    """What was passed is not a list of images."""


class SourceError(FeatxError, ValueError):
    """A folder or file to read images from is of no use."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """A folder or file to read images from does not exist."""


class UnreadableImageError(FeatxError, OSError):
    """One image cannot be read.

    Parameters
    ----------
    reason : str
        What is wrong with it, without its name.
    image : str, default=""
        What to call it: a path, or the kind of object that was passed.
    position : int or None, default=None
        Where it stood among the images of the call, from 0.
    """

    def __init__(self, reason: str, image: str = "", position: int | None = None) -> None:
        self.reason = reason
        self.image = image
        self.position = position
        super().__init__(reason, image, position)

    def __str__(self) -> str:
        where = f" at position {self.position}" if self.position is not None else ""
        return (
            f"Cannot read image {self.image!r}{where}: {self.reason}. "
            'Mend or remove it, or pass on_error="nan" (on the command line: --on-error skip).'
        )


class UnknownFormatError(UnreadableImageError):
    """It is no image, or of a format that is not read."""


class TruncatedImageError(UnreadableImageError):
    """It ends too early: ``on_truncated="pad"`` takes what there is."""


class ImageTooLargeError(UnreadableImageError):
    """It has more pixels or bytes than the limit, by its header."""


class UnreachableImageError(UnreadableImageError):
    """Its file or address cannot be read: it is gone, locked, no file, or out of reach."""


class WeightsError(FeatxError, ValueError):
    """Weights are altered, damaged or made for another network."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """Weights are neither on this machine nor to be had from the network."""


class RecipeMismatchError(FeatxError, ValueError):
    """A fitted extractor cannot give the features it was fitted with.

    Parameters
    ----------
    backbone : str
    differences : mapping of str to (object, object)
        For each part of the recipe that differs, what it was when fitted and what it is here.
    """

    def __init__(self, backbone: str, differences: Mapping[str, tuple[object, object]]) -> None:
        self.backbone = backbone
        self.differences = dict(differences)
        super().__init__(backbone, self.differences)

    def __str__(self) -> str:
        said = "; ".join(
            f"{name} was {str(fitted)[:16]!r}, here it is {str(found)[:16]!r}"
            for name, (fitted, found) in self.differences.items()
        )
        remedies = [_MISMATCH_REMEDIES[name] for name in self.differences if name in _MISMATCH_REMEDIES]
        return (
            f"This FeatureExtractor({self.backbone!r}) was fitted with another recipe than it has here: {said}. "
            f"{' '.join(remedies)} Or fit the pipeline again."
        )


_MISMATCH_REMEDIES = {
    "weights": "Pass the weights file that it was fitted with (weights=); of a backbone of your own, its version.",
    "precision": (
        "This CPU does not compute that way; fit with precision='float32' for features that are the same everywhere, "
        "or accept slightly different ones with set_params(precision='float32')."
    ),
    "pixels": "Install the featx version that it was fitted with.",
}


class EngineError(FeatxError, RuntimeError):
    """A network cannot be run as asked."""


class MissingDependencyError(FeatxError, ImportError):
    """An optional package is not installed."""


class StoreError(FeatxError, OSError):
    """The store cannot be read, written or understood."""


class ResourceError(FeatxError, OSError):
    """The system gives this process no more files or memory: no fault of an image."""


class OutputError(FeatxError, OSError):
    """A result cannot be written."""


class JobError(FeatxError, ValueError):
    """A job folder is none, or cannot be run as asked."""


class AuditError(FeatxError, RuntimeError):
    """Rows and images do not match."""


class FeaturesError(FeatxError, ValueError):
    """What should hold features is none, damaged, or of another kind."""


class FeaturesNotFoundError(FeaturesError, FileNotFoundError):
    """There are no features where they were looked for."""


class ComparisonError(FeatxError, ValueError):
    """Baselines cannot be compared on this data."""


class ModelFileError(FeatxError, ValueError):
    """A file of a trained model is none, damaged, or not to be trusted."""


class ExportError(FeatxError, ValueError):
    """A fitted pipeline cannot be written for other programs."""


class TrainingError(FeatxError, ValueError):
    """A network cannot be trained on these images and labels."""


class FeatxWarning(UserWarning):
    """Any warning that featx gives on purpose."""


class UnreadableImagesWarning(FeatxWarning):
    """Some images could not be read: one warning for a whole run."""


class StoreWarning(FeatxWarning):
    """A damaged file of the store was passed over."""


class UnfinishedWarning(FeatxWarning):
    """A job is opened that is not finished: its features are those of the shards that are there."""


class SmallSegmentsWarning(FeatxWarning):
    """A store is in so many small files that opening it is slow: ``featx cache compact`` merges them."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or "".

    Examples
    --------
    >>> did_you_mean("mobilnet", ["mobilenet", "resnet50"])
    " Did you mean 'mobilenet'?"
    >>> did_you_mean("zzz", ["mobilenet"])
    ''
    """
    import difflib

    nearest = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
