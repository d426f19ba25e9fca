"""One module a family: its rows and its public functions, which pyops.functional re-exports."""
