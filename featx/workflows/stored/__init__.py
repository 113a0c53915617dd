"""Workflows on features that are extracted already: a job, or a feature file.

``compare``          :func:`featx.compare_features`
``stored_backbone``  what is known about the backbone of stored features

May import: ``workflows``, ``models``, ``extraction``, ``baselines``, ``features``, ``datasets``,
``system``, ``errors``, ``recipe``.
"""
