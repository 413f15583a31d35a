"""What every run has: options, workspace, log, state, files and errors."""
