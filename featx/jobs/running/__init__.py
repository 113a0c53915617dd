"""Running a job: a client submits shards to an executor, and workers compute and commit them.

The engines restart workers and run tasks again. What no engine covers is here: faults that are not those of a shard
(``rounds``), several clients that share only a folder (``heartbeats``), and commits that cannot overwrite each other
(``shard``).

``coordinator``  the client: cleans up, submits shards in rounds, and records what becomes of them
``rounds``       pure functions that choose the next shards, or stop
``executors``    the executor interface
``local``        executor in processes of this machine
``dask``         executor on a Dask cluster
``ray``          executor on a Ray cluster
``worker``       a worker process: one shard after another
``shard``        compute one shard and commit it
``heartbeats``   who works at the job now, and how far

May import: ``jobs`` (not ``jobs.run``, ``jobs.status``, ``jobs.merge``), ``models``, ``extraction``, ``features``,
``backbones``, ``store``, ``datasets``, ``images``, ``system``, ``errors``.
"""
