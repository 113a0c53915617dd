"""Fitted pipelines of images: their file, predictions, explanations, export, and fine-tuned networks.

A model is a pipeline of a :class:`featx.FeatureExtractor` and a fitted estimator of scikit-learn, saved in one file.

``model``  a model in memory: its card, and predictions from features
``card``  description of a model: classes, scores, recipe, versions
``model_file``  :func:`featx.save_pipeline`, :func:`featx.load_pipeline` and :func:`featx.read_model`
``archive``  the zip archive of a model file, with a checksum of each member
``graph``  the compiled network that becomes part of a model file
``pipeline_file``  the pipeline as skops data, and the types that are trusted in it
``validation``  checks of the arguments of ``save_pipeline``
``predictor``  :class:`featx.Predictor`
``row_predictor``  feature rows to labels, tags or values
``predict``  :func:`featx.predict_images`
``prediction``  the prediction of one image, as a row of a table, CSV or JSON
``novelty``  detects images that differ from the training images
``head``  estimators of scikit-learn as steps of numpy
``explain``  attribution maps of predictions
``export``  a model as one network for Keras, ONNX or OpenVINO
``fine_tuning``  :class:`featx.FineTunedClassifier`
``zero_shot``  :class:`featx.ZeroShotClassifier`

May import: ``extraction``, ``baselines``, ``features``, ``backbones``, ``store``, ``datasets``, ``images``,
``recipe``, ``system``, ``errors``.
"""
