"""Someone else's LSTM: what is wrong with it, found by running it."""
