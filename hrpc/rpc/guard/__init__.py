"""What stands before a handler: limits on the rate and the number of calls, shedding, and who may call."""
