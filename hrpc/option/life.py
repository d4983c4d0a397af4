"""The options for what a life begins and ends with."""

from __future__ import annotations

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.run_step import Priority, RunStep
from hrpc.option.settings import Hook, Option


def with_pre_run(step: Hook, *, priority: Priority | int | None = None, name: str | None = None) -> Option:
    """A function to run before the service takes its first call, or the job begins; given again, it adds another.

    It runs when all else is there: the pools are open, the upstreams are known, and the health port answers that the
    service is starting. It is sync, in a thread of its own, or async; the next step waits for it. When it raises, the
    start ends there, and the log says ``[step 12/16] name: …``.

    The step with the lowest `priority` comes first: `Priority.FIRST` to `Priority.TENTH` are 101 to 110. Those without
    one come after these in the order in which they are given: the first of them has 10101, the next 10102. `name` is
    for the log; that of the function when not given.

    ::

        hrpc.with_pre_run(schema.migrate, priority=hrpc.Priority.FIRST)
        hrpc.with_pre_run(cache.warm)

    It has no limit of its own: see `with_start_limit`. What it has opened is closed by `life.when_exit`, also when the
    start fails after it. Raises `OptionError`.
    """
    return Option("with_pre_run", {}, {"pre_run": (_step("hrpc.with_pre_run", step, priority, name),)})


def with_post_run(step: Hook, *, priority: Priority | int | None = None, name: str | None = None) -> Option:
    """A function to run after the last call, or after the job; given again, it adds another. As `with_pre_run`.

    It runs when the calls have drained, before the exit hooks, while the pools are open: the lowest priority first. It
    has the `step_limit` of `with_graceful_stop`; one that raises or hangs is reported, and the next one runs. All run
    unless the start has failed before the last step of `with_pre_run` was done.
    """
    return Option("with_post_run", {}, {"post_run": (_step("hrpc.with_post_run", step, priority, name),)})


def with_start_limit(seconds: float | None) -> Option:
    """How long the whole start may take; then it fails, and says in which step it was. None, as without it: for ever.

    Whoever watches the service mostly has such a limit: Kubernetes in its startup probe, systemd in TimeoutStartSec.
    """
    limit = None if seconds is None else checks.seconds("hrpc.with_start_limit", "seconds", seconds, 0.001)
    return Option("with_start_limit", {"start_limit": limit})


def _step(option: str, step: Hook, priority: int | None, name: str | None) -> RunStep:
    if not callable(step):
        raise OptionError(f"{option}: takes a function without arguments, not {step!r}")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int) or priority <= 100):
        raise OptionError(
            f"{option}(priority={priority!r}): takes hrpc.Priority.FIRST to .TENTH, or a number from 101 on; those up "
            "to 100 are for hrpc's own steps"
        )
    if name is not None:
        return RunStep(step, checks.text(option, "name", name), priority)
    return RunStep(step, getattr(step, "__qualname__", None) or repr(step), priority)
