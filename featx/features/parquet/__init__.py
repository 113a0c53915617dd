"""One Parquet file that holds rows of features with path, label and digest of each: written, and read on demand.

``schema``   columns of the file, and Arrow batches of rows
``writer``   write the file in row groups
``reader``   rows and table of the file, one row group at a time

May import: ``features`` (not ``features.search``), ``datasets``, ``system``, ``errors``.
"""
