"""From texts to tokens: the tokenizer of a network, in the format of the library tokenizers."""

from __future__ import annotations

import dataclasses
import html
import importlib.util
import json
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import missing_dependency
from featx.system.array_types import IntArray

#: Packages that tokenization needs, with the extra of featx that installs them.
_PACKAGES, _EXTRA = ("tokenizers", "ftfy"), "'featx[clip]'"
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Tokenizer of a text tower.

    Attributes
    ----------
    definition : str
        Vocabulary, splitting, truncation and padding, as JSON of the library tokenizers.
    cleaning : {"lower", "whitespace", "canonicalize"}
        How texts are cleaned first, as open_clip names it.
    zeroed_token : int or None, default=None
        Token that is replaced by 0.
    """

    definition: str
    cleaning: str
    zeroed_token: int | None = None

    def as_text(self) -> str:
        """Return the tokenizer as JSON in ASCII."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Tokenizer:
        """Return the tokenizer that JSON holds."""
        return cls(**json.loads(text))

    def tokenize(self, texts: Sequence[str]) -> IntArray:
        """Return the tokens of texts.

        Parameters
        ----------
        texts : sequence of str
            Texts; those that are too long are cut off.

        Returns
        -------
        ndarray of int64 of shape (n_texts, context_length)
            Tokens, padded to the length that the network accepts.
        """
        from tokenizers import Tokenizer as Library

        tokenizer: Any = Library.from_str(self.definition)
        cleaned = [clean_text(text, self.cleaning) for text in texts]
        tokens = np.array([encoding.ids for encoding in tokenizer.encode_batch(cleaned)], dtype=np.int64)
        if self.zeroed_token is not None:
            tokens[tokens == self.zeroed_token] = 0
        return tokens


def check_tokenizers_installed(backbone: str) -> None:
    """Raise MissingDependencyError if a package that tokenization needs is not installed."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise missing_dependency(f"Text for backbone {backbone!r}", package, _EXTRA)


def clean_text(text: str, cleaning: str) -> str:
    """Return a text as open_clip cleans it: broken characters repaired, white space merged, and more.

    Parameters
    ----------
    text : str
        Text of the user.
    cleaning : {"lower", "whitespace", "canonicalize"}
        "lower": lower case. "canonicalize": lower case without punctuation.
    """
    import ftfy

    cleaned = html.unescape(html.unescape(ftfy.fix_text(text)))
    if cleaning == "canonicalize":
        cleaned = cleaned.replace("_", " ").translate(_WITHOUT_PUNCTUATION)
    cleaned = " ".join(cleaned.split())
    return cleaned if cleaning == "whitespace" else cleaned.lower()
