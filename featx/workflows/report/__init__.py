"""HTML reports: each result becomes one page that needs no other file and no network connection.

``inputs``  what a report reads of a result, as protocols
``html_page``  rendering of a template, and writing of the page
``comparison_page``  the report of a comparison: ``write_report``
``image_frame``  the images of a report, with thumbnails, labels and predictions
``summary_card``  the answers at the top of the report
``duplicate_grid``  groups of duplicates, and which image of each to keep
``sections``  content of the sections of the report, one function each
``charts``  plots, made with Bokeh
``feature_map``  positions and styles of images on the map of features
``attribution``  where in misclassified images the evidence for the prediction lies
``run_details``  recipes, rates, machine and versions
``similar_page``  the page of similar images: ``write_similar``

May import: ``models``, ``extraction``, ``baselines``, ``features``, ``datasets``, ``images``, ``system``, ``errors``.
"""
