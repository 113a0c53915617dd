"""Networks of ``keras.applications`` as backbones. Keras is imported only when a network is built.

``keras_backbone``  KerasBackbone: the record of a network as a backbone
``builder``         records → ``keras.Model`` with frozen weights
``describe``        layer lists, from data files or by a child process
``graph``           layers of any ``keras.Model``, and pooling of their outputs
``keras_import``    import of Keras with its default settings

May import: ``backbones`` (not ``backbones.registry``), ``recipe``, ``system``, ``errors``.
"""
