"""What backs each claim of speed, memory or accuracy: one command each. Results stand in benchmarks/README.md."""
