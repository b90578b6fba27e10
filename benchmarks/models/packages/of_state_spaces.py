"""mambapy, xlstm and minGRU-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.models.model import Pair, PublicModel


def _pair(make: Callable[[], nn.Module], *shape: int) -> Pair:
    """A model on random inputs (B T I), and the mean square of its output."""
    torch.manual_seed(0)
    model = make()
    inputs = torch.randn(*shape, generator=torch.Generator().manual_seed(1))

    def closure() -> Tensor:
        output = model(inputs)
        return (output[0] if isinstance(output, tuple) else output).square().mean()

    return model, closure


def _mambapy(parallel: bool) -> Pair:
    from mambapy.mamba import Mamba, MambaConfig

    config = MambaConfig(d_model=8, n_layers=2, d_state=4, pscan=parallel)
    return _pair(lambda: Mamba(config), 2, 24, 8)


def _mlstm() -> Pair:
    from xlstm import mLSTMBlockConfig, mLSTMLayerConfig, xLSTMBlockStack, xLSTMBlockStackConfig

    layer = mLSTMLayerConfig(conv1d_kernel_size=4, qkv_proj_blocksize=4, num_heads=2)
    config = xLSTMBlockStackConfig(
        mlstm_block=mLSTMBlockConfig(mlstm=layer),
        context_length=24,
        num_blocks=2,
        embedding_dim=16,
    )
    return _pair(lambda: xLSTMBlockStack(config), 2, 24, 16)


def _xlstm_large(kernel: str) -> Pair:
    from xlstm.xlstm_large.model import xLSTMLarge, xLSTMLargeConfig

    config = xLSTMLargeConfig(
        embedding_dim=16,
        num_heads=2,
        num_blocks=2,
        vocab_size=32,
        return_last_states=True,
        mode="train",
        chunkwise_kernel=kernel,
        sequence_kernel="native_sequence__native",
        step_kernel="native",
        chunk_size=16,
    )
    torch.manual_seed(0)
    model = xLSTMLarge(config)
    words = torch.randint(0, 32, (2, 32), generator=torch.Generator().manual_seed(1))
    return model, lambda: model(words)[0].square().mean()


def _mingru() -> Pair:
    from minGRU_pytorch.minGRU import minGRU

    return _pair(lambda: minGRU(8, expansion_factor=2.0), 2, 24, 8)


MODELS = [
    PublicModel("mambapy", "Mamba, parallel scan", partial(_mambapy, True), 2),
    PublicModel("mambapy", "Mamba, sequential scan", partial(_mambapy, False), 2),
    PublicModel("xlstm", "xLSTMBlockStack of mLSTM", _mlstm, 2),
    PublicModel(
        "mlstm_kernels",
        "xLSTMLarge, chunkwise",
        partial(_xlstm_large, "chunkwise--native_autograd"),
        2,
    ),
    PublicModel(
        "mlstm_kernels",
        "xLSTMLarge, its own backward pass",
        partial(_xlstm_large, "chunkwise--native_custbw"),
        2,
    ),
    PublicModel("minGRU_pytorch", "minGRU", _mingru, 1),
]
