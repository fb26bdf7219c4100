"""What `automatic-speech-recognition` is made of."""
