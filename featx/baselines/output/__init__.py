"""Scores as text tables and plots, of comparisons of arrays and of images.

``score_table``  the table of scores, its headline, the best row and tuned parameters as text
``plots``        plots with matplotlib

May import: ``baselines``, ``system``, ``errors``.
"""
