"""Baselines for more rows than fit into memory: rows are read in blocks, for all folds at the same time.

``folded_rows``  rows in blocks, with the folds that each belongs to
``scan``         the first pass: finite values, means and standard deviations
``moments``      sums, Gram matrices and class sums of the training rows of each fold, from one pass
``linear``       linear models of all folds, scored in one pass
``ridge``        ridge models from moments
``logistic``     logistic regression, preconditioned by the Gram matrix
``nystroem``     components of a kernel and ridge, from one pass
``sample``       stratified samples of training rows, for all other estimators
``baselines``    which estimator replaces a baseline, and its name

May import: ``baselines``, ``features``, ``datasets``, ``system``, ``errors``.
"""
