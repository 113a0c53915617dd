"""Text towers: networks from texts to rows that are comparable with those of images.

A child process converts the text tower of a network of open_clip to an OpenVINO graph, together with the network's own
tokenizer, once. After that, neither torch nor open_clip is imported.

``tokenizer``        from texts to tokens, with the libraries tokenizers and ftfy
``open_clip_text``   the text tower of a network of open_clip as a graph; runs in child processes only
``text_worker``      the child process that converts text towers

May import: ``backbones`` (not ``backbones.registry``), ``system``, ``errors``.
"""
