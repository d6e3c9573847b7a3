"""A command that stops before its end, in words that say what is kept and how to go on."""


class Stopped(Exception):
    """A command stopped where it is, with words that say what is kept and how to go on.

    `exit_code` is 130 after Ctrl-C, 143 after SIGTERM, 0 for a spent budget.
    """

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code
