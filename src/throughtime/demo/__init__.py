"""The main job, shown from end to end on real input, in well under a minute."""

from throughtime.demo.run import DemoResult, Effort, run_demo

__all__ = ["DemoResult", "Effort", "run_demo"]
