"""xlstm and mambapy, each by its plain loop."""

from __future__ import annotations

from mambapy.mamba import Mamba, MambaConfig
from xlstm import sLSTMLayer, sLSTMLayerConfig

from benchmarks.models.loops import B, Build, T, inputs, over

ROWS: dict[str, Build] = {
    "xlstm, sLSTM": lambda: over(
        sLSTMLayer(
            sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend="vanilla", conv1d_kernel_size=0)
        ),
        inputs(B, T, 8),
    ),
    "mambapy, no scan": lambda: over(
        Mamba(MambaConfig(d_model=8, n_layers=2, d_state=4, pscan=False)), inputs(B, T, 8)
    ),
}
