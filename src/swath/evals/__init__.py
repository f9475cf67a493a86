"""Which model, which prompt: comparing, judging, and statistics that keep the answer honest."""
