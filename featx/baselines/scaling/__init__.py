"""Comparisons of many samples or classes: limits, approximations, cost estimates and folds in processes.

``limits``             sizes above which a comparison works differently
``approximate``        baselines that replace kernel machines beyond a size
``gcv_ridge``          ridge whose penalty generalized cross-validation selects
``tolerance``          of logistic regression of many classes
``column_statistics``  means, standard deviations and ranges of columns
``class_sums``         sums of the rows of each class
``blocks``             predictions of a fold, block by block
``votes``              decision values of a support vector machine of many classes
``cost``               time and memory of a fit: from small ones, or from the shape of the data
``mapped_file``        features in files that processes map
``workers``            folds in processes that can be stopped
``schedule``           estimators one after another, within the given time and memory

May import: ``baselines``, ``features``, ``datasets``, ``system``, ``errors``.
"""
