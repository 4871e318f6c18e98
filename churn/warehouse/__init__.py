"""Where SQL runs: one small protocol, its backends, and the rendering of SQL files."""
