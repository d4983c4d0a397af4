"""What the plugins cost, and what they reach."""
