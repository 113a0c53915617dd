"""The feature cache: rows of recipes, compiled graphs and the file index, safe against kills and corruption.

Rows are never changed: new ones are appended as segments, each committed by a manifest that is written last. Readers
and writers need no locks. Corrupt files are renamed to ``*.corrupt`` and their content is computed again.

``layout``           names and formats of the files in a cache folder; errors
``store``            :class:`Store`, the rows of one recipe
``view_store``       rows of all views of an image (test-time augmentation); those of small calls
``segments``         files of rows, and their manifests
``snapshot``         committed segments at one time
``digest_table``     look up the row of a digest
``file_index``       digests of files that were read before
``compiled_graphs``  networks in OpenVINO's format
``compaction``       merge small segments
``maintenance``      compact or clear a cache
``info``             what a cache contains
``verify``           find corrupt files in a cache

May import: ``images``, ``recipe``, ``system``, ``errors``.
"""
