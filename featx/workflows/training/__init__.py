"""Training: the best of several estimators, scored by cross-validation and fitted on all images.

``train``          ``train_images``, and training with settings that are validated already
``trained_model``  ``TrainedModel``, the result, and notes on how it differs from what was scored
``checks``         what is checked before any work

May import: ``workflows``, ``models``, ``extraction``, ``baselines``, ``features``, ``datasets``,
``system``, ``errors``.
"""
