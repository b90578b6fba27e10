"""The mathematics of the lecture in plain NumPy float64: slow, obvious, the chain rule by hand.

Read the files in this order, beside the lecture notes:

    notation     float64 arrays, the two squashing functions and their slopes
    scalar       one unit: the gradient through time is a product of factors
    node         one gradient walks back through tanh, + and MatMul
    growth       the norm of dh under MatMul alone, twenty times over
    powers       W^n by eigendecomposition, and when it must be refused
    schur        W = Q T Q^H, which every W has
    nilpotent    spectral radius 0, and yet the gradient doubles at every step
    elman_lm     the Elman language model; BPTT as a double sum and as one recursion
    clipping     one norm over all parameters
    layer        torch's layout of the weights of one recurrent layer
    elman        Elman layer: states, total gradients, Jacobians
    lstm         LSTM layer: the same, and the carousel of forget gates
    gru          GRU layer: the same

and `page`, `picture`, `rendering`, `descent`, `pages`: what `throughtime textbook NAME` prints.

Nothing here imports torch or anything else of this library. The fast paths are tested against
these files, so no file here may be made faster at the price of being harder to read.
"""
