"""Fitted pipelines of images: their file, predictions, explanations, export, and fine-tuned networks.

A model is a pipeline of a :class:`featx.FeatureExtractor` and a fitted estimator of scikit-learn, saved in one file.

``model``  a model in memory: what it is, and its predictions from features
``model_file``  reading and writing the file: :func:`featx.save_pipeline`, :func:`featx.load_pipeline`
``archive``  the zip archive that the file is, with a checksum for each of its parts
``validation``  checks of what is saved, and of what is read
``predict``  labels and probabilities of new images: :func:`featx.predict_images`
``novelty``  how far a new image is from the training images
``head``  estimators of scikit-learn as steps of numpy
``explain``  attribution maps of predictions
``export``  a model as one network for Keras, ONNX or OpenVINO
``fine_tuning``  :class:`featx.FineTunedClassifier`

May import: extraction, baselines, features, backbones, datasets, images, recipe, system, errors.
"""
