"""Operating system, processes and terminal: what every room needs, independent of images and features.

``array_types``    type aliases of arrays
``arrays``         matrix products of a few rows, and headers of ``.npy`` files
``child_process``  run a module of featx in a child process
``formatting``     human-readable numbers and names; safe CSV cells
``locks``          locks between the processes of one machine
``option_checks``  parameters with a few valid values, or a minimum
``processes``      processor, cores, memory, and whether a process still runs
``requirements``   :func:`featx.requirements`, packages for a requirements file
``shared_calls``   calls that threads share
``sklearn_compat`` private helpers of scikit-learn
``threads``        process blocks in threads; imports without other modules
``version``        version of featx
``files/``         atomic, checksummed, local and remote files
``notebook/``      HTML of results in notebooks
``terminal/``      progress, messages and tables

May import: ``errors``.
"""
