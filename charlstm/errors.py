"""The exceptions that a user can do something about."""


class CharlstmError(Exception):
    """A mistake the user can fix: the message says what, where, and the way out.

    The command line prints it as one line and leaves with `exit_code`; nothing else is turned into one line.
    """

    exit_code = 1  # the data or the run


class UsageError(CharlstmError):
    """A flag, a setting or a path that cannot be used as given."""

    exit_code = 2
