"""Short stories that ask for a name, any number of tokens after it was read.

    Tom was watching TV in his room. [filler] Mary came into the room. Mary said hi to [Tom]

The name is the first token, and ``distance`` tokens stand between it and the gap: the network
answers after the last of them, ``distance`` steps after it read the name. What stands between is
drawn without looking at the name: no filler names anybody, no visitor is ever an answer, and all
who can be asked for share one pronoun. (In Korean the particle behind the name depends on how the
name ends, as it must.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from throughtime.errors import InputError
from throughtime.tasks.tokeniser import tokenise

Tokens = tuple[str, ...]
SHORTEST_FILLER = 3


@dataclass(frozen=True)
class Story:
    """Tokens from the name to the last one before the gap, and the name that belongs there."""

    tokens: Tokens
    answer: str


@dataclass(frozen=True)
class Storyteller:
    """The sentences of one language, and how to put them together to an exact length.

    Attributes:
        names: who can be asked for.
        visitors: who comes in; nobody of ``names``.
        openings: templates of the first sentence; each starts with the name.
        arrivals: templates of the sentence in which the visitor comes in.
        question: template of the last sentence, up to the gap.
        fillers: sentences about nobody, of at least 3 tokens; some have 3, some 4 and some 5, so
            that they make up every length but 1 and 2.
        forms: how a template's word in braces is made from a name.
        example: one story in full for people, with its answer in brackets.
    """

    names: tuple[str, ...]
    visitors: tuple[str, ...]
    openings: tuple[str, ...]
    arrivals: tuple[str, ...]
    question: str
    fillers: tuple[str, ...]
    forms: dict[str, Callable[[str], str]]
    example: str

    @property
    def shortest(self) -> int:
        """The smallest distance that a story can have: the shortest opening and the question."""
        name, visitor = self.names[0], self.visitors[0]
        opening = min(len(tokens) for tokens in self._filled[self.openings, name])
        return opening - 1 + len(self._filled[(self.question,), visitor][0])

    @cached_property
    def vocabulary(self) -> Tokens:
        """Every token that a story can hold, sorted."""
        sentences = [*self._fillers, *(s for filled in self._filled.values() for s in filled)]
        return tuple(sorted({token for sentence in sentences for token in sentence}))

    def story(self, distance: int, draw: Random) -> Story:
        """A story with exactly ``distance`` tokens between the name and the gap.

        Raises:
            InputError: ``distance`` is shorter than the shortest story.
        """
        if distance < self.shortest:
            raise InputError(
                f"distance {distance} is too short: the shortest story has {self.shortest} tokens "
                f"between the name and the question, so give at least {self.shortest}"
            )
        name, visitor = draw.choice(self.names), draw.choice(self.visitors)
        (question,) = self._filled[(self.question,), visitor]
        room = distance + 1 - len(question)
        opening, arrival = draw.choice(self._frames(name, visitor, room))
        filler = self._filler(room - len(opening) - len(arrival), draw)
        return Story(opening + filler + arrival + question, answer=name)

    def _frames(self, name: str, visitor: str, room: int) -> list[tuple[Tokens, Tokens]]:
        """Openings and arrivals between which fillers can make up ``room`` tokens exactly.

        The visitor comes in wherever there is room for it: only the shortest stories do without.
        """
        openings = self._filled[self.openings, name]
        arrivals = self._filled[self.arrivals, visitor]

        def fitting(arrivals: Sequence[Tokens]) -> list[tuple[Tokens, Tokens]]:
            pairs = [(opening, arrival) for opening in openings for arrival in arrivals]
            return [pair for pair in pairs if _can_fill(room - len(pair[0]) - len(pair[1]))]

        return fitting(arrivals) or fitting([()])

    def _filler(self, length: int, draw: Random) -> Tokens:
        tokens: list[str] = []
        while (left := length - len(tokens)) > 0:
            tokens += draw.choice([s for s in self._fillers if _can_fill(left - len(s))])
        return tuple(tokens)

    @cached_property
    def _fillers(self) -> list[Tokens]:
        return [tuple(tokenise(sentence)) for sentence in self.fillers]

    @cached_property
    def _filled(self) -> dict[tuple[tuple[str, ...], str], list[Tokens]]:
        """The tokens of each group of templates, told about each name it can be told about."""
        groups = ((self.openings, self.names), (self.arrivals, self.visitors))
        return {
            (templates, name): [self._fill(template, name) for template in templates]
            for templates, names in (*groups, ((self.question,), self.visitors))
            for name in names
        }

    def _fill(self, template: str, name: str) -> Tokens:
        forms = {word: form(name) for word, form in self.forms.items()}
        return tuple(tokenise(template.format(**forms)))


def _can_fill(length: int) -> bool:
    return length == 0 or length >= SHORTEST_FILLER
