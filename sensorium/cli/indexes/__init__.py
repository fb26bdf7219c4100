"""`sensorium index`: building, searching and measuring indexes from the command line."""
