"""Re-entrant read/write locks on Redis for hrpc services, with renewal and fencing tokens."""
