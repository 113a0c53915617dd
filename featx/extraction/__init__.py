"""Extract features: images → rows. Options and recipe, the pass over the images, FeatureExtractor, ``featx extract``.

One pass goes one way: ``prefetch`` reads and decodes, ``extract`` makes batches, ``compute`` runs the network,
``row_cache`` keeps the rows, ``ledger`` fills the output array.

``augmented_features``  :func:`augment_features`: rows of randomly augmented copies, for training
``cache``               maintenance of the feature cache by backbone: info, verify, compact, clear
``cache_results``       what these functions return, as data and as text
``compute``             run the backbone on batches of decoded images, one process at a time
``extract``             :func:`extract_into`, the pass over the images
``feature_extractor``   :class:`FeatureExtractor`, the scikit-learn transformer
``ledger``              status, digest and file state of each image, failures, and the final audit
``options``             :class:`ExtractionOptions`, checked, and :class:`Resolved`: recipe, engine and weights
``prefetch``            read and decode images ahead of the network, in threads
``recorded``            options and recipes of jobs, models and features: recorded, and found again
``row_cache``           rows of one recipe in a cache folder, and digests of known files
``to_file``             :func:`extract_images`: matrix, table and failures on disk
``benchmarking``        room: speed of this machine
``engines``             room: running a network on pixels
``text``                room: rows of texts
``writing``             room: rows in files, and their audit

May import: ``baselines``, ``features``, ``backbones``, ``store``, ``datasets``, ``images``, ``recipe``, ``system``,
``errors``.
"""
