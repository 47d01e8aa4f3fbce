"""Files -> characters -> ids -> windows; what n-grams predict; what one text shares with another."""
