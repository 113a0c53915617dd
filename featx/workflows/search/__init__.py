"""Search of extracted features: the most similar images of query images.

``similar``  ``similar_images``, and the search object behind it for queries in batches
``matches``  the matches of a query image, as JSON, CSV and text; the summary of a search
``recipe_lookup``  how to extract query images so that their features fit those on disk

May import: ``features``, ``extraction``, ``store``, ``datasets``, ``images``, ``system``, ``errors``,
``workflows.report``.
"""
