"""Programs that import Keras or tensorflow and therefore run in child processes.

``describe_application``  layers of a network of keras.applications
``describe_file``         contents of a custom model file
``fine_tune``             training of the last layers of a network
``training_files``        files that the training process and its caller exchange
``trainable``             a network as a model that can be trained and saved
``augment_batches``       random augmentation in tf.data
``keras_reference``       the usual Keras pipeline, as reference of benchmarks
``survey``                writes the records in data/ for a new version of Keras

May import: ``backbones``, ``recipe``, ``system``, ``errors``.
"""
