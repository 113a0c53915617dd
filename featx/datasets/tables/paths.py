"""Find where the paths of a table start, and how they are written."""

from __future__ import annotations

import dataclasses
import os
import string
from collections.abc import Callable, Iterable, Sequence

from featx.datasets.tables.text_format import has_undecoded, repair_text
from featx.errors import OptionError, SourceError, did_you_mean
from featx.images.containers.members import has_member, split_member_path
from featx.system.files import remote

#: Number of paths that are looked for as they are written, and in other folders and with other suffixes.
_N_PROBED, _N_PROBED_ELSEWHERE = 100, 10
_MAX_FOLDERS = 50
_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".webp", ".tif", ".bmp")


@dataclasses.dataclass(frozen=True)
class PathForm:
    r"""How the paths of a table become paths of files.

    Attributes
    ----------
    folder : str, default=""
        Where relative paths start. "": the working directory.
    is_cleaned : bool, default=False
        Whether blanks and quotes around paths are removed, ``\`` is read as ``/``, and ``~`` as the home folder.
    suffix : str, default=""
        Suffix that is appended.
    n_dropped : int, default=0
        Number of leading folders that are removed, as from absolute paths of another machine.
    """

    folder: str = ""
    is_cleaned: bool = False
    suffix: str = ""
    n_dropped: int = 0

    def apply(self, path: str) -> str:
        """Return the path of a file."""
        if self.is_cleaned:
            path = clean_path(path)
        if remote.is_url(path):
            return path
        if self.n_dropped:
            path = "/".join(path.lstrip("/").split("/")[self.n_dropped :])
        if has_undecoded(path) and not os.path.lexists(os.path.join(self.folder, path)):
            path = repair_text(path)
        return join_path(self.folder, f"{path}{self.suffix}")


def clean_path(path: str) -> str:
    r"""Return a path without blanks and quotes around it, with ``/`` between folders.

    Examples
    --------
    >>> clean_path(' "img\\a.jpg" ')
    'img/a.jpg'
    """
    path = path.strip().strip("\"'").strip()
    return path if remote.is_url(path) else os.path.expanduser(path.replace("\\", "/"))


def join_path(folder: str, path: str) -> str:
    """Return a path that starts at a folder or URL, unless it is absolute."""
    if os.path.isabs(path) or remote.is_url(path):
        return path
    if remote.is_url(folder):
        return f"{folder.rstrip('/')}/{path}"
    return os.path.join(folder, path)


def path_exists(path: str) -> bool:
    """Return whether a file exists, also in an archive. That of a URL is taken for granted."""
    if remote.is_url(path) or os.path.isfile(path):
        return True
    member = split_member_path(path)
    return member is not None and has_member(*member)


def find_path_form(paths: Sequence[str], folder: str, root: str | None, source: str) -> tuple[PathForm, bool]:
    """Return how paths become files, and whether the first of them exist in this way.

    Paths start at `root`, else at the folder of the table, at the working directory if none of the first 100 exists
    there, or at a subfolder of the table's folder if they exist in only one.

    Parameters
    ----------
    paths : sequence of str
        Paths as the table has them.
    folder : str
        Folder of the table.
    root : str or None
        Where relative paths start. None: not given.
    source : str
        Name of the table, for messages.

    Raises
    ------
    SourceError
        The paths exist in several subfolders.
    """
    probed = [path for path in paths[:_N_PROBED] if not remote.is_url(clean_path(path))] or list(paths[:_N_PROBED])
    folders = [folder, ""] if root is None else [os.path.expanduser(root)]
    best = _best([PathForm(base, cleaned) for cleaned in (False, True) for base in folders], probed)
    if best is not None:
        return best, True
    few = probed[:_N_PROBED_ELSEWHERE]
    suffixes = ("", *_SUFFIXES)
    best = _best([PathForm(base, is_cleaned=True, suffix=suffix) for base in folders for suffix in suffixes], few)
    if best is not None:
        return best, True
    if _is_absolute(few[0]):
        n_folders = clean_path(few[0]).strip("/").count("/")
        tails = [PathForm(base, True, n_dropped=n) for n in range(n_folders + 1) for base in folders]
        if (best := _best(tails, few)) is not None:
            return best, True
    subfolders = _subfolders(folders[0])
    found = [form for base in subfolders if (form := _best([PathForm(base, True, suffix) for suffix in suffixes], few))]
    if len(found) > 1:
        listed = " and ".join(repr(form.folder) for form in found[:2])
        raise SourceError(
            f"The paths of {source!r} are ambiguous: {paths[0]!r} exists in {listed}. Pass one of them as "
            "root (--root)."
        )
    return (found[0], True) if found else (PathForm(folders[0]), False)


def _best(forms: Iterable[PathForm], paths: Sequence[str]) -> PathForm | None:
    """Return the first form in which most paths exist. None: no path exists in any form."""
    best, n_best = None, 0
    for form in forms:
        n_existing = sum(path_exists(form.apply(path)) for path in paths)
        if n_existing > n_best:
            best, n_best = form, n_existing
        if n_best == len(paths):
            break
    return best


def _is_absolute(path: str) -> bool:
    """Return whether a path is absolute on this or another system, such as ``C:/a.jpg``."""
    path = clean_path(path)
    return path.startswith("/") or path[1:3] == ":/"


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder or ".") as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:  # a URL, or a folder that does not exist
        return []
    return [os.path.join(folder, name) for name in names[:_MAX_FOLDERS]]


def parse_template(template: str, columns: Sequence[str], source: str) -> Callable[[Sequence[str]], str]:
    """Return a function that makes a path of the values of :func:`template_columns`.

    Raises
    ------
    OptionError
        The template has no field.
    SourceError
        A field is not a column.
    """
    fields = template_columns(template)
    for field in fields:
        if field not in columns:
            raise SourceError(
                f"path_template (--path-template) must name columns of {source!r} in braces, got {{{field}}}."
                f"{did_you_mean(field, list(columns))}"
            )
    formatter = _PathFormatter()

    def path_of(values: Sequence[str]) -> str:
        try:
            return formatter.vformat(template, (), dict(zip(fields, values, strict=True)))
        except ValueError as error:
            raise OptionError(
                f"path_template (--path-template) must fit the values of {source!r}, got {template!r} for "
                f"{values[0]!r}: {error}. Correct what follows the colon, such as {{id:04}} for numbers of four digits."
            ) from None

    return path_of


class _PathFormatter(string.Formatter):
    """Formatter of the cells of a table, which are text: a format such as ``04`` is that of a number."""

    def format_field(self, value: str, format_spec: str) -> str:
        """Return a value in a format."""
        is_number = format_spec != "" and value.removeprefix("-").isdecimal()
        return format(int(value) if is_number else value, format_spec)


def template_columns(template: str) -> list[str]:
    """Return the names in braces of a template, once each.

    Examples
    --------
    >>> template_columns("{split}/{id}.jpg")
    ['split', 'id']
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError:
        fields = []
    if not fields or any(not field or any(sign in field for sign in ".[]") for field in fields):
        raise OptionError(
            "path_template (--path-template) must contain the name of a column in braces, such as 'train/{id}.jpg', "
            f"got {template!r}."
        )
    return list(dict.fromkeys(fields))
