"""What a request gets that cannot be answered: a status and the error object of the OpenAI API."""

from typing import Any


class RequestError(Exception):
    """A request is refused.

    Args:
        status: The HTTP status, 400 to 599.
        message: One line: what was found, and what would do.
        param: The field of the request that is wrong, or None.
        code: A word for programs, or None.
        retry_after_seconds: When to try again, or None.

    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after_seconds = retry_after_seconds

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
