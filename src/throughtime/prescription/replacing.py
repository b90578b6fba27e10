"""Treatments that put another cell in the place of every recurrent layer."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Generator

from throughtime.cells import CELLS
from throughtime.errors import InputError
from throughtime.prescription.places import recurrent_modules
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem
from throughtime.remedies.replacement.replace import replace_

_FITS = ("vanishing", "exploding", "chaotic", "gates closed", "saturated", "transient growth")
_NAMES = {"orthogonal-rnn": "orthogonal"}  # what the cell is called where ``orthogonal`` is free


def _replacement(name: str, sentence: str, paper: str, spanned: bool = False) -> Treatment:
    cell = _NAMES.get(name, name)
    return Treatment(
        name,
        "cell",
        sentence,
        paper,
        _FITS,
        partial(_apply, cell, spanned),
        partial(_code, cell, spanned),
    )


def _apply(cell: str, spanned: bool, problem: Problem, span: int, generator: Generator) -> Problem:
    kind: Any = CELLS[cell]
    found = recurrent_modules(problem.model).values()
    if found and all(isinstance(part, kind) for part in found):
        raise InputError(f"{problem.name}: every recurrent layer is of this kind already")
    settings: dict[str, Any] = {"span": span} if spanned else {}
    replace_(problem.model, cell, generator=generator, **settings)
    return problem


def _code(cell: str, spanned: bool, _problem: Problem, span: int) -> str:
    settings = f", span={span}" if spanned else ""
    return f'tt.remedies.replace_(model, "{cell}"{settings})  # then make the optimizer'


REPLACING = (
    _replacement(
        "lstm",
        "puts an LSTM in the place of every recurrent layer",
        "Hochreiter & Schmidhuber 1997",
    ),
    _replacement("gru", "puts a GRU in the place of every recurrent layer", "Cho et al. 2014"),
    _replacement(
        "janet",
        "puts a JANET, an LSTM of the forget gate alone, in the place of every recurrent layer",
        "van der Westhuizen & Lasenby 2018",
    ),
    _replacement(
        "lru",
        "puts an LRU, a linear diagonal recurrence, in the place of every recurrent layer",
        "Orvieto et al. 2023",
    ),
    _replacement(
        "mingru",
        "puts a minGRU, whose gates do not see the state, in the place of every recurrent layer",
        "Feng et al. 2024",
    ),
    _replacement(
        "indrnn",
        "puts an IndRNN, whose units remember by themselves, in the place of every recurrent layer",
        "Li, Li, Cook, Zhu & Gao 2018",
        spanned=True,
    ),
    _replacement(
        "antisymmetric",
        "puts an AntisymmetricRNN in the place of every recurrent layer",
        "Chang, Chen, Haber & Chi 2019",
    ),
    _replacement(
        "cornn",
        "puts a coRNN, coupled oscillators, in the place of every recurrent layer",
        "Rusch & Mishra 2021",
    ),
    _replacement(
        "lem",
        "puts a LEM, which has several time scales, in the place of every recurrent layer",
        "Rusch, Mishra, Erichson & Mahoney 2022",
    ),
    _replacement(
        "orthogonal-rnn",
        "puts an RNN with an orthogonal matrix and modReLU in the place of every recurrent layer",
        "Lezcano & Martínez-Rubio 2019",
    ),
)
