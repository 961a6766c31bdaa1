"""What a function of the user's own wants."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from symadj.config.build import imported
from symadj.guide.goals.base import Goal


class Function(Goal):
    """The loss is a function of the user's own, samples [B, dim] -> [B].

    Args:
        function: where it is imported from, such as mine.losses.brightness; in Python the function
            itself.

    Raises:
        InputError: it cannot be imported.
    """

    def __init__(self, function: str | Callable[[Tensor], Tensor]) -> None:
        if isinstance(function, str):
            self._function = imported(function, "function")
            self.description = f"function: {function}"
        else:
            self._function = function
            self.description = f"function: {getattr(function, '__name__', 'your own')}"

    def __call__(self, x: Tensor) -> Tensor:
        """`Goal.__call__`."""
        return self._function(x)
