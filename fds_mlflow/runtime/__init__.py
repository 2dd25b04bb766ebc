"""What the process stands on: clock, files, addresses, streams, MLflow's client."""
