"""The head of a model: its fitted estimator as a sequence of numpy steps, which need no scikit-learn.

``head``  the head: from features to scores and probabilities
``steps``  the functions that it is made of
``from_sklearn``  a fitted estimator of scikit-learn as a head

May import: baselines, system, errors.
"""
