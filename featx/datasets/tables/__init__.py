"""Tables that list or contain images: CSV, TSV, Parquet and others.

``file``         reads the files, whole or in batches
``text_format``  encoding, separator and column names of a text file
``columns``      finds the path, label, split and group columns, and what their values mean
``groups``         groups of images and columns of splits, and notes on them
``stored``         columns that featx adds to its own tables: split, group and type of labels
``cells``          columns by their names; cells as text, or as tags where they are lists
``frames``         tables in memory, of pandas, polars, pyarrow and datasets, and features
``streams``        data sets of Hugging Face that are streamed, in parts or in memory
``array_sources``  arrays of images and labels: npz, MNIST, CIFAR
``shards``         tables in several files, and patterns of numbered files
``metadata``     finds a table of labels in the folder of the images
``paths``        finds where paths start, and how they are written

May import: ``datasets``, ``images``, ``system``, ``errors``.
"""
