"""What a person sees while featx works: progress and messages on standard error.

``bars``      progress bars
``messages``  single lines on standard error
``progress``  one channel from long calls to bars and to the function of the user
``report``    :class:`featx.Progress`, which that function receives

May import: ``errors``.
"""
