"""Sources of images, and the table of paths, labels and splits that they become.

A source is a folder, an archive, a URL, a table, or a list of them. :func:`featx.find_images` returns its images,
labels and splits; :func:`featx.check_images` reads each image without a network. Labels become arrays here.

``find``           finds the images of any source
``image_table``    the table of paths, labels, splits and groups
``listers``        list the images of a folder, an archive or a URL, in two passes
``layout``         how folders define labels and splits
``image_listing``  lists the images of a source in parts, one part in memory at a time
``table_file``     reads CSV, TSV and Parquet files
``table_columns``  finds the path, label, split and group columns of a table
``label_types``    infers the type of labels that are written as text
``labels``         labels as arrays: task, missing values, encodings
``image_check``    checks images: unreadable, duplicate, unusual
``failures``       images that could not be read
``sample_images``  sample images: photos and handwritten digits

May import: ``images``, ``system``, ``errors``.
"""
