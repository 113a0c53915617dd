"""Which samples estimators are trained on and which they are tested on.

``split``             :class:`Split`, the folds of a data set as row indices
``make_split``        stratified and random folds that keep groups together
``given_folds``       folds that the user provides, after checks
``groups``            groups of samples as integers; near-duplicates as groups
``tag_folds``         folds in which each tag is spread evenly
``calibration``       calibrated probabilities, on folds of the training samples
``stratified``        stratified samples of rows
``validation_split``  a validation split for early stopping

May import: ``features``, ``datasets``, ``system``, ``errors``.
"""
