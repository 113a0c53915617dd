"""Networks whose last layers are trained on the images of the user.

``classifier``  :class:`featx.FineTunedClassifier`: parameters and ``fit``
``predictor``  its predictions, and how it is saved
``training_data``  classes, validation split, weights, and the initial output layer
``client``  runs the training in a child process, which is ``featx.backbones.workers.fine_tune``

May import: ``models.head``, ``extraction``, ``baselines``, ``features``, ``backbones``, ``datasets``, ``images``,
``recipe``, ``system``, ``errors``.
"""
