"""Services that show what hrpc does, and a demo that runs them."""
