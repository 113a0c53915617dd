"""Image checks without a network: ``featx check``.

``check``    reads and decodes each image of a source
``result``   the result: findings, counts and text
``unusual``  unusual sizes, formats and quality, and what most images share

May import: ``datasets``, ``images``, ``system``, ``errors``.
"""
