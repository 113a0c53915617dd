"""Feature matrices on disk: open, read and write them, search them, find duplicates.

``open``         :func:`open_features`: open a feature file or a job
``matrix``       :class:`FeatureMatrix`, whose rows are read on demand
``selected_rows``  a selection of rows, and the rows of two matrices, read when they are needed
``columns``      path, label and digest of the rows
``npy_part``     a file of rows, local or remote
``npy_writer``   write a ``.npy`` file row by row
``table_rows``   rows of the table, while they are written
``outputs``      files of an extraction while they are written
``csv_table``    tables next to a feature file, written and read
``shard_table``  tables of a job's shards, read
``job_files``    names, formats and manifest of a job folder
``job_tables``   Parquet tables of a job, written
``parquet/``     features and their table in one Parquet file
``search/``      find similar rows
``duplicates/``  find near-duplicates

May import: ``datasets``, ``images``, ``recipe``, ``system``, ``errors``.
"""
