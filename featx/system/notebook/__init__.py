"""Results as notebooks show them.

``cards``  title, facts, tables, bars and notes of a result
``html``   tables and text, escaped, in the colors of the page

May import: ``system``, ``errors``.
"""
