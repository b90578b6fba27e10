r"""What ``--help`` says. A ``\b`` keeps the line breaks of its paragraph."""

ABOUT = """Find out how far back gradients travel in a recurrent network, what stops them, and
what fixes it.

\b
a first demo on real text     throughtime demo
your own model                throughtime diagnose FILE.py:FUNCTION
a fresh layer of torch        throughtime diagnose --cell lstm
what could fix it?            throughtime prescribe FILE.py:FUNCTION
does that help? train both    throughtime treat FILE.py:FUNCTION
does a cell learn a task?     throughtime train adding --length 100
the mathematics               throughtime textbook scalar

FILE.py:FUNCTION is a function in your Python file that returns (model, closure);
throughtime diagnose --help shows one.
"""

EXIT_CODES = """\b
Exit code: 0 healthy or done; 1 a finding, or unknown; 2 bad usage or input;
3 the environment (disk, memory, a missing package);
129, 130 or 143 after a signal.
"""

DEMO = """Train an Elman RNN and an LSTM on real text, and show how far back each of them sees.

They learn to read the manual of Python, and then to recall a name over a growing distance. Takes
about a minute, downloads nothing, and writes an HTML report.
"""

TEXTBOOK = """Show one page of the lecture's mathematics: a small table and a picture.

\b
scalar      one unit: the product of factors, and its bound
node        one gradient on its way back through tanh, + and MatMul
powers      powers of W by its eigenvalues, and where these mislead
nilpotent   spectral radius 0, and the gradient doubles at every step
lm          the language model: backpropagation through time as a sum
clip        clipping by the global norm
lstm        the cell-state path (carousel) next to the whole gradient
"""

DIAGNOSE = """Measure on one batch how far back the gradient of a model reaches.

FUNCTION is defined in FILE.py and returns (model, closure); where it takes an argument named seed,
it gets --seed, which also seeds Python, NumPy and torch. The closure takes no argument: it runs the
model on one batch and returns the loss. Python runs FILE.py first:

\b
    def build():
        model = MyModel()
        def closure():
            return criterion(model(inputs), targets)
        return model, closure

For a padded batch it returns (model, closure, lengths), or sets closure.lengths: one whole number
for each sequence. FUNCTION may return a throughtime.Problem instead, and the closure what a Hugging
Face model returns. Without a file, --cell makes a fresh layer, as torch initialises it, that reads
a text word by word.
"""

TRAIN = """Train a network on a long-range task, on a text, or on a problem of your own.

\b
    throughtime train adding --cell lstm --length 200 --run runs/adding
    throughtime train --text book.txt --characters
    throughtime train FILE.py:FUNCTION --steps 5000

Tasks: adding, copy, copy-ten, temporal-order, delayed-xor, parity, latch, name-recall,
name-recall-ko, digits, digits-permuted, words, characters. FUNCTION returns a
throughtime.Problem: a model, batches, a loss and how far back the task must see.

With --run all is recorded in that directory. Kill it at any moment: the same command with
--resume goes on from its last checkpoint, to the same numbers. Several processes share every
batch by torchrun; the -- after its -m keeps --run from being taken for its own:

\b
    torchrun --nproc-per-node 2 -m -- throughtime train adding --run DIR
"""

REPRODUCE = """Reproduce a published result, and report whether ours matches.

\b
    throughtime reproduce
    throughtime reproduce book-gradient-norms
    throughtime reproduce adding-irnn --seeds 3

Without a name it lists all of them: the paper, the settings, the expected values, what counts as
matched, and how long one seed takes on one core.
"""

SWEEP = """Train every cell with every remedy, over lengths and seeds, and compare them.

GRID.toml names the axes; examples/grid.toml is one to start from:

\b
    task = "adding"
    cells = ["rnn", "lstm"]
    remedies = ["none", "clip", "orthogonal+clip"]
    lengths = [50, 100]
    seeds = [0, 1, 2]
    steps = 2000

Each setting is trained once, in a run directory of its own under DIR. Interrupt it at any moment:
the same command goes on. DIR gets results.csv (and results.parquet, if pyarrow is installed) and
index.html, a page of small loss curves. With --cluster the workers of a Dask cluster do the work;
they must see DIR under the same path.
"""

PRESCRIBE = """Try the remedies that fit the findings, each on a copy of the model, and rank them.

\b
    throughtime prescribe FILE.py:FUNCTION --span 200
    throughtime prescribe adding --cell rnn --length 100

FUNCTION, called once, returns a throughtime.Problem, or (model, closure) as for diagnose. The same
batch is captured on every copy, before and after a few updates, the same number for each; your own
model is not touched. Prints the ranking, what a step costs, and the lines of code to paste. Where
--seconds are over, the remedies that are left are named. It proves nothing.
"""

TREAT = """Train a model with each remedy and without, in pairs, and report which remedy helped.

\b
    throughtime treat FILE.py:FUNCTION --span 200 --steps 2000

FUNCTION returns a throughtime.Problem. With an argument seed it is called with each seed; without
one, all that it draws from torch, numpy or random is seeded. For each seed every training starts
from the same initial weights, reads the same batches and makes the same number of updates.

The plan and the expected time are printed first. Where no remedy does anything, at most 5 % of all
studies say that one helped; one that helped comes with the patch that puts it into FILE.py.
Interrupt it at any moment: the same command goes on. DIR gets index.html (the loss curves),
result.json and remedy.patch. With --cluster the workers of a Dask cluster do the work; they must
see DIR and FILE.py under the same paths.
"""
