"""Training: one model, exact to the bit, resumable at any moment."""
