"""The commands, one file for each family: options, call, output.

- ``extract``: ``featx extract``
- ``compare``: ``featx compare`` and ``featx rank``
- ``model``: ``featx train``, ``model``, ``predict``, ``explain`` and ``export``
- ``search``: ``featx similar`` and ``featx duplicates``
- ``duplicate_lists``: near-duplicates as text, JSON and CSV
- ``check``: ``featx check``
- ``benchmark``: ``featx benchmark``
- ``backbones``: ``featx backbones``
- ``cache``: ``featx cache info``, ``verify``, ``compact`` and ``clear``
- ``job``: ``featx job plan``, ``run``, ``status`` and ``merge``
- ``requirements``: ``featx requirements``
- ``demo``: ``featx demo``

Each has a function ``add_commands`` that adds its parsers. What a command runs is imported when it runs, so that
``featx --help`` stays quick.

May import: every room.
"""
