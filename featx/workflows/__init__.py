"""Workflows: complete tasks on labeled images, from image files to a result.

``compare``  ``compare_images``: baselines on the features of several backbones
``rank``  ``rank_images``: backbones, layers and poolings, ranked without fitting estimators
``config``  ``ComparisonConfig``: settings of a comparison, validated before any image is read
``labeled_images``  images, labels, groups and splits as one table, without what does not take part
``feature_sets``  features of each backbone, each recipe extracted once
``image_duplicates``  groups of identical files, identical pixels and near-duplicates
``duplicate_groups``  splits that keep duplicates together, and notes on them
``image_estimators``  estimators that need images or texts besides features
``experiment``  comparison on one backbone, and the diagnostics of a result
``result``  ``ImageComparison``, the result of a comparison
``result_output``  a comparison as text and JSON, tables as CSV
``search``  sub-room: ``similar_images``
``training``  sub-room: ``train_images``: the best estimator, fitted on all images
``stored``  sub-room: ``compare_features``, on features that are extracted already
``report``  sub-room: HTML pages

May import: ``models``, ``extraction``, ``baselines``, ``features``, ``backbones``, ``store``, ``datasets``, ``images``,
``system``, ``errors``.
"""
