"""Redshift: connections, log-ins, UNLOAD and COPY."""
