"""Files that contain images: archives, tables and arrays. They are read without unpacking.

The path of an image in such a file is ``photos.zip/cat/1.jpg``, ``table.parquet#3`` or ``data.npz#x_train/3``.

``members``      finds the file in such a path, and reads the image
``archives``     zip and tar archives
``zip_names``    the encodings of file names in zip archives
``tables``       Parquet and Arrow files with a column of images
``array_files``  files of arrays: npz, MNIST, CIFAR
``sequential``   reads what is stored in order, such as the files of a compressed tar

May import: ``system``, ``errors``.
"""
