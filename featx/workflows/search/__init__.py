"""Search of extracted features: the images that are most similar to query images and texts.

``similar``  ``similar_images`` and its result
``image_search``  the search behind it, for queries in batches
``matches``  the matches of a query, as JSON, CSV and text; the summary of a search
``recipe_lookup``  how to extract query images so that their features fit those on disk

May import: ``features``, ``extraction``, ``backbones``, ``store``, ``datasets``, ``images``, ``system``, ``errors``,
``workflows.report``.
"""
