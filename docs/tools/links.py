"""Names of code in the text become links, so that pages need no markup of Sphinx."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.domains.python import PythonDomain
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

_NAME = re.compile(r"(?:featx\.)?((?:testing\.|errors\.)?[A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?")


class LinkPublicNames(SphinxPostTransform):
    """Link ``FeatureExtractor``, ``featx.compare_images(…)``, ``OptionError`` and the like to their page."""

    default_priority = 400

    def run(self, **kwargs: object) -> None:
        """Replace each literal that is a public name, except in headings, links and the page of the name itself."""
        domain = self.env.domains.python_domain
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | nodes.title | nodes.term):
                continue
            full_name = _full_name(literal.astext(), domain)
            if full_name is None:
                continue
            target = domain.objects[full_name]
            if target.docname == self.env.docname:
                continue
            reference = make_refnode(
                self.app.builder, self.env.docname, target.docname, target.node_id, literal.deepcopy(), full_name
            )
            literal.replace_self(reference)


def _full_name(text: str, domain: PythonDomain) -> str | None:
    """Return the public name that a text is, or the class whose attribute it is."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    names = [match[1], match[1].split(".")[0]]
    candidates = (f"featx.{prefix}{name}" for name in names for prefix in ("", "errors.", "testing."))
    return next((name for name in candidates if name in domain.objects), None)
