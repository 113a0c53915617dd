"""The head of a model: its fitted estimator as a sequence of numpy steps.

Predictions with a head need no scikit-learn, and an exported network computes the same steps.

``head``  from features to scores and probabilities
``steps``  the functions that a head consists of
``from_sklearn``  converts a fitted estimator of scikit-learn
``tag_head``  converts a fitted classifier of tags
``checks``  compares a head with its estimator

May import: ``baselines``, ``system``, ``errors``.
"""
