"""Search for similar rows.

``nearest``      :func:`find_similar`, and the choice of an index
``exact_index``  exact search, block by block
``faiss_index``  search with faiss; the only module that imports it
``cosine``       row normalization and cosine similarity, for all rooms

May import: ``system``, ``errors``, ``features``.
"""
