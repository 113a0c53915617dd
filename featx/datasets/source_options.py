"""How a source is read: the columns of a table, where its paths start, the level of class folders, and encodings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from featx.errors import OptionError

#: Options that apply to tables only.
TABLE_OPTIONS = (
    "path_column",
    "label_column",
    "label_separator",
    "split_column",
    "group_column",
    "path_template",
    "root",
    "encoding",
)
#: Default names of the label column. The first that exists is used.
LABEL_COLUMNS = ("label", "class", "category", "target", "y", "species")


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """Options of :func:`featx.find_images`, as the user passed them. None: the default.

    Attributes
    ----------
    path_column, split_column, group_column, path_template, root, encoding : str or None, default=None
        Options of tables.
    label_column : str, tuple of str or None, default=None
        Column of labels, or columns of tags.
    label_separator : str or None, default=None
        Separator of tags in a column.
    class_level : int or None, default=None
        Option of folders, archives and URLs.
    zip_encoding : str or None, default=None
        Option of zip archives.
    """

    path_column: str | None = None
    label_column: str | tuple[str, ...] | None = None
    label_separator: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    path_template: str | None = None
    root: str | None = None
    encoding: str | None = None
    class_level: int | None = None
    zip_encoding: str | None = None

    @classmethod
    def of(
        cls,
        *,
        label_column: str | Sequence[str] | None = None,
        label_separator: str | None = None,
        root: str | os.PathLike[str] | None = None,
        **others: Any,
    ) -> SourceOptions:
        """Return the options of a public function.

        Raises
        ------
        OptionError
            Options of tags are invalid, or contradict each other.
        """
        is_list = label_column is not None and not isinstance(label_column, str)
        if label_separator is not None:
            check_separator(label_separator)
        if is_list and label_separator is not None:
            raise OptionError(
                "label_separator (--label-separator) applies to one column of labels, got several. Remove it, or all "
                "columns but one."
            )
        if is_list and len(set(label_column or ())) < len(label_column or ()):
            raise OptionError(
                f"label_column (--label-column) must name each column once, got {list(label_column or ())!r}."
            )
        if is_list and not label_column:
            raise OptionError("label_column (--label-column) must name at least one column, got none.")
        return cls(
            label_column=label_column if label_column is None or isinstance(label_column, str) else tuple(label_column),
            label_separator=label_separator,
            root=None if root is None else os.fspath(root),
            **others,
        )

    @property
    def has_tags(self) -> bool:
        """Whether images have several labels."""
        return self.label_separator is not None or isinstance(self.label_column, tuple)

    def given_table_options(self) -> dict[str, Any]:
        """Return the options of tables that are not None, by name as error messages show it."""
        return {_shown(name): getattr(self, name) for name in TABLE_OPTIONS if getattr(self, name) is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return the options that are not None, in JSON types."""
        options = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _shown(name: str) -> str:
    return f"{name} (--{name.replace('_', '-')})"


def check_separator(separator: object) -> None:
    """Raise an error if a separator of tags is not text.

    Raises
    ------
    OptionError
    """
    if not isinstance(separator, str) or not separator.strip():
        raise OptionError(f"label_separator (--label-separator) must be text such as ';', got {separator!r}.")
