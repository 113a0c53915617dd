"""Requirements of an installation: all of featx, or what predicting with a model needs."""

from __future__ import annotations

import importlib.metadata

from featx.errors import MissingDependencyError, missing_dependency

#: Packages that a Predictor imports, in addition to featx itself: no tensorflow, no scikit-learn, no pandas. Whether it
#: needs each of them; without the others, it is slower.
_SERVING = {
    **{"numpy": True, "openvino": True, "pillow": True, "simplejpeg": True},
    **{"cykooz-resizer": False, "platformdirs": True},
}


def requirements(*, serve: bool = False) -> list[str]:
    """Return the packages that featx needs, as lines of a requirements file.

    Parameters
    ----------
    serve : bool, default=False
        Whether to return only what :meth:`Predictor.predict_one` needs for a model that holds its graph and whose
        estimator featx runs itself, in the versions that are installed here. featx itself is then installed with
        ``pip install --no-deps featx``.

    Returns
    -------
    list of str
        One requirement for each package.

    Raises
    ------
    MissingDependencyError
        featx was not installed by pip, so that its requirements are unknown; or a package of a service is not
        installed here, so that its version is unknown.

    See Also
    --------
    Predictor : Predict images with a model.

    Examples
    --------
    >>> from featx import requirements
    >>> [line.split("==")[0] for line in requirements(serve=True)][:3]
    ['numpy', 'openvino', 'pillow']
    """
    if serve:
        versions = {name: _version(name) for name in _SERVING}
        for name in [name for name, version in versions.items() if not version and _SERVING[name]]:
            raise missing_dependency("requirements(serve=True)", name)
        return [f"{name}=={version}" for name, version in versions.items() if version]
    try:
        lines = importlib.metadata.requires("featx") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError("featx was not installed by pip. Install it: pip install featx.") from error
    return [line for line in lines if "extra ==" not in line]


def _version(name: str) -> str:
    """Return the installed version of a package; "" for an optional one that is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
