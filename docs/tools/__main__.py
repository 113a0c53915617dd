"""Write the generated pages, or build the site.

python -m docs.tools write     write the pages of docs/ that are generated from code and data
python -m docs.tools build     build the site in build/docs with warnings as errors, and check it
"""

from __future__ import annotations

import sys

from docs.tools import generated, site

if __name__ == "__main__":
    commands = {"write": generated.write_pages, "build": site.build}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit((__doc__ or "").strip())
    sys.exit(commands[sys.argv[1]]())
