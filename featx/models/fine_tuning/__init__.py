"""Networks whose last layers are trained on the user's images.

``classifier``  :class:`featx.FineTunedClassifier`: parameters and ``fit``
``predictor``  its predictions, and how it is saved
``training_data``  labels, the validation split and the weights of the images
``output_layers``  the output layer that training starts with
``client``  starts the child process that trains, and reads its result

May import: models.head, extraction, baselines, features, backbones, datasets, images, recipe, system, errors.
"""
