"""Time zones for hrpc services, by the names that the team uses, also for the two times of the log."""
