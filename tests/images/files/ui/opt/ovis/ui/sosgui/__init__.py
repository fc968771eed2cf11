"""A stand-in for sosdb-ui, for tests: real Django behind a real uwsgi, without SOS data."""
