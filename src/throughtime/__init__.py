"""throughtime: see, explain and repair how gradients travel through time in recurrent networks."""
