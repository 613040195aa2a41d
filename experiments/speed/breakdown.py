"""Where the time of our compiled step goes: its profile, by what is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["PARTS", "grouped", "profile_of_steps"]

PARTS = {
    "products": "matrix products",
    "random": "random numbers",
    "update": "the optimizer's loop",
    "loops": "the other loops over elements",
    "rest": "calls, allocation and Python",
}
"""What a step consists of, in the order of tables."""


def profile_of_steps(work: Callable[[], object], steps: int) -> dict[str, float]:
    """Milliseconds a step by ``PARTS``, where ``work`` takes so many of them."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    events = [(event.key, event.self_cpu_time_total) for event in found.key_averages()]
    return {part: total / 1e3 / steps for part, total in grouped(events).items()}


def grouped(events: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Times of events added up by part."""
    sums = dict.fromkeys(PARTS, 0.0)
    for name, taken in events:
        sums[_part(name)] += taken
    return sums


def _part(event: str) -> str:
    if any(name in event for name in ("mm_out", "linear_pointwise")):
        return "products"
    if event in ("aten::mm", "aten::addmm", "aten::bmm"):
        return "products"
    if "cpp_fused" in event:
        return "update" if "copy_" in event else "loops"  # it alone writes in place
    if any(name in event for name in ("normal", "bernoulli", "uniform")):
        return "random"
    return "rest"
