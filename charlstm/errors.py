"""The exceptions that a user can act on, and how much of a value their messages quote."""


class CharlstmError(Exception):
    """An error the user can fix. The message says what happened, where, and what to do.

    The command line prints it as one line and exits with `exit_code`.
    """

    exit_code = 1  # bad data, or a failed run


class UsageError(CharlstmError):
    """An argument, a setting or a path that cannot be used as given.

    Args:
        message: what is wrong with it.
        argument: its name in Python, such as `no_copy`. The command line shows it as a flag.
    """

    exit_code = 2

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.argument is None else f"{self.argument}: {message}"


def shorten(text: str, width: int = 60) -> str:
    """Return `text` cut to `width` characters, the last three of which are then dots."""
    return text if len(text) <= width else text[: width - 3] + "..."
