"""The words of a page, and what each of them means."""

GLOSSARY = {
    "Gain": "How large the gradient of one loss still is k steps back, compared with where it "
    "started: ‖∂Lₜ/∂sₜ₋ₖ‖ / ‖∂Lₜ/∂sₜ‖.",
    "Lag": "The distance k back from a loss at step t to the state at step t−k.",
    "Horizon": "The largest lag at which the gain is still at least 1 %.",
    "Span": "How far back the task needs to see.",
    "Rate": "The slope of log10 gain, in decades (factors of ten) per step. Negative vanishes, "
    "positive explodes.",
    "Total gradient": "∂L/∂sₜ: what the loss at step t and everything after it send into the "
    "state.",
    "Direct gradient": "What the loss at step t alone sends into the state.",
    "Stuck": "A squashing function whose slope is below a tenth of its largest: hardly a gradient "
    "passes. A unit that is stuck at every step is dead.",
    "Carousel": "The straight way through the cell of an LSTM (c) or through the state of a GRU, "
    "beside the ways through the gates.",
    "Confidence": "How sure: the share of what was measured (sequences, loss steps) that says the "
    "same.",
}
