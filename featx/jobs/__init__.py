"""Jobs: many images in shards, planned, run on executors, resumed after any fault, and merged.

A job is a folder or a URL whose files :mod:`featx.features.job_files` describes. ``plan`` writes the list of images;
``run`` computes the shards that are missing, through the files of ``running``; ``merge`` joins them.

``plan``           `plan_job`: list images into shards and estimate their cost
``cost_estimate``  cached rows, and the speed on a sample of the images
``plan_writer``    write the plan, and the manifest last
``preconditions``  where a job may be, and whether an existing job is the requested one
``job``            a job in its folder: its plan, its committed, quarantined and suspect shards
``run``            `run_job`: run what is missing
``status``         `job_status`: report the progress of a job
``merge``          `merge_job`: join the shards into one matrix

May import: ``models``, ``extraction``, ``features``, ``backbones``, ``store``, ``datasets``, ``images``, ``system``,
``errors``.
"""
