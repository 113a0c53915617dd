"""Names of networks of timm, torchvision and open_clip: the library, the architecture and the weights."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from collections.abc import Iterable

from featx.errors import UnknownBackboneError, missing_dependency

#: Package, extra of featx and the separator of architecture and weights, by library.
LIBRARIES = {
    "timm": ("timm", "timm", "."),
    "torchvision": ("torchvision", "timm", "."),
    "open_clip": ("open_clip", "clip", ":"),
}
#: Prefix of models in a repository of the Hugging Face Hub, in the format of timm.
HUB_PREFIX = "hf-hub:"
_EXAMPLES = {
    "timm": "timm/resnet50.a1_in1k",
    "torchvision": "torchvision/resnet50.IMAGENET1K_V2",
    "open_clip": "open_clip/ViT-B-32:laion2b_s34b_b79k",
}


@dataclasses.dataclass(frozen=True)
class TorchName:
    """Name of a network.

    Attributes
    ----------
    library : {"timm", "torchvision", "open_clip"}
        Library that builds the network.
    model : str
        Name of the architecture; "" for a model of the hub.
    tag : str
        Name of the weights; "" for the default of the library.
    repository : str
        Repository of the Hugging Face Hub, for a model of the hub.
    revision : str
        Branch, tag or commit of the repository; "" for the main branch.
    """

    library: str
    model: str
    tag: str = ""
    repository: str = ""
    revision: str = ""

    @property
    def text(self) -> str:
        """The name as users write it."""
        if self.repository:
            return f"{HUB_PREFIX}{self.repository}{'@' if self.revision else ''}{self.revision}"
        separator = LIBRARIES[self.library][2] if self.tag else ""
        return f"{self.library}/{self.model}{separator}{self.tag}"

    def check_installed(self) -> None:
        """Raise an error if the library is not installed.

        Raises
        ------
        MissingDependencyError
            With the name of the extra to install.
        """
        check_installed(self.library, f"Backbone {self.text!r}")


def is_torch_name(name: str) -> bool:
    """Return whether a backbone is given as a network of one of the libraries."""
    return name.startswith((HUB_PREFIX, *(f"{library}/" for library in LIBRARIES)))


def parse_name(name: str) -> TorchName:
    """Return the parts of a name.

    Raises
    ------
    UnknownBackboneError
        If a part is missing.

    Examples
    --------
    >>> parse_name("timm/resnet50.a1_in1k")
    TorchName(library='timm', model='resnet50', tag='a1_in1k', repository='', revision='')
    """
    if name.startswith(HUB_PREFIX):
        repository, at, revision = name.removeprefix(HUB_PREFIX).partition("@")
        if repository.count("/") != 1 or not all(repository.split("/")) or (at and not revision):
            raise UnknownBackboneError(
                f"Unknown backbone {name!r}. The name of a model of the hub must be 'hf-hub:ORGANIZATION/MODEL', such "
                "as 'hf-hub:timm/resnet50.a1_in1k', optionally followed by '@REVISION'."
            )
        return TorchName("timm", "", repository=repository, revision=revision)
    library, _, rest = name.partition("/")
    model, _, tag = rest.partition(LIBRARIES[library][2])
    if not model:
        raise UnknownBackboneError(f"Unknown backbone {name!r}. Add a model, as in {_EXAMPLES[library]!r}.")
    return TorchName(library, model, tag)


def check_installed(library: str, purpose: str) -> None:
    """Raise MissingDependencyError if a library is not installed."""
    package, extra, _ = LIBRARIES[library]
    if not is_installed(library):
        raise missing_dependency(purpose, package, f"'featx[{extra}]'")


def is_installed(library: str) -> bool:
    """Return whether a library and torch are installed; neither is imported."""
    try:
        return all(importlib.util.find_spec(package) for package in (LIBRARIES[library][0], "torch"))
    except (ImportError, ValueError):  # a broken or hidden package
        return False


def nearest_names(library: str, name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'timm/x'?" with up to three similar names, or "" if no name is similar.

    Examples
    --------
    >>> nearest_names("open_clip", "vit-b32", ["ViT-B-32", "ViT-B-16", "RN50"])
    " Did you mean 'open_clip/ViT-B-32' or 'open_clip/ViT-B-16'?"
    """
    by_lower_case = {text.lower(): text for text in known}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=3)
    return (
        f" Did you mean {' or '.join(repr(f'{library}/{by_lower_case[match]}') for match in matches)}?"
        if matches
        else ""
    )
