"""Files: written atomically, read with a checksum, in local folders or remote storage.

``atomic``            atomic writes, temporary files and durable folders
``checksummed_json``  small JSON files with a checksum
``folder``            :class:`Folder`, the interface of local and remote folders
``local_folder``      folders on local or mounted disks
``name_files``        lists of names in temporary files, and sorting them
``output_paths``      check that an output can be written and replaces no other file
``parquet``           pyarrow, which reads and writes Parquet tables
``remote``            URLs and object stores
``remote_folder``     folders in object stores
``storage_errors``    errors of remote storage as reasons and remedies
``temporary``         the folder of temporary files
``url_secrets``       passwords and tokens in URLs

May import: ``system``, ``errors``.
"""
