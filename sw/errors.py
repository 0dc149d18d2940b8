"""The exceptions that a user sees: those of the hardware's tools."""

from hw.errors import Failure, UserError

__all__ = ["Failure", "UserError"]
