"""Output in a terminal: progress and messages on standard error, and tables.

``bars``      progress bars
``encoding``  characters that a terminal without Unicode cannot show
``messages``  single lines on standard error
``progress``  one channel from long calls to bars and to the function of the user
``report``    :class:`featx.Progress`, which that function receives
``tables``    text tables and paragraphs that fit the terminal

May import: ``system``, ``errors``.
"""
