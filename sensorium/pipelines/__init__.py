"""The one loop that runs a Processor, a model and a Task, and `pipeline()`, which builds it."""
