"""HubFile: a ready-made ONNX network of the Hugging Face Hub as a backbone."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath

from featx.backbones.files.describe import describe_source
from featx.backbones.files.model_source import HUB_PREFIX, ModelSource, external_data
from featx.backbones.files.network_file import NetworkFile
from featx.backbones.hub.licenses import show_license_once
from featx.backbones.hub.processor import Processor, read_processor
from featx.backbones.hub.repository import find_file, find_optional_file, repository_license
from featx.errors import UnknownBackboneError

_NAME = re.compile(r"hf://(?P<repository>[^/@]+/[^/@]+)/(?P<path>[^@]+\.onnx)(@(?P<revision>.+))?")


@dataclasses.dataclass(frozen=True)
class HubFile(NetworkFile):
    """ONNX network of a repository, with the preprocessing that a file next to it states.

    Attributes
    ----------
    address : str
        Name as users write it.
    processor : Processor or None
        Preprocessing of ``preprocessor_config.json``; None without such a file.
    license : str
        License that the card of the repository states.
    """

    address: str = ""
    processor: Processor | None = None
    license: str = ""

    @classmethod
    def open(cls, path: str) -> HubFile:
        """Return the network of a name, after a download if necessary.

        Raises
        ------
        UnknownBackboneError
            If the name has another form, or the repository has no such file.
        WeightsError
            If the file cannot be downloaded, or is not a network that featx can use.
        MissingDependencyError
            If huggingface_hub is not installed.
        """
        match = _NAME.fullmatch(path)
        if match is None:
            raise UnknownBackboneError(
                f"Unknown backbone {path!r}. The name of a network of the hub must be "
                "'hf://ORGANIZATION/MODEL/PATH.onnx', optionally followed by '@REVISION'."
            )
        repository, revision = match["repository"], match["revision"]
        file = find_file(repository, (match["path"],), path, revision)
        folders = PurePosixPath(match["path"]).parents
        for part in external_data(file):  # weights next to the file
            find_file(repository, (str(folders[0] / part.relative_to(file.parent)),), path, revision)
        names = [str(folder / "preprocessor_config.json") for folder in folders]
        config = find_optional_file(repository, names, path, revision)
        source = ModelSource.open(str(file))
        license_name = repository_license(repository, path)
        processor = read_processor(config, path) if config else None
        network = cls(source, describe_source(source, None), path, processor, license_name)
        show_license_once(path, license_name, network.origin_url)
        return network

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """Address of the network in the hub."""
        return self.address

    @property
    def origin_url(self) -> str:
        """Address of the repository."""
        return f"https://huggingface.co/{'/'.join(self.address.removeprefix(HUB_PREFIX).split('/')[:2])}"

    @property
    def image_size(self) -> int | None:  # type: ignore[override]  # a file need not state a size
        """Height and width of the input if the network or its preprocessing states one square size."""
        size = self.fixed_image_size or (self.processor and self.processor.image_size)
        return size[0] if size and size[0] == size[1] else None

    @property
    def resize(self) -> str:  # type: ignore[override]  # read only
        """How images are fitted to the input by default."""
        return self.processor.resize if self.processor else "squash"

    @property
    def preprocessing_text(self) -> str | None:  # type: ignore[override]  # read only
        """Scaling of pixels as a recipe records it; None if the user states it."""
        return self.processor.preprocessing if self.processor else None
