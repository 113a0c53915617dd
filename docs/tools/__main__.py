"""Write the generated pages, build the site, look at it, or run the notebooks.

python -m docs.tools write               write the pages of docs/ that are generated from code and data
python -m docs.tools build               build the site in build/docs with warnings as errors, and check it
python -m docs.tools look [PART …]       open its pages in chromium: screenshots in build/screens, and problems
python -m docs.tools notebooks [NAME …]  run the notebooks, and save them with their outputs
"""

from __future__ import annotations

import sys

from docs.tools import generated, look, notebooks, site

if __name__ == "__main__":
    arguments = sys.argv[1:]
    commands = {"write": generated.write_pages, "build": site.build}
    if arguments[:1] == ["notebooks"]:
        sys.exit(notebooks.save(arguments[1:]))
    if arguments[:1] == ["look"]:
        sys.exit(look.look(arguments[1:]))
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.exit((__doc__ or "").strip())
    sys.exit(commands[arguments[0]]())
