"""Plain attributes of a user's modules: what is put back, what a checkpoint has to hold."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.attributes import Attributes, restore_attributes


class Keeper(nn.Module):
    """What people keep in a module beside its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.state: Any = None
        self.hidden = torch.zeros(3)
        self.pair = (torch.zeros(2), torch.zeros(2))
        self.counts = {"read": 0, "sizes": [1, 2]}
        self.epoch, self.rate, self.name = 0, 0.5, "keeper"
        self.function = torch.tanh
        self.view = self.linear.weight.data.view(-1)


def rebind(model: Keeper) -> None:
    model.state, model.hidden = torch.ones(2), torch.ones(3)


def in_place(model: Keeper) -> None:
    model.hidden += 1
    model.pair[1][0] = 5


def containers(model: Keeper) -> None:
    model.counts["read"] += 1
    model.counts["sizes"].append(3)
    model.counts["new"] = 1


def numbers(model: Keeper) -> None:
    model.epoch, model.rate, model.name = 1, 0.25, "other"


def created(model: Keeper) -> None:
    model.cache = torch.ones(4)


def weights(model: Keeper) -> None:
    model.linear.weight.data += 1


CHANGES: dict[str, tuple[Callable[[Keeper], None], set[str]]] = {
    "another object": (rebind, {"state", "hidden"}),
    "in place": (in_place, {"hidden", "pair"}),
    "in a container": (containers, {"counts"}),
    "numbers": (numbers, {"epoch", "rate", "name"}),
    "a new one": (created, {"cache"}),
    "nothing": (lambda _: None, set()),
    "the weights, which others keep": (weights, set()),
}


def plain(model: nn.Module) -> str:
    """All of it as text, but the weights and what looks at them."""
    left_out = {*vars(nn.Module()), "view"}
    return str({name: value for name, value in vars(model).items() if name not in left_out})


@pytest.mark.parametrize("name", CHANGES)
def test_all_is_put_back(name: str) -> None:
    model = nn.Sequential(Keeper())
    before, objects = plain(model[0]), {key: id(value) for key, value in vars(model[0]).items()}
    kept = Attributes(model)
    CHANGES[name][0](model[0])
    kept.put_back()
    assert plain(model[0]) == before
    assert {key: id(value) for key, value in vars(model[0]).items()} == objects


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_told_and_makes_another_model_the_same(name: str) -> None:
    change, names = CHANGES[name]
    model, other = nn.Sequential(Keeper()), nn.Sequential(Keeper())
    kept = Attributes(model)
    change(model[0])
    changed = kept.changed()
    assert set(changed.get("0", {})) == names
    restore_attributes(other, changed)
    assert plain(other[0]) == plain(model[0])


def test_a_state_is_told_without_its_graph() -> None:
    model = Keeper()
    kept = Attributes(model)
    model.state = model.linear(torch.ones(2))
    assert kept.changed()[""]["state"].grad_fn is None


def test_a_module_that_finds_its_shape_when_it_runs_keeps_it() -> None:
    class Lazy(nn.LazyLinear):
        cls_to_become = None

    model = Lazy(3)
    kept = Attributes(model)
    model(torch.ones(2, 5))
    kept.put_back()
    assert model.in_features == 5


class Recalling(nn.Module):
    """Carries its state by itself, as many a network does."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.state = nn.RNN(2, 3), None

    def forward(self, x: Tensor) -> Tensor:
        outputs, state = self.rnn(x, self.state)
        self.state = state.detach()
        return outputs


def test_a_look_leaves_the_state_that_a_model_carries() -> None:
    model, x = Recalling(), torch.randn(5, 4, 2)
    model(x)
    state = model.state
    tt.observe(model, lambda: model(x).square().mean())
    assert model.state is state
