"""`python -m sensorium`: the command line."""

from sensorium.cli import main

main()
