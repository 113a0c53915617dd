"""Building the site, and checking what was built."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "docs"
#: Text of a machine that must not be published: folders of a home, a temporary or a work folder, and package indexes.
_MACHINE = re.compile(
    r"(?:/home/|/root/|/Users/|/tmp/(?!job|features|photos)|/work/|file:///)[\w.]+"
    r"|https?://[\w.\-]*(?:pypi|artifactory|devpi|nexus|registry)[\w.\-:]*|localhost:\d+/simple|index-url",
    flags=re.IGNORECASE,
)


def build() -> int:
    """Build the site with warnings as errors, check it, and return the exit code."""
    from sphinx.cmd.build import main as sphinx_build

    start = time.perf_counter()
    shutil.rmtree(SITE, ignore_errors=True)  # a page that was removed leaves no trace
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(SITE) + "-cache", "-c", str(ROOT / "docs")]
    if sphinx_build([*options, str(ROOT), str(SITE)]):
        return 1
    problems = [*broken_links(SITE), *machine_texts(SITE)]
    for problem in problems:
        print(problem)
    print(f"{len(list(SITE.rglob('*.html')))} pages in {time.perf_counter() - start:.0f} s: {SITE.relative_to(ROOT)}")
    return 1 if problems else 0


class _Page(HTMLParser):
    """The anchors and the targets of links and pictures of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.nested: list[str] = []  # links within a link, which browsers tear apart
        self._n_open = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the identifier of an element, and what it points to."""
        if tag == "a":
            self._n_open += 1
            self.nested += [str(dict(attrs).get("href"))] if self._n_open > 1 else []
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if value and (name == "src" or (name == "href" and tag != "link")):
                self.targets.append(value)

    def handle_endtag(self, tag: str) -> None:
        """Count the links that are open."""
        self._n_open -= tag == "a"


def broken_links(site: Path) -> Iterator[str]:
    """Yield the links and pictures of pages whose file or anchor does not exist, and links within links."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]  # templates of the theme
    pages = {path.resolve(): _Page(path) for path in paths}
    for path, page in pages.items():
        for target in page.nested:
            yield f"{path.relative_to(site.resolve())}: {target} is a link within a link"
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:  # another site, or a picture in the page itself
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not file.exists():
                yield f"{path.relative_to(site.resolve())}: {target} does not exist"
            elif anchor and file in pages and anchor not in pages[file].anchors:
                yield f"{path.relative_to(site.resolve())}: {target} has no such anchor"


def machine_texts(site: Path) -> Iterator[str]:
    """Yield paths of the machine that built the site, and addresses of package indexes, that pages show."""
    for path in sorted(site.rglob("*")):
        if path.suffix in {".html", ".txt", ".js", ".ipynb", ".svg", ".md"} and "_static" not in path.parts:
            for match in _MACHINE.finditer(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(site)}: {match[0]}"
