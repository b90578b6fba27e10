"""The seven pages of `throughtime textbook NAME`, each computed anew by the files beside it."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from . import clipping, elman_lm, growth, lstm, nilpotent, node, powers, scalar
from .descent import descend, language_model
from .layer import Weights
from .notation import Array, float64
from .page import Cell, Page, Picture, to_dict
from .rendering import render

__all__ = ["PAGES", "Page", "render", "to_dict"]


def log10(sizes: Iterable[float]) -> tuple[float, ...]:
    """log10 |size| of each, -inf for a true zero."""
    with np.errstate(divide="ignore"):
        return tuple(float(v) for v in np.log10(np.abs(float64(list(sizes)))))


def norm(gradient: Array) -> float:
    """‖gradient‖, the root of the sum of the squares of all its entries."""
    return float(np.linalg.norm(gradient))


def spectral_norm(matrix: Array) -> float:
    """‖matrix‖_2, its largest singular value."""
    return float(np.linalg.norm(matrix, 2))


def scalar_page(T: int = 20, seed: int = 0) -> Page:
    """Three chains: A |a| < 1, B |a| > 1 with input, C |a| > 1 at rest."""
    x = np.random.default_rng(seed).normal(size=T)
    chains = {
        "A: a = 0.9": scalar.Chain(a=0.9, b=1.0, c=0.0, d=1.0, e=0.0),
        "B: a = 1.5": scalar.Chain(a=1.5, b=1.0, c=0.0, d=1.0, e=0.0),
        "C: a = 1.5, no input": scalar.Chain(a=1.5, b=0.0, c=0.0, d=1.0, e=0.0),
    }
    states = [scalar.forward(chain, x) for chain in chains.values()]
    factors = [scalar.factors(chain, h) for chain, h in zip(chains.values(), states, strict=True)]
    dy_dh = [scalar.dy_dh(chain, h) for chain, h in zip(chains.values(), states, strict=True)]
    rows: list[tuple[Cell, ...]] = []
    for t in (T, T - 1, T - 2, T - 3, T // 2, 2, 1):
        pairs = [(float(f[t - 1]), float(g[t])) for f, g in zip(factors, dy_dh, strict=True)]
        rows.append((f"t = {t}", *(number for pair in pairs for number in pair)))
    bounds = [scalar.bound(chain, T) for chain in chains.values()]
    rows.append(("bound |a|^{T-1}", *(cell for bound in bounds for cell in ("", bound))))
    return Page(
        name="scalar",
        title="One unit: the gradient through time is a product of factors",
        formulas=(
            "h_t = tanh(a h_{t-1} + b x_t + c),   y = d h_T + e",
            "dy/dh_k = d Π_{t=k+1..T} a (1 - h_t²),   |dy/dh_1| ≤ |d| |a|^{T-1}",
        ),
        columns=("step", "A factor", "dy/dh_t", "B factor", "dy/dh_t", "C factor", "dy/dh_t"),
        rows=tuple(rows),
        quantity="log10 |dy/dh_t|",
        pictures=tuple(
            Picture(label, "t", 1, log10(g[1:])) for label, g in zip(chains, dy_dh, strict=True)
        ),
        see="|a| < 1 suffices to vanish (A). B and C share |a| > 1: C, at rest, meets its bound, "
        "while in B the inputs saturate tanh and the gradient vanishes all the same, so |a| > 1 is "
        "necessary for exploding, not sufficient.",
    )


def node_page(N: int = 2, H: int = 3, T: int = 20, seed: int = 3) -> Page:
    """One step's walk node by node, and twenty MatMuls under the book's two matrices."""
    Wh = growth.book_matrix(1.0, H, seed)
    generator = np.random.default_rng(seed)
    p = node.Parameters(Wx=0.5 * generator.normal(size=(H, H)), Wh=Wh, b=np.zeros(H))
    _, steps = node.forward(p, generator.normal(size=(T, N, H)), np.zeros((N, H)))
    direct = np.zeros((T, N, H))
    direct[-1] = 1.0
    walks = node.walk_back(steps, direct)
    last, earlier = walks[0].norms(), walks[T // 2].norms()
    stations = (
        ("arrives", "dh", "from the loss and the step after"),
        ("tanh", "dt", "dh ⊙ (1 - h²)"),
        ("+", "dsum", "copied to both sides"),
        ("MatMul", "dh_prev", "dt Whᵀ, to the step before"),
        ("MatMul", "dWh", "h_prevᵀ dt, stays in Wh"),
    )
    growing = growth.norms_under_repeated_matmul(Wh, N, T)
    decaying = growth.norms_under_repeated_matmul(0.5 * Wh, N, T)
    return Page(
        name="node",
        title="One gradient walks back through tanh, + and MatMul",
        formulas=(f"h = tanh(h_prev Wh + x Wx + b),   N = {N}, H = {H}, T = {T}",),
        columns=("node", "gradient", "formula", f"norm, t = {T}", f"norm, t = {T - T // 2}"),
        rows=tuple(
            (kind, name, formula, last[name], earlier[name]) for kind, name, formula in stations
        ),
        quantity="log10 (‖dh‖ / N) after k steps back",
        pictures=(
            Picture("MatMul alone, randn", "k", 1, log10(growing)),
            Picture("MatMul, 0.5 randn", "k", 1, log10(decaying)),
            Picture("all nodes, randn", "k", 1, log10(w.norms()["dh_prev"] / N for w in walks)),
        ),
        see="+ copies, tanh shrinks, MatMul repeats one matrix. Alone, that of spectral radius "
        f"{growth.spectral_radius(Wh):.2f} takes dh to {growing[-1]:.4g}, half of it to "
        f"{decaying[-1]:.2g}, yet with tanh in place the first vanishes too (right): the matrix "
        "does not decide alone.",
    )


def powers_page(T: int = 20) -> Page:
    """Powers of a diagonalisable W, and the counter-example that eigenvalues get wrong."""
    V = float64([[1.0, 1.0], [0.5, -1.0]])
    D = float64([2.0, 0.3])
    W = V @ np.diag(D) @ np.linalg.inv(V)
    rows = []
    for n in (1, 2, 3, 5, 10, 20, 30):
        exact = powers.power_by_multiplication(W, n)
        error = norm(powers.power_by_eigenbasis(W, n) - exact) / norm(exact)
        gain = spectral_norm(exact)
        rows.append((n, float(D[0] ** n), float(D[1] ** n), gain, error, nilpotent.gain(n)))
    try:
        powers.eigenbasis(nilpotent.W)
        eigenbasis = "accepted"
    except powers.NoEigenbasisError as refusal:
        eigenbasis = f"refused, condition {refusal.condition:.1g}"
    steps = range(1, T + 1)
    return Page(
        name="powers",
        title="Powers of W by eigendecomposition, and where eigenvalues mislead",
        formulas=(
            "W = V D V⁻¹, D = diag(2, 0.3), W v_i = λ_i v_i:   Wⁿ = V Dⁿ V⁻¹",
            f"A = [[8, 8], [-8, -8]], λ = 0, 0; eigenbasis {eigenbasis}",
            "x ← A tanh(x) + b at its fixed point:   J = A diag(1 - tanh²(x))",
        ),
        columns=("n = t-1", "2ⁿ", "0.3ⁿ", "‖Wⁿ‖", "error of V Dⁿ V⁻¹", "‖Jⁿ‖"),
        rows=tuple(rows),
        quantity="log10 of the size after n steps",
        pictures=(
            Picture("2ⁿ, along v_1", "n", 1, log10(D[0] ** n for n in steps)),
            Picture("0.3ⁿ, along v_2", "n", 1, log10(D[1] ** n for n in steps)),
            Picture("‖Jⁿ‖, λ of A = 0, 0", "n", 1, log10(nilpotent.gain(n) for n in steps)),
        ),
        see="One matrix W explodes along v_1 and vanishes along v_2. J doubles each step, though "
        "both eigenvalues of A are 0: those of the weights decide for a linear recurrence only.",
    )


def nilpotent_page(T: int = 30, units: int = 101) -> Page:
    """Radius 0 twice: a tanh recurrence that doubles, and a linear chain that gains on its way."""
    W, chain = nilpotent.W, nilpotent.chain(units)
    radius = norm(W @ W) ** 0.5  # ρ(W) ≤ ‖W²‖^½
    sigma, measured = spectral_norm(W), nilpotent.measured_gains(T)
    linear, chained = (
        [spectral_norm(powers.power_by_multiplication(matrix, n)) for n in range(units + 1)]
        for matrix in (W, chain)
    )
    rows: list[tuple[Cell, ...]] = []
    for n in (1, 2, 5, 10, T, units - 1, units):
        gain = float(measured[n - 1]) if n <= T else ""
        rows.append((n, radius**n, sigma**n, linear[n], gain, chained[n]))
    return Page(
        name="nilpotent",
        title="Spectral radius 0, and the gradient doubles at every step",
        formulas=(
            "x ← W tanh(x) + b,   W = [[8, 8], [-8, -8]],   W² = 0,   ρ(W) = 0",
            "at (0, artanh ½):   J = W diag(1 - tanh²) = [[8, 6], [-8, -6]],   J² = 2J",
            f"C: a chain of {units} units with gain {nilpotent.CHAIN_GAIN:g},   ρ(C) = 0",
        ),
        columns=("n", "ρ(W)ⁿ", "σ_max(W)ⁿ", "‖Wⁿ‖", "‖∂x_n/∂x_0‖", "‖Cⁿ‖"),
        rows=tuple(rows),
        quantity="log10 of the size after n steps",
        pictures=(
            Picture("‖Wⁿ‖, linear", "n", 1, log10(linear[1:21])),
            Picture("‖∂x_n/∂x_0‖, tanh", "n", 1, log10(measured[:20])),
            Picture("‖Cⁿ‖, linear", "n/5", 1, log10(chained[5:101:5])),
        ),
        see="ρ(W) = 0 says that the gradient vanishes: true of the linear recurrence, wrong of "
        f"this one, measured at {measured[9]:.1f} after 10 steps and {measured[T - 1]:.3g} after "
        f"{T}. The norm condition, σ_max = {sigma:g} > 1, allows it and does not promise it. Even "
        f"a linear recurrence of radius 0 gains on its way: {max(chained):.1f} in {units - 1} "
        "steps.",
    )


def lm_page(H: int = 12, updates: int = 30, alpha: float = 0.1, seed: int = 0) -> Page:
    """The Elman language model on one sentence: its gradient by lag, before and after training."""
    tokens, p = language_model(H, scale=1.0 / np.sqrt(H), seed=seed)
    run = elman_lm.forward(p, tokens)
    recursion, double_sum = elman_lm.bptt(p, run).W, elman_lm.bptt_double_sum(p, run).W
    difference, total = norm(recursion - double_sum) / norm(double_sum), norm(double_sum)
    delta = [norm(d) for d in elman_lm.total_gradients(p, run)[1:]]
    by_lag = elman_lm.w_gradient_by_lag(p, run)[:-1]  # the longest lag meets h_0 = 0 alone
    sizes = [norm(part) for part in by_lag]
    rows = [
        (k, sizes[k], norm(double_sum - by_lag[: k + 1].sum(axis=0)) / total)
        for k in (0, 1, 2, 3, 5, 10, len(by_lag) - 1)
    ]
    trained = descend(tokens, p, alpha, updates)[-1].p
    run_after = elman_lm.forward(trained, tokens)
    sizes_after = [norm(part) for part in elman_lm.w_gradient_by_lag(trained, run_after)[:-1]]
    return Page(
        name="lm",
        title="The Elman language model: where ∂L/∂W comes from",
        formulas=(
            "h_t = tanh(U x_t + W h_{t-1} + b),   ŷ_t = softmax(V h_t + c)",
            "L = Σ_t L_t = Σ_t -log ŷ_t[y_t],   W ← W - α ∂L/∂W",
            "∂L/∂W = Σ_t Σ_k (the part of ∂L_t/∂W that went back k steps)",
        ),
        columns=("lag k", "‖part of ∂L/∂W‖", "missing if cut after k"),
        rows=tuple(rows),
        quantity="log10 of the norm",
        pictures=(
            Picture("part of ∂L/∂W by lag", "k", 0, log10(sizes)),
            Picture(f"same, {updates} updates on", "k", 0, log10(sizes_after)),
            Picture("‖δ_t‖, whole L", "t", 1, log10(delta)),
        ),
        see=f"The part of the longest lag is {sizes[-1] / sizes[0]:.0e} of the shortest, yet "
        f"‖∂L/∂W‖ = {total:.3g}, and ‖δ_t‖ never falls below {min(delta):.2g} since every step has "
        "a loss: neither shows the disease. The recursion equals the double sum to "
        f"{difference:.0e}; {updates} updates take L from {run.loss:.1f} to {run_after.loss:.1f} "
        "nats.",
    )


def clip_page(threshold: float = 1.0, updates: int = 20, alpha: float = 0.3, seed: int = 0) -> Page:
    """The same training twice, with and without clipping, and the norm of sizes that overflow."""
    tokens, start = language_model(H=12, scale=1.0, seed=seed)
    free = descend(tokens, start, alpha, updates)
    held = descend(tokens, start, alpha, updates, threshold)
    free_loss, held_loss = (elman_lm.forward(made[-1].p, tokens).loss for made in (free, held))
    first = elman_lm.bptt(start, elman_lm.forward(start, tokens))._asdict()
    clipped, before = clipping.clip(first, threshold)
    rows = [(f"∂L/∂{name}", norm(g), norm(clipped[name])) for name, g in first.items()]
    rows.append(("all: ‖g‖", before, clipping.global_norm(clipped)))
    huge = np.full(100, 1e200)
    with np.errstate(over="ignore"):
        naive = float(np.sqrt(np.sum(huge**2)))
    scaled = clipping.global_norm({"huge": huge})
    return Page(
        name="clip",
        title="Clipping by the global norm: one norm over all parameters",
        formulas=(
            f"g ← g · min(1, c / ‖g‖),   ‖g‖ = √(Σ_p Σ_i g_{{p,i}}²),   here c = {threshold:g}",
            f"100 entries of 1e200: √(Σ g²) = {naive:g}; scaled by the largest: {scaled:g}",
        ),
        columns=("first update", "norm before", "norm after"),
        rows=tuple(rows),
        quantity="log10 ‖g‖ at every update",
        pictures=(
            Picture("never clipped", "n", 1, log10(made.before for made in free)),
            Picture("clipped: before", "n", 1, log10(made.before for made in held)),
            Picture("clipped: after", "n", 1, log10(made.after for made in held)),
        ),
        see="Every norm shrinks by the same factor, so the direction stays. After "
        f"{updates} updates with α = {alpha:g} the loss is {free_loss:.3g} nats never clipped and "
        f"{held_loss:.3g} clipped. A gradient below c, a vanished one included, stays as it is: "
        "clipping cures explosion only.",
    )


def lstm_page(H: int = 32, T: int = 40, seed: int = 0) -> Page:
    """An LSTM as torch initialises it: the carousel of forget gates beside the total gradient."""
    generator = np.random.default_rng(seed)
    bound = 1.0 / np.sqrt(H)
    shapes = [(4 * H, H), (4 * H, H), (4 * H,), (4 * H,)]
    weights = Weights(*(generator.uniform(-bound, bound, shape) for shape in shapes))
    run = lstm.forward(generator.normal(size=(T, H)), weights)
    direct = np.zeros((T, 2 * H))
    direct[-1, H:] = generator.normal(size=H)
    source = norm(direct[-1])
    total = lstm.backward(run, direct).total[:0:-1] / source  # by lag, 0..T-1
    carousel = lstm.carousel(run, direct[-1, H:])[:0:-1] / source
    alone, to_c, to_h = (
        [norm(g) for g in by_lag] for by_lag in (carousel, total[:, H:], total[:, :H])
    )
    rate_alone, rate_to_c = (rate(gains[T // 2 :]) for gains in (alone, to_c))
    return Page(
        name="lstm",
        title="The LSTM: the carousel of forget gates is not the whole gradient",
        formulas=(
            "c_t = f ⊙ c_{t-1} + i ⊙ g,   h_t = o ⊙ tanh(c_t),   a loss on c_T alone",
            "one way back: the carousel, ∂c_t/∂c_{t-1} = diag(f_t)",
            "the other ways: i, f, g and o all read h_{t-1}",
        ),
        columns=("lag k", "carousel Π f", "true, to c", "true, to h", "true c / carousel"),
        rows=tuple(
            (k, alone[k], to_c[k], to_h[k], to_c[k] / alone[k]) for k in (0, 1, 2, 5, 10, 20, T - 1)
        ),
        quantity="log10 of the gain by lag",
        pictures=(
            Picture("carousel alone, Π f", "k", 0, log10(alone)),
            Picture("true, to c", "k", 0, log10(to_c)),
            Picture("true, to h", "k", 0, log10(to_h)),
        ),
        see=f"The forget gates alone say {rate_alone:+.3f} decades per step, the true gradient "
        f"{rate_to_c:+.3f}: the ways through the gates count, so a product of forget gates is not "
        "the gradient.",
    )


def rate(gains: list[float]) -> float:
    """Decades per step between the first and the last of the gains."""
    first, *_, last = log10(gains)
    return (last - first) / (len(gains) - 1)


PAGES: Mapping[str, Callable[[], Page]] = MappingProxyType(
    {
        "scalar": scalar_page,
        "node": node_page,
        "powers": powers_page,
        "nilpotent": nilpotent_page,
        "lm": lm_page,
        "clip": clip_page,
        "lstm": lstm_page,
    }
)
