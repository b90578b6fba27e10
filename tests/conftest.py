"""What every test runs under: one thread per worker, and the same examples every time."""

import os

# Before torch is imported, and inherited by the commands that tests start: two workers with a
# thread pool each would fight over the cores, and one thread sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.load_profile("ci")  # no deadline; the same examples every time
