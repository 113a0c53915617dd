"""Names of code in the text become links, so that pages need no markup of Sphinx."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.domains.python import PythonDomain
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from docs.tools import command_page
from featx.cli.parser import make_parser

_COMMANDS = dict(command_page.commands_of(make_parser()))
_COMMAND_PAGE = "docs/reference/command_line"
_MAX_WORD = 32
_NAME = re.compile(r"(?:featx\.)?((?:testing\.|errors\.)?[A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?")


class LinkNames(SphinxPostTransform):
    """Link names in code to their page: ``FeatureExtractor``, ``featx.compare_images(…)``, ``featx compare --tune``."""

    default_priority = 400

    def run(self, **kwargs: object) -> None:
        """Replace each literal that is a name, except in headings and links, and on the page of the name itself.

        Literals with a word that is longer than a line of a phone get the class ``long``.
        """
        for literal in list(self.document.findall(nodes.literal)):
            if max(map(len, literal.astext().split()), default=0) > _MAX_WORD:
                literal["classes"].append("long")
            if _is_inside(literal, nodes.reference, nodes.title, nodes.term):
                continue
            page, anchor = self._target(literal.astext())
            if page and page != self.env.docname:
                builder, text = self.app.builder, literal.deepcopy()
                literal.replace_self(make_refnode(builder, self.env.docname, page, anchor, text))

    def _target(self, text: str) -> tuple[str, str]:
        """Return the page and the anchor of a name; empty strings for other text."""
        command = _command(text)
        if command:
            return _COMMAND_PAGE, command_page.anchor(command)
        name = _full_name(text, self.env.domains.python_domain)
        if name:
            target = self.env.domains.python_domain.objects[name]
            return target.docname, target.node_id
        return "", ""


def _is_inside(node: nodes.Node, *kinds: type[nodes.Node]) -> bool:
    """Return whether a node is part of one of some kinds, also below others: code in a link is in its text."""
    parent = node.parent
    while parent is not None and not isinstance(parent, kinds):
        parent = parent.parent
    return parent is not None


def _command(text: str) -> str:
    """Return the command that a line of the shell runs."""
    words = text.split()
    if words[:1] != ["featx"]:
        return ""
    return next((name for n in (3, 2) if (name := " ".join(words[1:n])) in _COMMANDS), "")


def _full_name(text: str, domain: PythonDomain) -> str | None:
    """Return the public name that a text is, or the class whose attribute it is."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    names = [match[1], match[1].split(".")[0]]
    candidates = (f"featx.{prefix}{name}" for name in names for prefix in ("", "errors.", "testing."))
    return next((name for name in candidates if name in domain.objects), None)
