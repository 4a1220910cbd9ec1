"""The one kind of error that is meant for people."""


class PolyfieldError(Exception):
    """Something the user can mend: a bad file, key, value or request.

    The text is one line: the file, key or index, what was found, what was expected and what to do.
    The command prints it without a traceback and ends with status 1.
    """
