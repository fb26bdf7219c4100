"""Large pictures in windows: how a picture is cut, and how what was found in each window becomes one result."""
