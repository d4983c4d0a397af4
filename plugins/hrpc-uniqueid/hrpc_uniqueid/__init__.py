"""Snowflake ids for a fleet: node ids leased through Consul, so that no two instances share one."""
