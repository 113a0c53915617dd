"""Scikit-learn estimators on feature matrices: cross-validation, ranking, learning curves and label errors.

This room knows arrays only: no images, backbones or caches. The functions here also work for features from elsewhere.

``cross_validate``     :func:`featx.compare_baselines`
``comparison``         :class:`featx.Comparison`, its result
``estimators``         estimators by name: built-in baselines, classes of scikit-learn and other libraries, instances
``builtin_baselines``  settings and tuning grids of the built-in baselines
``score_folds``        estimators on all folds: in threads, in processes, or on rows in blocks
``fitting``            one estimator on one fold: tuning, calibration, scores; and fitted on all samples
``fold_results``       out-of-fold predictions and the table of scores
``metrics``            metrics, confidence intervals and significance tests
``kernel_cache``       kernels and their scale; a kernel matrix that all folds share
``learning_curve``     :func:`featx.learning_curve`
``label_issues``       :func:`featx.find_label_issues`

Sub-rooms: ``folds`` (training and test samples), ``libraries`` (estimators of other libraries), ``output`` (scores as
text and plots), ``ranking`` (feature matrices in order), ``scaling`` (many samples or classes, limited time and
memory), ``streaming`` (more rows than fit into memory).

May import: ``features``, ``datasets``, ``system``, ``errors``.
"""
