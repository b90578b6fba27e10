"""The pictures: one function each, of a diagnosis or of one of its layers.

    throughtime.report.figures.gain(found)
    throughtime.report.figures.lag_matrix(found.layers[0], ax=axes)

Each returns the matplotlib figure. Gains and norms are log10, so that nothing underflows, and their
axes are labelled in powers of ten. What is exactly zero, or not finite, is shaded: it is never
drawn as a small number.

    reach       gain, compare, lag_matrix, gradients, states
    causes      budget, paths, norm_condition
    gates       gate_histogram, stuck_by_unit, stuck_by_time
    spectra     exponents, eigenvalues, singular_values
    memory      input_memory, memory_capacity, contributions
    place       first_non_finite
"""

from throughtime.report.figures.causes import budget, norm_condition, paths
from throughtime.report.figures.gates import gate_histogram, stuck_by_time, stuck_by_unit
from throughtime.report.figures.memory import contributions, input_memory, memory_capacity
from throughtime.report.figures.place import first_non_finite
from throughtime.report.figures.reach import compare, gain, gradients, lag_matrix, states
from throughtime.report.figures.spectra import eigenvalues, exponents, singular_values

__all__ = [
    "budget",
    "compare",
    "contributions",
    "eigenvalues",
    "exponents",
    "first_non_finite",
    "gain",
    "gate_histogram",
    "gradients",
    "input_memory",
    "lag_matrix",
    "memory_capacity",
    "norm_condition",
    "paths",
    "singular_values",
    "states",
    "stuck_by_time",
    "stuck_by_unit",
]
