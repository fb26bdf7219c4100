"""Scripts that make the checkpoints shipped in `sensorium/starter/`. Not part of the installed package."""
