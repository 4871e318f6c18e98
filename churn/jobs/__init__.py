"""One module a job, called by flows and commands: weekly run, back-test, erase, doctor, prune, capacity."""
