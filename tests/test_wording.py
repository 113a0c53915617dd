"""Words and phrases that were replaced by standard terms do not come back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Phrases in any case, and what to write instead. Words may be joined by an underscore, as in names.
REPLACED = {
    r"anew": "again",
    r"mend(s|ed|ing)?": "fix",
    r"(?<!there\s)(?-i:is none)(?! of)": "is not a …",
    r"there is none of": "there is no …",
    r"for people": "human-readable",
    r"truths": "bool",
    r"whole numbers?": "integer, int",
    r"quantit(y|ies)": "continuous targets",
    r"(tells?(?!\(\))|told|says?|said)": "report, detect, show",
    r"made complete": "padded",
    r"at the price of": "may reduce …",
    r"set aside": "quarantined",
    r"unlikeness": "novelty score",
    r"(hold|holds|held|holding) out": "validation split",
    r"left out": "excluded; leave-one-out",
    r"in doubt": "likely label errors",
    r"asked": "requested, config",
    r"pins": "recorded values",
    r"handover": "client",
    r"(?-i:Turns)": "FairLock",
    r"sealed": "checksummed",
    r"census": "description",
    r"witness(es)?": "proof",
    r"of ones own": "own",
    r"(?<!my\s)own networks?": "model file",
    r"has an address": "credentials in URLs",
}
PATTERN = re.compile(
    r"(?<![a-zA-Z])(?i:" + "|".join(phrase.replace(" ", r"[ _\n]+") for phrase in REPLACED) + r")(?![a-zA-Z])"
)
#: Number of matches that are left. It must only fall.
MATCHES_LEFT = {"featx": 0, "tests": 0, "notebooks": 0, "README.md": 0, "docs": 0}


def texts(area: str) -> dict[str, str]:
    """Return the texts of all files in an area of the repository."""
    command = ["git", "ls-files", "-co", "--exclude-standard", area]
    names = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    kinds = (".py", ".md", ".ipynb", ".jinja", ".js", ".css")
    paths = [ROOT / name for name in names if name.endswith(kinds) and name != f"tests/{Path(__file__).name}"]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths if path.is_file()}


@pytest.mark.parametrize("area", MATCHES_LEFT)
def test_replaced_words_do_not_come_back(area: str) -> None:
    matches = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in texts(area).items()
        for match in PATTERN.finditer(text)
    ]
    assert len(matches) <= MATCHES_LEFT[area], "\n".join(["Use standard terms:", *matches])


def test_docstrings_begin_with_a_noun_or_an_imperative() -> None:
    """Not with "What …", nor with a verb in the third person."""
    start = re.compile(
        r'"""(?:What|Checks|Converts|Decodes|Fills|Finds|Infers|Lists the|Opens|Reads|Resizes|Returns|Runs|Writes)\b.*'
    )
    texts_of_docstrings = (match.group() for text in texts("featx").values() for match in start.finditer(text))
    assert list(texts_of_docstrings) == []
    described = re.compile(r"\n {4,}\S[^\n]* : [^\n]*\n {8,}(?:What|As for|Of the) [^\n]*")
    assert [match.group() for text in texts("featx").values() for match in described.finditer(text)] == []
