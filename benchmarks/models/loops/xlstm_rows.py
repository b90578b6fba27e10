"""xlstm: sLSTM by its plain loop."""

from __future__ import annotations

from xlstm import sLSTMLayer, sLSTMLayerConfig

from benchmarks.models.loops import B, Build, T, inputs, over

ROWS: dict[str, Build] = {
    "sLSTM": lambda: over(
        sLSTMLayer(
            sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend="vanilla", conv1d_kernel_size=0)
        ),
        inputs(B, T, 8),
    ),
}
