"""Features written to files: the matrix, the table of its rows and the table of failures, checked against each other.

``summary``         :class:`ExtractionSummary`: counts, speed and recipe
``written_rows``    tables of the rows that were written, and their audit
``table_to_file``   images of a table, whose number is known
``stream_to_file``  images of a streamed data set, of which a part is in memory

May import: ``extraction``, ``features``, ``datasets``, ``images``, ``system``, ``errors``.
"""
