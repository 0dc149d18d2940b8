"""The exceptions that a user sees, each one line."""

__all__ = ["Failure", "UserError"]


class UserError(Exception):
    """Bad input: one clear line that says what is wrong, where, and what is supported.

    Command-line tools print it as `error: ...` and exit with status 2, without a traceback.
    """

    def __init__(self, message: str) -> None:
        # names out of damaged files may hold anything
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class Failure(Exception):
    """The machine, not the input, is at fault: the core, its simulation, or the link to it.

    Command-line tools print it the same way and exit with status 1.
    """
