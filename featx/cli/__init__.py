"""The command line: parse the arguments, call a public function, print what it returns.

- ``main``: run one command; exit codes
- ``parser``: the parser of all commands
- ``strict_parser``: an argument parser with one-line errors, which rejects repeated options with a single value
- ``option_words``: messages of the library with options instead of parameters
- ``shared_options``: options that several commands have
- ``completion``: completion of commands, options and values in shells
- ``console``: standard output and standard error; arguments as options of the library
- ``image_paths``: paths of images from sources or a stream, batch by batch; lines of output
- ``signals``: Ctrl-C, SIGTERM and SIGHUP
- ``commands``: the commands themselves

Data goes to standard output, progress and messages to standard error.

May import: every room.
"""
