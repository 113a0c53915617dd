"""Measure the extraction speed of this machine: ``featx benchmark``.

``benchmark``          :func:`benchmark_images`: decoder, networks and pipeline, against tf.data and ``model.predict``
``benchmark_results``  what it measured, as data and as text
``rates``              measured rates, stored in the cache for ``featx backbones``
``stage_times``        processor time of each stage of an extraction

May import: ``extraction``, ``features``, ``backbones``, ``store``, ``datasets``, ``images``, ``recipe``, ``system``,
``errors``.
"""
