"""Sources of images, and the table of paths, labels and splits that they become.

A source is a folder, an archive, a URL, a table, or a list of them. :func:`featx.find_images` returns its images,
labels and splits; :func:`featx.check_images` reads each image without a network. Labels become arrays here.

``find``           finds the images of any source
``image_table``    the table of paths, labels, splits and groups
``image_listing``  lists the images of a source one after another, for find_images and for jobs
``source_options`` how a source is read: columns, roots, class levels and encodings
``label_types``    infers the type of labels that are written as text
``label_names``    class names that may mean the same class
``labels``         labels as arrays: task, missing values, encodings
``tags``           several labels of one image, and errors of labels in several columns
``pixel_range``    the range of pixels with more than 8 bits, by an option or a sample
``dicom_windows``  windows of DICOM files
``failures``       images that could not be read
``sample_images``  sample images: photos and handwritten digits

Sub-rooms: ``folders`` (what folders mean, and their images), ``tables`` (files that list images), ``image_check``
(checks of images).

May import: ``images``, ``system``, ``errors``.
"""
