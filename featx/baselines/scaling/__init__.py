"""Comparisons of many samples or classes: limits, approximations, cost estimates and folds in processes.

``limits``       sizes above which a comparison works differently
``approximate``  baselines that take the place of kernel machines beyond a size
``gcv_ridge``    ridge whose penalty generalized cross-validation selects
``tolerance``    of logistic regression of many classes
``class_sums``   sums of the rows of each class
``blocks``       predictions of a fold, block by block
``votes``        decision values of a support vector machine of many classes
``cost``         time and memory of a fit, estimated from small ones
``mapped_file``  features in files that processes map
``workers``      folds in processes that can be stopped
``schedule``     estimators in turn, within the given time and memory

May import: ``baselines``, ``features``, ``datasets``, ``system``, ``errors``.
"""
