"""The LSTM, forward and backward, for a window and for a step, on one core or several."""
