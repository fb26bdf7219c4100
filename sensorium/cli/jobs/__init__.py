"""`sensorium job`: the commands, each in a file that is imported when it runs."""
