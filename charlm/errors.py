"""The one exception that a user is meant to read."""


class CharlmError(Exception):
    """Something outside the program is wrong: a file, a setting, a text.

    The message is one line that names the file, key or option, what was found there, and what would do.
    The command line prints it and exits with code 1.
    """
