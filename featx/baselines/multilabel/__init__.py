"""Several labels of one sample: one classifier for each tag, their scores, and likely label errors.

``classifier``   :class:`featx.TagClassifier`: one-vs-rest
``one_vs_rest``  baselines of classes as baselines of tags
``scores``       mean average precision and F1 of tags
``tag_issues``   likely label errors of each tag

May import: ``baselines``, ``datasets``, ``system``, ``errors``.
"""
