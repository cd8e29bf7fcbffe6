"""Plan what to draw, then draw it."""

from understudy.sampling.draw import DrawStep, draw_parts, load_parts
from understudy.sampling.plan import batches, make_plan, quotas, read_part, times_of, write_parts
from understudy.sampling.supply import Supply

__all__ = ["DrawStep", "Supply", "batches", "draw_parts", "load_parts", "make_plan", "quotas", "read_part", "times_of", "write_parts"]
