"""The path of a call: from what generated code registers to the handler that the engine calls."""
