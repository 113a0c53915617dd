"""Rows of texts that are comparable with those of images, by backbones with a text tower.

``text_rows``     :func:`extract_texts`: rows of texts, from the cache or computed
``text_tower``    a text tower that runs: converted once, then compiled from its graph

May import: ``extraction``, ``backbones``, ``store``, ``images``, ``recipe``, ``system``, ``errors``.
"""
