"""Files that contain images: archives, tables and arrays. They are read without unpacking.

``archives``    reads images in zip and tar archives
``zip_names``   the encodings of file names in zip archives

May import: ``system``, ``errors``.
"""
