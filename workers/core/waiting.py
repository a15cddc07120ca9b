"""What is known of a job that waits for its turn."""

from pydantic import Field

from workers.core.frozen import Frozen


class Waiting(Frozen):
    """A place among the jobs that wait."""

    place: int = Field(description="Jobs whose turn comes before, and this one; 1 is next.")
    starts_in_s: float | None = Field(
        default=None, description="Estimated seconds until its turn; None if no worker runs, or nothing has run yet."
    )
