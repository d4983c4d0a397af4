"""``hrpc doctor``: what is wrong around a service, before it starts or while it runs, and what to do about it."""
