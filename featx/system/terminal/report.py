"""Progress of a long call, as functions of the user receive it."""

from __future__ import annotations

import dataclasses

from featx.system.notebook.cards import Record


@dataclasses.dataclass(frozen=True)
class Progress(Record):
    """How far one stage of a long call is: what a function passed as ``progress`` receives.

    A call has one stage or several, one after another or nested. `done` starts at 0, never decreases within a stage,
    and equals `total` in its last report. The function is called in the thread of the call, when a stage starts or
    ends, when its message changes, and at most ten times a second in between. An error that it raises ends the call.

    Attributes
    ----------
    stage : str
        Name of the stage, for example ``"extract"``, ``"compare"`` or ``"convert"``.
    done : int
        Number of units that are done.
    total : int or None
        Number of units of the stage. None: not known yet.
    unit : str
        Unit of the counts: ``"images"``, ``"folds"``, ``"rows"``, ``"epochs"``, …
    seconds : float
        Seconds since the stage started.
    message : str
        Details, for example the name of the backbone or estimator.

    See Also
    --------
    compare_images : One of the functions that report progress.

    Examples
    --------
    Pass ``print``, or any function that accepts a Progress:

    >>> from featx import Progress
    >>> print(Progress("extract", 50, 200, "images", 0.5, "mobilenet"))
    extract mobilenet: 50 of 200 images, 0.5 s
    """

    stage: str
    done: int
    total: int | None
    unit: str
    seconds: float
    message: str = ""

    def __str__(self) -> str:
        of_total = "" if self.total is None else f" of {self.total:,}"
        name = f"{self.stage} {self.message}".rstrip()
        return f"{name}: {self.done:,}{of_total} {self.unit}, {self.seconds:.1f} s"
