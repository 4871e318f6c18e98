"""Where rows come from: the source contract, a person's own log (ingest), a simulated broadcaster."""
