"""What every floor stands on: rows, backends, the tape, threads, memory. Imports nothing above
it."""
