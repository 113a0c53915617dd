"""Classification by texts, without training: each image gets the class whose description is most similar.

``classifier``  :class:`featx.ZeroShotClassifier`
``prompts``     texts for each class: from templates, a mapping or a file

May import: ``extraction``, ``datasets``, ``system``, ``errors``.
"""
