"""One file a task; `sensorium.tasks.base` holds what they share and finds them by name."""
