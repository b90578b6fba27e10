"""``throughtime diagnose``, run in this process: its exit code, its answer and its report."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import Ran, own_folder, running
from user_files import closure, model

from throughtime.findings import Diagnosis

folder = pytest.fixture(own_folder, autouse=True)
run = pytest.fixture(running)


# Diagnosis

VERDICTS = {
    "healthy": (model("T=3"), 0),
    "vanishing": (model("T=40"), 1),
    "one step": (model("T=1"), 1),
    "no sequence": (closure("return model(x[:, :0]).nan_to_num()"), 1),
    "no_grad": (closure("with torch.no_grad(): return model(x)"), 1),
    "detached": (closure("return model(x).detach()"), 1),
    "NaN": (closure("return model(x * float('nan'))"), 1),
    "its own backward": (closure("loss = model(x); loss.backward(); return loss"), 1),
}


@pytest.mark.parametrize(("file", "code"), VERDICTS.values(), ids=VERDICTS)
def test_the_exit_code_tells_a_finding(run: Ran, file: str, code: int) -> None:
    ran = run("diagnose", "model.py:build", file=file)
    assert (ran.code, ran.err) == (code, "")
    assert ran.out


CLOSURES = {
    "vector": ("return x[0, 0]", "returned a tensor of shape (3,)"),
    "None": ("model(x)", "returned None: is a return missing?"),
    "number": ("return model(x).item()", "returned float"),
    "no layer": ("return x.mean()", "no recurrent layer of the model ran: is it this very model"),
    "raises": ("raise ValueError('no')", "ValueError: no"),
    "features": ("return model(x[..., :2])", "the last axis must be 3"),
    "no steps": ("return model(x[:0])", "got a sequence of 0 steps"),
    "type": ("return model(x.double())", "convert it with x.to(torch.float32)"),
    "in place": (
        "y = model.rnn(x)[0].sigmoid(); loss = y.square().sum(); y.mul_(2); return loss",
        "modified by an inplace operation",
    ),
}


@pytest.mark.parametrize(("body", "sentence"), CLOSURES.values(), ids=CLOSURES)
def test_a_bad_closure_is_one_line(run: Ran, body: str, sentence: str) -> None:
    ran = run("diagnose", "model.py:build", file=closure(body))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("throughtime: ")
    assert sentence in ran.err


def found_by(ran: SimpleNamespace) -> Diagnosis:
    return Diagnosis.from_json(ran.out)


def test_json_is_the_whole_diagnosis_and_nothing_else(run: Ran) -> None:
    prints = closure("print('noise'); __import__('os').write(1, b'raw\\n'); return model(x)")
    ran = run("diagnose", "model.py:build", "--json", file=prints)
    found = found_by(ran)
    assert ran.out == f"{found.to_json()}\n"
    assert found.run["source"] == "model.py:build"
    assert sorted(ran.err.split()) == ["noise", "raw"]


@pytest.mark.parametrize(("options", "span"), [([], 11), (["--span", "3"], 3)], ids=str)
def test_the_span_is_the_sequence_unless_it_is_given(
    run: Ran, options: list[str], span: int
) -> None:
    assert (
        found_by(run("diagnose", "model.py:build", "--json", *options, file=model())).span == span
    )


def test_a_span_beyond_the_capture_is_said_to_be(run: Ran) -> None:
    """A gain below 1 % that shrinks all along has vanished, however far the span."""
    ran = run("diagnose", "model.py:build", "--json", "--span", str(2**62), file=model())
    found = found_by(ran)
    assert (ran.code, found.verdict, found.span) == (1, "vanishing", 2**62)
    assert (
        "more than was captured"
        in next(f for f in found.findings if f.disease == "vanishing").sentence
    )


def test_a_span_beyond_a_capture_of_few_steps_is_not_decided(run: Ran) -> None:
    ran = run("diagnose", "model.py:build", "--json", "--span", "400", file=model("T=4"))
    found = found_by(ran)
    assert (ran.code, found.verdict) == (1, "unknown")
    assert "too short" in found.diseases


@pytest.mark.parametrize(("options", "deep"), [([], False), (["--deep"], True)], ids=str)
def test_deep_measures_what_takes_longer(run: Ran, options: list[str], deep: bool) -> None:
    ran = run("diagnose", "model.py:build", "--json", *options, file=model("T=40"))
    names = {one.name for layer in found_by(ran).layers for one in layer.measurements}
    assert {"budget", "counterfactuals", "gain"} <= names
    assert ("lyapunov" in names, "eigenvalues" in names) == (deep, deep)


def test_the_answer_says_why(run: Ran) -> None:
    ran = run("diagnose", "model.py:build", file=model("T=40"))
    order = ["VANISHING", "Why", "Where the decades go", "What if", "rnn (LSTM)", "Gain by lag"]
    places = [ran.out.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_the_answer_and_the_report_are_in_the_language_that_was_asked_for(run: Ran) -> None:
    ran = run(
        *("diagnose", "model.py:build", "--language", "ko", "--report", "r.html"),
        file=model("T=40"),
    )
    assert "기울기 소실" in ran.out
    assert "왜 그런가" in ran.out
    assert '<html lang="ko">' in Path("r.html").read_text(encoding="utf-8")


LENGTHS = {
    "a third element": "return model, closure, {}",
    "an attribute": "closure.lengths = {}; return model, closure",
}
GIVEN = {"a list": "[12, 5, 9, 12]", "a tensor": "torch.tensor([12, 5, 9, 12])"}


def padded(ends: str, lengths: str) -> str:
    whole = closure("return model.rnn(x)[0][-1].square().mean()")
    return whole.replace("return model, closure", ends.format(lengths))


@pytest.mark.parametrize("lengths", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("ends", LENGTHS.values(), ids=LENGTHS)
def test_a_file_may_say_how_long_its_sequences_are(run: Ran, ends: str, lengths: str) -> None:
    found = found_by(run("diagnose", "model.py:build", "--json", file=padded(ends, lengths)))
    partial = {one.disease: one.sentence for one in found.findings}["partial loss"]
    assert "beyond the end of 2 of 4 sequences (their lengths say so)" in partial


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ("7", "gives lengths as something of type int: give one whole number for each sequence"),
        ("[1.5] * 4", "gives lengths as something of type list: give one whole number"),
        ("torch.ones(2, 2)", "lengths as something of type Tensor of shape (2, 2): give one"),
        ("[12, 5]", "lengths has 2 entries, and layer 'rnn' read a batch of 4"),
    ],
)
def test_lengths_that_do_not_fit_are_one_line(run: Ran, lengths: str, sentence: str) -> None:
    ran = run("diagnose", "model.py:build", file=padded("return model, closure, {}", lengths))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert sentence in ran.err


def test_the_answer_begins_with_what_the_loss_reads(run: Ran) -> None:
    file = padded("return model, closure", "")
    ran = run("diagnose", "model.py:build", "--report", "r.html", file=file)
    first = "12 steps, batch of 4, loss "
    assert ran.out.startswith(first)
    assert "the loss reads all sequences at the last step." in " ".join(ran.out.split())
    assert first in Path("r.html").read_text(encoding="utf-8")
    ran = run("diagnose", "model.py:build", "--language", "ko", file=file)
    assert "모든 시퀀스의 마지막 스텝을 읽습니다." in " ".join(ran.out.split()[:20])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_cell_reads_a_text(run: Ran, cell: str) -> None:
    Path("text.txt").write_text("the cat sat on the mat and the dog did not " * 40)
    sizes = "--hidden", "8", "--window", "20", "--text", "text.txt", "--json"
    first, again, other = (
        found_by(run("diagnose", "--cell", cell, *sizes, "--seed", seed)) for seed in "112"
    )
    assert [layer.kind.lower() for layer in first.layers] == [cell]
    assert (first.span, first.run["steps"]) == (19, 20)
    assert "text.txt" in first.run["source"]
    assert first == again
    assert first.rate != other.rate


def test_a_warning_that_is_a_note_is_said_once(run: Ran) -> None:
    ran = run("diagnose", "model.py:build", file=closure("x[6:, 1] = 0; return model(x)"))
    assert ran.err == ""
    assert ran.out.count("stands still") == 1


def test_names_are_shown_as_they_are(run: Ran) -> None:
    name = "[bold]<script>\\x1b[31m"
    ran = run("diagnose", "model.py:build", file=model(f"name='{name}'"))
    assert "[bold]<script>" in ran.out
    assert "\x1b" not in ran.out


# The report


NO_REPORT = {
    "r.pdf": "a report is an HTML page: name a file that ends in .html",
    "r": "a report is an HTML page: name a file that ends in .html",
    "r.html.gz": "a report is an HTML page: name a file that ends in .html",
    "none/r.html": "there is no folder none: make it first",
    "pipe.html": "pipe.html is a named pipe: name a new file, or one to replace",
    "link.html": "link.html is a symbolic link: name a new file, or one to replace",
}


@pytest.mark.parametrize("command", ["diagnose model.py:build", "prescribe model.py:build", "demo"])
def test_a_report_that_could_not_be_written_is_refused_before_any_work(
    run: Ran, folder: Path, command: str
) -> None:
    os.mkfifo("pipe.html")
    Path("link.html").symlink_to("/dev/full")
    before = sorted(folder.iterdir())
    for report, said in NO_REPORT.items():
        ran = run(*command.split(), "--report", report)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert said in ran.err
    assert sorted(folder.iterdir()) == before


def test_a_place_for_a_report_is_tried_and_left_empty(run: Ran, folder: Path) -> None:
    ran = run("diagnose", "missing.py:build", "--report", "R.HTM")
    assert (ran.code, "there is no file missing.py" in ran.err) == (2, True)
    assert list(folder.iterdir()) == []


def test_the_report_is_written_and_named(run: Ran, folder: Path) -> None:
    moves = closure("__import__('os').chdir('/'); return model(x)")
    ran = run("diagnose", "model.py:build", "--report", "r.html", file=moves)
    assert ran.code == 1
    assert ran.out.endswith(f"The report is in {folder / 'r.html'}\n")
    assert (folder / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_does_not_cost_the_answer(run: Ran, folder: Path) -> None:
    moves = closure("__import__('os').mkfifo('pipe.html'); return model(x)")  # while it works
    ran = run("diagnose", "model.py:build", "--report", "pipe.html", "--json", file=moves)
    assert (ran.code, found_by(ran).verdict) == (2, "vanishing")
    pipe = folder / "pipe.html"
    assert ran.err == f"throughtime: {pipe} is a named pipe: name a new file, or one to replace\n"
