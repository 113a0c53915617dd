"""What a notebook shows of a result.

``html``  escaped HTML in the colors of the page

May import: ``system``, ``errors``.
"""
